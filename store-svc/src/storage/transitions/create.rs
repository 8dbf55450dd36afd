//! Accepting a job: one commit, under one id and at most one idempotency key.

use protocol::api::Links;
use protocol::ids::{JobId, Position};
use protocol::job::{Job, State};
use protocol::problem::{Kind, Problem};
use protocol::schedule::MadeBy;
use protocol::store_api::{Change, Create, Created, Replayed, Reply};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::expire::expired;
use super::{Decided, Transaction};
use crate::storage::StorageError;
use crate::storage::row::{self, Ring, Row};
use crate::storage::sql::values;

impl Transaction<'_> {
    /// A job of a client.
    pub(super) fn create_for(&mut self, name: &Tenant, create: &Create) -> Result<Decided, StorageError> {
        match self.tenant_that_creates(name)? {
            Ok(tenant) => self.create_by(tenant, create, None),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// A job of a client, or one that a schedule makes.
    pub(super) fn create_by(
        &mut self,
        tenant: i64,
        create: &Create,
        made_by: Option<&MadeBy>,
    ) -> Result<Decided, StorageError> {
        if let Some(key) = &create.idempotency_key
            && let Some((job_id, fingerprint)) = self.keyed_job(tenant, key)?
        {
            if fingerprint != create.fingerprint {
                return Ok(Err(Kind::IdempotencyMismatch.problem()));
            }
            return Ok(match self.load(job_id)? {
                Some(row) => Ok(self.replayed(&row)),
                None => Err(expired(job_id)),
            });
        }
        if let Some(row) = self.load(create.job_id)? {
            // Whose job it is does not show: the id is taken, which is all that somebody else may know.
            if row.tenant != tenant || row.fingerprint != create.fingerprint {
                return Ok(Err(taken()));
            }
            return Ok(Ok(self.replayed(&row)));
        }
        match self.expired_of(create.job_id)? {
            Some(owner) if owner == tenant => return Ok(Err(expired(create.job_id))),
            Some(_) => return Ok(Err(taken())),
            None => {}
        }
        if let Some(unknown) = self.unknown_queue(create.queue.as_str()) {
            return Ok(Err(unknown));
        }
        if let Some(key) = &create.unique_key
            && let Some(holder) = self.holder_of(tenant, key.as_str())?
        {
            return Ok(Err(held_by(holder)));
        }
        if let Some(full) = self.full(tenant, create.queue.as_str()) {
            return Ok(Err(full));
        }
        self.insert(tenant, create, made_by).map(Ok)
    }

    /// Why no job may name the queue.
    pub(super) fn unknown_queue(&self, queue: &str) -> Option<Problem> {
        let known = &self.context.settings.queues;
        let names = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let detail = || format!("there is no queue {queue:?}; there is: {}", names());
        (!known.contains(queue)).then(|| Problem::invalid("/queue", detail()))
    }

    fn insert(&mut self, tenant: i64, create: &Create, made_by: Option<&MadeBy>) -> Result<Reply, StorageError> {
        let mut row = self.new_row(tenant, create)?;
        row.schedule = made_by.map(serde_json::to_string).transpose()?;
        let granted = create.wants_bell && row.ring == Some(Ring::Ready) && self.may_grant(&row)?;
        if granted {
            row.ring = Some(Ring::Rung);
        } else if row.ring == Some(Ring::Ready) {
            self.memory.agitate(&row.queue);
        }
        if row.ring.is_some() {
            self.offer(&row);
        }
        let status = row.job.state.into();
        row.changed = self.log(&Change::Job { job_id: row.job_id, run: row.job.run, status })?;
        self.insert_row(&row)?;
        self.moved(&row, None)?;
        if granted {
            self.hold_place(&row, true)?;
        }
        if let Some(payload) = &create.payload {
            let query = "INSERT INTO payloads (n, tenant, payload) VALUES (?, ?, ?)";
            self.sql.write(query, values![row.n, tenant, payload.get()])?;
        }
        if let Some(key) = &create.idempotency_key {
            self.put_key(tenant, key, row.job_id, &create.fingerprint)?;
        }
        if let (State::Scheduled, Some(due_at)) = (row.job.state, row.due_at) {
            self.due(due_at);
        }
        if let Some(start_by) = row.start_by {
            self.due(start_by);
        }
        self.count("created");
        let created_at = Timestamp::from_unix_ms(row.created_at);
        let bell = granted.then_some(row.job.dispatch);
        Ok(Reply::Created(Created { job_id: row.job_id, status, replayed: None, bell, created_at }))
    }

    fn new_row(&mut self, tenant: i64, create: &Create) -> Result<Row, StorageError> {
        let now = self.context.wall_ms;
        let delayed_to = create.delay_ms.map(|delay_ms| now.saturating_add_unsigned(delay_ms));
        let due_at = create.run_at.map(Timestamp::unix_ms).or(delayed_to).filter(|due_at| *due_at > now);
        let job = Job::create(due_at.is_none(), create.max_attempts, !create.invalidates.is_empty());
        let matched = self.memory.live.matches(create.queue.as_str(), create.task.as_str());
        let placed = if matched { Ring::Ready } else { Ring::NoMatch };
        let invalidates = match create.invalidates.as_slice() {
            [] => None,
            keys => Some(serde_json::to_string(keys)?),
        };
        Ok(Row {
            n: self.memory.next_row(),
            tenant,
            lane: self.memory.tenants.lane(tenant, create.key_id.as_ref()),
            job_id: create.job_id,
            task: create.task.as_str().to_owned(),
            queue: create.queue.as_str().to_owned(),
            priority: create.priority,
            ring: (job.state == State::Queued).then_some(placed),
            job,
            ring_at: None,
            refusals: 0,
            session: None,
            pulled: false,
            lease_ms: 0,
            timeout_ms: create.timeout_ms,
            progress: None,
            error: None,
            fingerprint: create.fingerprint.clone(),
            invalidates,
            invalidation: None,
            unique_key: create.unique_key.clone().map(Into::into),
            start_deadline_ms: create.start_deadline_ms,
            start_by: create.start_deadline_ms.map(|ms| due_at.unwrap_or(now).saturating_add_unsigned(ms)),
            trace: create.trace.clone(),
            created_at: now,
            due_at,
            started_at: None,
            finished_at: None,
            cancel_requested_at: None,
            changed: Position(0),
            schedule: None,
        })
    }

    /// Whether a fresh, matched row may be rung by its creator: there is a place, and nothing waits before it.
    fn may_grant(&mut self, row: &Row) -> Result<bool, StorageError> {
        if self.free_places(&row.queue) == 0 {
            return Ok(false);
        }
        let queue = self.memory.queue(&row.queue);
        if queue.is_paused() || queue.part(row.lane).looked_through.is_some() {
            return Ok(false);
        }
        Ok(self.may_offer(&row.queue, row.lane) && !self.waits_before(row)?)
    }

    /// What others have waiting is before it only if it is more urgent: there is a place, and nothing else of its lane waits for one.
    fn waits_before(&mut self, row: &Row) -> Result<bool, StorageError> {
        let priority = row::priority_number(row.priority);
        match self.first_ready(&row.queue)? {
            Some(first) if first < priority => Ok(true),
            Some(first) if first == priority && self.memory.queue(&row.queue).parts.len() > 1 => {
                self.has_ready(&row.queue, priority, row.lane)
            }
            first => Ok(first == Some(priority)),
        }
    }

    fn replayed(&mut self, row: &Row) -> Reply {
        self.count("replayed");
        let status = row.job.state.into();
        let run_at = row.due_at.filter(|_| row.job.state == State::Scheduled).map(Timestamp::from_unix_ms);
        let created_at = Timestamp::from_unix_ms(row.created_at);
        let replayed = Some(Replayed { status, run_at });
        Reply::Created(Created { job_id: row.job_id, status, replayed, bell: None, created_at })
    }
}

/// The answer to an id that another job has, whosever.
fn taken() -> Problem {
    Kind::Conflict.detail("This id belongs to a job with another body.")
}

pub(super) fn held_by(holder: JobId) -> Problem {
    let links = serde_json::to_value(Links::of(holder)).unwrap_or_default();
    let detail = format!("The job {holder} has this unique key and has not ended.");
    Kind::UniqueConflict.detail(detail).with("job_id", holder.to_string()).with("links", links)
}
