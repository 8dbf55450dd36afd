//! How attempts and jobs end or start again: complete, release, reap, cancel, retry, due, and the fence over invalidations.

use protocol::api::{ErrorKind, JobError, RESULT_BYTES_MAX};
use protocol::ids::{Epoch, JobId, Position};
use protocol::job::{Cancelled, Ended, Settled, State};
use protocol::logs::AttemptEnd;
use protocol::problem::{Kind, Problem};
use protocol::retry::CRASH_BACKOFF;
use protocol::store_api::{Complete, JobFence, Outcome, PulledJob, Release, Reply};
use protocol::webhook::RETRY_AFTER_MS_MAX;

use super::create::held_by;
use super::{Decided, Transaction};
use crate::storage::row::{Row, job_columns};
use crate::storage::sql::values;
use crate::storage::{NewsItem, SYSTEM, StorageError};

/// What became of a retry.
pub(super) enum Reopened {
    Open,
    /// It has not failed and was not cancelled.
    NotEnded,
    Refused(Problem),
}

impl Transaction<'_> {
    pub(super) fn complete(&mut self, complete: &Complete) -> Result<Decided, StorageError> {
        let Some(mut row) = self.load(complete.job_id)? else {
            return self.too_late(complete.job_id);
        };
        if let Some(problem) = too_large(&complete.outcome) {
            return Ok(Err(problem));
        }
        let before = row.job.clone();
        let (ended, log) = match &complete.outcome {
            Outcome::Succeeded { .. } => (Ended::Succeeded, AttemptEnd::Succeeded),
            Outcome::Failed { may_retry, .. } => (Ended::Failed { may_retry: *may_retry }, AttemptEnd::Failed),
        };
        let settled = row.job.complete(complete.fence, ended);
        if settled == Settled::Recorded {
            self.keep_log(&row, (before.attempt, complete.fence), log, complete.output.as_deref())?;
            self.take_outcome(&mut row, &complete.outcome)?;
            self.record(&mut row, &before)?;
        }
        let next = match &complete.next {
            Some(next) if settled != Settled::Refused => {
                let is_repeated = settled == Settled::AlreadyRecorded;
                self.next(&row.queue, next, is_repeated)?.map(Box::new)
            }
            _ => None,
        };
        Ok(Ok(self.settled(settled, &row, next)))
    }

    fn take_outcome(&mut self, row: &mut Row, outcome: &Outcome) -> Result<(), StorageError> {
        match outcome {
            Outcome::Succeeded { result } => {
                // The last report may have been overtaken by the outcome: what is done has no progress.
                (row.error, row.progress) = (None, None);
                if let Some(result) = result {
                    let query = "INSERT INTO results (n, tenant, result) VALUES (?, ?, ?)
                                 ON CONFLICT (n) DO UPDATE SET result = excluded.result";
                    self.sql.write(query, values![row.n, row.tenant, result.get()])?;
                }
            }
            Outcome::Failed { error, retry_after_ms, .. } => {
                row.error = Some(error.clone().bounded());
                if row.job.state == State::Scheduled {
                    let random = self.random();
                    let wait_ms = self.context.settings.backoff.wait_ms(row.job.attempt, random);
                    let asked_ms = retry_after_ms.unwrap_or_default().min(RETRY_AFTER_MS_MAX);
                    let wait_ms = wait_ms.max(asked_ms);
                    let due_at = self.context.wall_ms + wait_ms.cast_signed();
                    row.due_at = Some(due_at);
                    self.due(due_at);
                }
            }
        }
        Ok(())
    }

    pub(super) fn release(&mut self, release: &Release) -> Result<Decided, StorageError> {
        let Some(mut row) = self.load(release.job_id)? else {
            return self.too_late(release.job_id);
        };
        let before = row.job.clone();
        let settled = row.job.release(release.fence);
        if settled == Settled::Recorded {
            let attempt = (before.attempt, release.fence);
            self.keep_log(&row, attempt, AttemptEnd::Released, release.output.as_deref())?;
            self.count("released");
            self.record(&mut row, &before)?;
        }
        Ok(Ok(self.settled(settled, &row, None)))
    }

    /// The lease begins anew, and is no session's: whoever reports on the job now has none.
    pub(super) fn hand_over(&mut self, lease: JobFence) -> Result<Decided, StorageError> {
        let Some(mut row) = self.load(lease.job_id)? else {
            return self.too_late(lease.job_id);
        };
        if row.job.settled == lease.fence {
            // Who took it on was quick.
            return Ok(Ok(self.settled(Settled::AlreadyRecorded, &row, None)));
        }
        if row.job.renew(lease.fence).is_err() {
            return Ok(Ok(self.settled(Settled::Refused, &row, None)));
        }
        row.session = None;
        self.save(&row)?;
        self.count("handed_over");
        Ok(Ok(Reply::Settled { settled: Settled::Recorded, status: Some(row.job.state.into()), next: None }))
    }

    /// The word of an owner whose job is not there any more.
    fn too_late(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        if self.expired_of(job_id)?.is_none() {
            return Ok(Err(Kind::NotFound.problem()));
        }
        self.count("refused");
        Ok(Ok(Reply::Settled { settled: Settled::Refused, status: None, next: None }))
    }

    fn settled(&mut self, settled: Settled, row: &Row, next: Option<Box<PulledJob>>) -> Reply {
        self.count(match settled {
            Settled::Recorded => "settled",
            Settled::AlreadyRecorded => "settled_again",
            Settled::Refused => "refused",
        });
        Reply::Settled { settled, status: Some(row.job.state.into()), next }
    }

    pub(super) fn reap_lease(&mut self, lease: JobFence, renewal: u64) -> Result<bool, StorageError> {
        let Some(mut row) = self.load(lease.job_id)? else { return Ok(false) };
        let before = row.job.clone();
        if row.job.reap(lease.fence, renewal).is_err() {
            return Ok(false);
        }
        if row.job.state == State::Scheduled {
            let wait_ms = CRASH_BACKOFF.wait_ms(row.job.crashes - 1, self.random());
            let due_at = self.context.wall_ms + wait_ms.cast_signed();
            row.due_at = Some(due_at);
            self.due(due_at);
        }
        if row.job.state == State::Failed {
            let message = format!("its worker died under it {} times", row.job.crashes);
            row.error = Some(JobError { kind: ErrorKind::Crashed, message });
        }
        self.tell(row.session, NewsItem::Lost(lease));
        self.count("reaped");
        self.record(&mut row, &before)?;
        Ok(true)
    }

    pub(super) fn cancel(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        let mut row = match self.known(job_id)? {
            Ok(row) => row,
            Err(problem) => return Ok(Err(problem)),
        };
        let before = row.job.clone();
        let cancelled = row.job.cancel();
        if row.job != before {
            row.cancel_requested_at = Some(self.context.wall_ms);
            if cancelled == Cancelled::Requested {
                let lease = JobFence { job_id, fence: row.job.fence };
                self.tell(row.session, NewsItem::Cancelled(lease));
            }
            self.record(&mut row, &before)?;
        }
        let job = Box::new(self.view(&row)?);
        Ok(Ok(Reply::Cancelled { cancelled, job }))
    }

    pub(super) fn retry(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        let mut row = match self.known(job_id)? {
            Ok(row) => row,
            Err(problem) => return Ok(Err(problem)),
        };
        match self.reopen(&mut row)? {
            Reopened::Open => Ok(Ok(Reply::Retried { job: Some(Box::new(self.view(&row)?)) })),
            Reopened::NotEnded => Ok(Ok(Reply::Retried { job: None })),
            Reopened::Refused(problem) => Ok(Err(problem)),
        }
    }

    /// Opens the next run of a job; unless it says so, nothing was changed.
    pub(super) fn reopen(&mut self, row: &mut Row) -> Result<Reopened, StorageError> {
        let before = row.job.clone();
        if !row.job.retry() {
            return Ok(Reopened::NotEnded);
        }
        if let Some(key) = &row.unique_key
            && let Some(holder) = self.holder_of(row.tenant, key)?
        {
            return Ok(Reopened::Refused(held_by(holder)));
        }
        if let Some(full) = self.full(row.tenant, &row.queue) {
            return Ok(Reopened::Refused(full));
        }
        (row.started_at, row.finished_at, row.cancel_requested_at, row.due_at) = (None, None, None, None);
        (row.error, row.progress, row.session) = (None, None, None);
        row.start_by = row.start_deadline_ms.map(|ms| self.context.wall_ms.saturating_add_unsigned(ms));
        if let Some(start_by) = row.start_by {
            self.due(start_by);
        }
        self.record(row, &before)?;
        self.count("retried");
        Ok(Reopened::Open)
    }

    /// Ends a job whose start deadline has passed before it started; `false`: it had.
    pub(super) fn miss_start(&mut self, row: &mut Row) -> Result<bool, StorageError> {
        let before = row.job.clone();
        if row.start_by.is_none_or(|start_by| start_by > self.context.wall_ms) || !row.job.miss_start() {
            return Ok(false);
        }
        let within_ms = row.start_deadline_ms.unwrap_or_default();
        let message = format!("it had not started {within_ms} ms after it was due");
        row.error = Some(JobError { kind: ErrorKind::Deadline, message });
        self.count("start_missed");
        self.record(row, &before)?;
        Ok(true)
    }

    /// What missed its start first: it must not be queued any more.
    pub(super) fn queue_due(&mut self, limit: u32) -> Result<bool, StorageError> {
        let query = concat!("SELECT ", job_columns!(), " FROM jobs WHERE start_by <= ? ORDER BY start_by LIMIT ?");
        let late = self.rows(query, limit)?;
        let full = |rows: &[Row]| u32::try_from(rows.len()).is_ok_and(|count| count >= limit);
        let more_late = full(&late);
        for mut row in late {
            self.miss_start(&mut row)?;
        }
        let query = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE state = 'scheduled' AND due_at <= ? ORDER BY due_at LIMIT ?"
        );
        let scheduled = self.rows(query, limit)?;
        let query = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE ring = 'deferred' AND ring_at <= ? ORDER BY ring_at LIMIT ?"
        );
        let deferred = self.rows(query, limit)?;
        let more = more_late || full(&scheduled) || full(&deferred);
        for mut row in scheduled {
            let before = row.job.clone();
            if row.job.due() {
                row.due_at = None;
                self.record(&mut row, &before)?;
            }
        }
        for mut row in deferred {
            self.place(&mut row);
            self.save(&row)?;
        }
        Ok(more)
    }

    fn rows(&mut self, query: &'static str, limit: u32) -> Result<Vec<Row>, StorageError> {
        self.sql.take_all(query, values![self.context.wall_ms, limit], Row::read)
    }

    /// Everything in the log up to `through` is fenced: jobs that waited for it are done in the same commit.
    pub(super) fn fenced(&mut self, epoch: Epoch, through: Position) -> Result<Decided, StorageError> {
        let known = self.memory.holding.is_present(epoch) && through <= self.memory.head;
        if !known {
            self.count("fenced_refused");
            return Ok(Ok(Reply::Fenced { fenced_through: None }));
        }
        if through > self.memory.fenced_through {
            self.memory.fenced_through = through;
            let query = "UPDATE meta SET fenced_through = ? WHERE tenant = ?";
            self.sql.write(query, values![through.0, SYSTEM])?;
            self.finish_fenced(through)?;
        }
        Ok(Ok(Reply::Fenced { fenced_through: Some(self.memory.fenced_through) }))
    }

    fn finish_fenced(&mut self, through: Position) -> Result<(), StorageError> {
        let query = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE state = 'finishing' AND invalidation <= ? ORDER BY invalidation"
        );
        for mut row in self.sql.all(query, values![through.0], Row::read)? {
            let before = row.job.clone();
            if row.job.fence_closed() {
                row.invalidation = None;
                self.record(&mut row, &before)?;
            }
        }
        Ok(())
    }
}

fn too_large(outcome: &Outcome) -> Option<Problem> {
    let Outcome::Succeeded { result: Some(result) } = outcome else { return None };
    let bytes = result.get().len();
    let detail = || format!("The result has {bytes} bytes, at most {RESULT_BYTES_MAX} are kept.");
    (bytes > RESULT_BYTES_MAX).then(|| Kind::PayloadTooLarge.detail(detail()))
}
