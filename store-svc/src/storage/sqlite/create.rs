//! Accepting a job: one commit, under one id and at most one idempotency key.

use protocol::api::Priority;
use protocol::ids::JobId;
use protocol::job::{Job, State};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Change, Create, Created, IDEMPOTENCY_KEY_MS, Reply};
use protocol::time::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::columns::{self, Ring};
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
                Some(row) => Ok(self.replayed(&row)?),
                None => Err(Kind::Gone.detail("The job of this idempotency key has expired.")),
            });
        }
        if let Some(row) = Row::load(self.sql, create.job_id)? {
            if row.fingerprint != create.fingerprint {
                return Ok(Err(Kind::Conflict.detail("This id belongs to a job with another body.")));
            }
            return Ok(Ok(self.replayed(&row)?));
        }
        if !self.context.settings.queues.contains(create.queue.as_str()) {
            return Ok(Err(unknown_queue(create.queue.as_str(), &self.context.settings.queues)));
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
        if row.ring.is_some() {
            self.offer(&row);
        }
        row.insert(self.sql)?;
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
        let status = row.job.state.into();
        self.log(&Change::Job { job_id: row.job_id, run: row.job.run, status })?;
        if let (State::Scheduled, Some(due_at)) = (row.job.state, row.due_at) {
            self.due(due_at);
        }
        self.count("created");
        let created_at = Timestamp::from_unix_ms(row.created_at);
        let bell = granted.then_some(row.job.dispatch);
        Ok(Reply::Created(Created { job_id: row.job_id, status, replayed: None, bell, created_at }))
    }

    fn new_row(&self, create: &Create) -> Result<Row, StorageError> {
        let now = self.context.wall_ms;
        let due_at = create.run_at.map(Timestamp::unix_ms).filter(|due_at| *due_at > now);
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
            pulled: false,
            lease_ms: 0,
            timeout_ms: create.timeout_ms,
            progress: None,
            error: None,
            fingerprint: create.fingerprint.clone(),
            invalidates,
            invalidation: None,
            trace: create.trace.clone(),
            created_at: now,
            due_at,
            started_at: None,
            finished_at: None,
            cancel_requested_at: None,
        })
    }

    /// Whether a fresh, matched row may be rung by its creator: there is a place, and nothing of its queue waits before it.
    fn may_grant(&mut self, row: &Row) -> Result<bool, StorageError> {
        if self.free_places(&row.queue) == 0 {
            return Ok(false);
        }
        let queue = self.memory.queue(&row.queue);
        if queue.paused || queue.looked_through.is_some() {
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

    fn replayed(&mut self, row: &Row) -> Result<Reply, StorageError> {
        self.count("replayed");
        Ok(Reply::Created(Created {
            job_id: row.job_id,
            status: row.job.state.into(),
            replayed: Some(Box::new(self.view(row)?)),
            bell: None,
            created_at: Timestamp::from_unix_ms(row.created_at),
        }))
    }
}

fn unknown_queue(queue: &str, known: &std::collections::BTreeSet<String>) -> Problem {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Problem::invalid("/queue", format!("there is no queue {queue:?}; there is: {}", known.join(", ")))
}
