//! Accepting a job: one commit, under one id and at most one idempotency key.

use protocol::api::{Links, Priority};
use protocol::ids::{JobId, Position};
use protocol::job::{Job, State};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Change, Create, Created, IDEMPOTENCY_KEY_MS, Replayed, Reply};
use protocol::time::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::columns::{self, Ring};
use super::expire::{expired, is_expired};
use super::row::Row;
use super::transaction::{Decided, Transaction};
use super::{StorageError, TENANT};

impl Transaction<'_> {
    pub(super) fn create(&mut self, create: &Create) -> Result<Decided, StorageError> {
        if let Some(key) = &create.idempotency_key
            && let Some((job_id, fingerprint)) = self.keyed_job(key)?
        {
            if fingerprint != create.fingerprint {
                return Ok(Err(Kind::IdempotencyMismatch.problem()));
            }
            return Ok(match Row::load(self.sql, job_id)? {
                Some(row) => Ok(self.replayed(&row)),
                None => Err(expired(job_id)),
            });
        }
        if let Some(row) = Row::load(self.sql, create.job_id)? {
            if row.fingerprint != create.fingerprint {
                return Ok(Err(Kind::Conflict.detail("This id belongs to a job with another body.")));
            }
            return Ok(Ok(self.replayed(&row)));
        }
        if is_expired(self.sql, create.job_id)? {
            return Ok(Err(expired(create.job_id)));
        }
        if !self.context.settings.queues.contains(create.queue.as_str()) {
            return Ok(Err(unknown_queue(create.queue.as_str(), &self.context.settings.queues)));
        }
        if let Some(key) = &create.unique_key
            && let Some(holder) = self.holder_of(key.as_str())?
        {
            return Ok(Err(held_by(holder)));
        }
        if let Some(full) = self.full(create.queue.as_str()) {
            return Ok(Err(full));
        }
        self.insert(create).map(Ok)
    }

    fn insert(&mut self, create: &Create) -> Result<Reply, StorageError> {
        let mut row = self.new_row(create)?;
        let granted = create.wants_bell && row.ring == Some(Ring::Ready) && self.may_grant(&row)?;
        if granted {
            row.ring = Some(Ring::Rung);
        } else if row.ring == Some(Ring::Ready) {
            self.memory.agitate(&row.queue);
        }
        let status = row.job.state.into();
        row.changed = self.log(&Change::Job { job_id: row.job_id, run: row.job.run, status })?;
        self.memory.jobs += 1;
        row.n = self.memory.jobs;
        row.insert(self.sql)?;
        self.moved(&row.queue, None, row.job.state);
        if granted {
            self.hold_place(&row, true)?;
        }
        if let Some(payload) = &create.payload {
            let query = "INSERT INTO payloads (n, tenant, payload) VALUES (?, ?, ?)";
            self.sql.prepare_cached(query)?.execute(params![row.n, TENANT, payload.get()])?;
        }
        if let Some(key) = &create.idempotency_key {
            let query = "INSERT OR REPLACE INTO idempotency_keys (tenant, key, job_id, fingerprint, created_at)
                         VALUES (?, ?, ?, ?, ?)";
            let (id, now) = (row.job_id.0.into_bytes(), self.context.wall_ms);
            self.sql.prepare_cached(query)?.execute(params![TENANT, key, id, create.fingerprint, now])?;
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

    fn new_row(&self, create: &Create) -> Result<Row, StorageError> {
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
            n: 0,
            job_id: create.job_id,
            task: create.task.as_str().to_owned(),
            queue: create.queue.as_str().to_owned(),
            priority: create.priority,
            ring: (job.state == State::Queued).then_some(placed),
            job,
            ring_at: None,
            refusals: 0,
            session: None,
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
        })
    }

    /// Whether a fresh, matched row may be rung by its creator: there is a place, and nothing of its queue waits before it.
    fn may_grant(&mut self, row: &Row) -> Result<bool, StorageError> {
        if self.free_places(&row.queue) == 0 {
            return Ok(false);
        }
        let queue = self.memory.queue(&row.queue);
        if queue.is_paused() || queue.looked_through.is_some() {
            return Ok(false);
        }
        Ok(!self.waits_before(&row.queue, row.priority)?)
    }

    fn waits_before(&self, queue: &str, priority: Priority) -> Result<bool, StorageError> {
        let query = "SELECT 1 FROM jobs WHERE tenant = ? AND queue = ? AND ring = 'ready' AND priority <= ? LIMIT 1";
        let mut statement = self.sql.prepare_cached(query)?;
        Ok(statement.exists(params![TENANT, queue, columns::priority_number(priority)])?)
    }

    fn keyed_job(&self, key: &str) -> Result<Option<(JobId, String)>, StorageError> {
        let query = "SELECT job_id, fingerprint FROM idempotency_keys WHERE tenant = ? AND key = ? AND created_at > ?";
        let mut statement = self.sql.prepare_cached(query)?;
        let oldest = self.context.wall_ms - IDEMPOTENCY_KEY_MS;
        let found =
            statement.query_row(params![TENANT, key, oldest], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(found.map(|(id, fingerprint)| (JobId(uuid::Uuid::from_bytes(id)), fingerprint)))
    }

    /// The job with this unique key that has not ended. Repeats the conditions of the index `jobs_unique`, so that SQLite uses it.
    pub(super) fn holder_of(&self, unique_key: &str) -> Result<Option<JobId>, StorageError> {
        let query = "SELECT job_id FROM jobs WHERE tenant = ? AND unique_key = ? AND unique_key IS NOT NULL
                         AND state NOT IN ('succeeded', 'failed', 'cancelled')";
        let mut statement = self.sql.prepare_cached(query)?;
        let found: Option<[u8; 16]> = statement.query_row(params![TENANT, unique_key], |row| row.get(0)).optional()?;
        Ok(found.map(|id| JobId(uuid::Uuid::from_bytes(id))))
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

pub(super) fn held_by(holder: JobId) -> Problem {
    let links = serde_json::to_value(Links::of(holder)).unwrap_or_default();
    let detail = format!("The job {holder} has this unique key and has not ended.");
    Kind::UniqueConflict.detail(detail).with("job_id", holder.to_string()).with("links", links)
}

fn unknown_queue(queue: &str, known: &std::collections::BTreeSet<String>) -> Problem {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Problem::invalid("/queue", format!("there is no queue {queue:?}; there is: {}", known.join(", ")))
}
