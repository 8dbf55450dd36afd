//! A delivery asks for its job: one owner gets it, everybody else is told why not.

use protocol::dispatch::unknown_task_wait_ms;
use protocol::ids::SessionId;
use protocol::job::{ClaimRefusal, Job};
use protocol::lease_api::LEASE_MS;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{BellId, Claim, Claimed, PulledJob, Reply};

use super::{Decided, Transaction};
use crate::storage::StorageError;
use crate::storage::row::{Ring, Row};

impl Transaction<'_> {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Decided, StorageError> {
        if !LEASE_MS.contains(&claim.lease_ms) {
            return Ok(Err(Problem::invalid("/lease_ms", "must be between 1000 and 3600000")));
        }
        if self.memory.live.session(claim.session).is_none() {
            return Ok(Err(Kind::UnknownSession.problem()));
        }
        self.free_named_place(bell_of(claim))?;
        let Some(mut row) = self.load(claim.job_id)? else {
            // One that is no longer kept has ended; its bell may outlive it.
            let has_ended = self.has_ended_or_is_missing(claim.job_id)?;
            let refusal = if has_ended { ClaimRefusal::NotQueued } else { ClaimRefusal::UnknownJob };
            return Ok(Ok(self.refused(refusal)));
        };
        // The loop that ends it may be late, the deadline is not.
        self.miss_start(&mut row)?;
        let before = row.job.clone();
        match row.job.claim(claim.dispatch, claim.claim_id) {
            Err(refusal) => match self.taken_before(claim)? {
                Some(taken) => Ok(Ok(Reply::Claimed(Box::new(taken)))),
                None => Ok(Ok(self.refused(refusal))),
            },
            Ok(won) if won.repeated => {
                self.save_renewal(&row)?;
                Ok(Ok(Reply::Claimed(Box::new(self.claimed(&row)?))))
            }
            Ok(_) => match self.unfit(claim, &row) {
                Some(refusal) => self.put_back(row, before, refusal).map(Ok),
                None => match self.due_before(claim, &row)? {
                    Some(PulledJob { job_id, claimed }) => {
                        self.overtake(row, &before)?;
                        Ok(Ok(Reply::Claimed(Box::new(Claimed { job_id: Some(job_id), ..claimed }))))
                    }
                    None => self.start(row, &before, claim.session, claim.lease_ms).map(Ok),
                },
            },
        }
    }

    /// What this very claim was given instead of the job that it names: the answer was lost.
    fn taken_before(&mut self, claim: &Claim) -> Result<Option<Claimed>, StorageError> {
        if claim.or_except.is_none() {
            return Ok(None);
        }
        let taken = self.pulled_before(claim.claim_id)?.pop();
        Ok(taken.map(|PulledJob { job_id, claimed }| Claimed { job_id: Some(job_id), ..claimed }))
    }

    /// The row waits for its next bell: the claim was given another job. Its present number is void, so that a repetition of the claim cannot take
    /// this one, too.
    fn overtake(&mut self, mut row: Row, before: &Job) -> Result<(), StorageError> {
        row.job = before.clone();
        row.job.overtaken();
        self.gives_rate_back(row.lane);
        self.record(&mut row, before)
    }

    /// Why this session must not have the row now, though its bell is the present one.
    fn unfit(&mut self, claim: &Claim, row: &Row) -> Option<ClaimRefusal> {
        if self.memory.queue(&row.queue).is_paused() {
            return Some(ClaimRefusal::QueuePaused);
        }
        if !self.memory.tenants.may_run(row.lane) {
            self.gives_rate_back(row.lane);
            return Some(ClaimRefusal::NotQueued);
        }
        let knows = self.memory.live.session(claim.session).is_some_and(|session| session.knows(&row.task));
        (!knows).then_some(ClaimRefusal::UnknownTask)
    }

    fn start(&mut self, mut row: Row, before: &Job, session: SessionId, lease_ms: u64) -> Result<Reply, StorageError> {
        self.begin_attempt(&mut row, before, session, lease_ms)?;
        self.count("claimed");
        Ok(Reply::Claimed(Box::new(self.claimed(&row)?)))
    }

    /// Writes that the row runs from now on.
    pub(super) fn begin_attempt(
        &mut self,
        row: &mut Row,
        before: &Job,
        session: SessionId,
        lease_ms: u64,
    ) -> Result<(), StorageError> {
        let (share, alone) = (self.memory.tenants.share(row.tenant), self.is_alone(row));
        self.memory.queue(&row.queue).shares.started(row.lane, share, alone);
        row.session = Some(session);
        row.lease_ms = lease_ms;
        row.refusals = 0;
        row.progress = None;
        row.started_at.get_or_insert(self.context.wall_ms);
        self.record(row, before)
    }

    /// The row goes back under the same bell number; it is rung again later, or when somebody knows its task.
    fn put_back(&mut self, mut row: Row, before: Job, refusal: ClaimRefusal) -> Result<Reply, StorageError> {
        row.job = before;
        self.place(&mut row);
        if refusal == ClaimRefusal::UnknownTask && row.ring == Some(Ring::Ready) {
            row.refusals += 1;
            let ring_at = self.context.wall_ms + unknown_task_wait_ms(row.refusals).cast_signed();
            (row.ring, row.ring_at) = (Some(Ring::Deferred), Some(ring_at));
            self.due(ring_at);
        }
        self.save(&row)?;
        Ok(self.refused(refusal))
    }

    fn refused(&mut self, refusal: ClaimRefusal) -> Reply {
        self.count(match refusal {
            ClaimRefusal::StaleBell => "claim_stale_bell",
            ClaimRefusal::NotQueued => "claim_not_queued",
            ClaimRefusal::QueuePaused => "claim_queue_paused",
            ClaimRefusal::UnknownTask => "claim_unknown_task",
            ClaimRefusal::UnknownJob => "claim_unknown_job",
        });
        Reply::ClaimRefused(refusal)
    }

    /// What the owner of a row is told.
    pub(super) fn claimed(&mut self, row: &Row) -> Result<Claimed, StorageError> {
        Ok(Claimed {
            job_id: None,
            tenant: self.memory.tenants.get(row.tenant).map(|known| known.name.clone()).unwrap_or_default(),
            fence: row.job.fence,
            task: row.task.clone(),
            queue: row.queue.clone(),
            run: row.job.run,
            attempt: row.job.attempt,
            max_attempts: row.job.max_attempts,
            lease_ms: row.lease_ms,
            timeout_ms: row.timeout_ms,
            payload: self.payload(row.n)?,
            trace: row.trace.clone(),
            cancel_requested: row.job.cancel_requested,
            more: self.waits_without_bell(&row.queue),
        })
    }
}

fn bell_of(claim: &Claim) -> BellId {
    BellId { job_id: claim.job_id, dispatch: claim.dispatch }
}
