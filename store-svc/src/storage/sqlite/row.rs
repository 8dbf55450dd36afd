//! A job's row: loaded whole, decided upon, saved as far as it can have changed.

use protocol::api::{JobError, Priority};
use protocol::ids::{ClaimId, Dispatch, Fence, JobId, SessionId};
use protocol::job::Job;
use rusqlite::{Connection, params};

use super::columns::{self, Columns, Ring};
use super::{StorageError, TENANT};

/// All columns of a job, in the order in which [`Row::read`] takes them.
macro_rules! job_columns {
    () => {
        "n, job_id, task, queue, priority, state, run, attempt, crashes, max_attempts, dispatch, fence, claim, renewal, \
         settled, ring, ring_at, refusals, session, pulled, lease_ms, timeout_ms, progress, error_kind, error_message, \
         fingerprint, invalidates, invalidation, trace, created_at, due_at, started_at, finished_at, cancel_requested_at"
    };
}
pub(super) use job_columns;

/// Times are Unix ms.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its age among all jobs: smaller is older.
    pub(super) n: i64,
    pub(super) job_id: JobId,
    pub(super) task: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) job: Job,
    pub(super) ring: Option<Ring>,
    pub(super) ring_at: Option<i64>,
    pub(super) refusals: u32,
    pub(super) session: Option<SessionId>,
    pub(super) pulled: bool,
    pub(super) lease_ms: u64,
    pub(super) timeout_ms: Option<u64>,
    /// JSON.
    pub(super) progress: Option<String>,
    pub(super) error: Option<JobError>,
    pub(super) fingerprint: String,
    /// A JSON array of keys.
    pub(super) invalidates: Option<String>,
    pub(super) invalidation: Option<i64>,
    pub(super) trace: Option<String>,
    pub(super) created_at: i64,
    pub(super) due_at: Option<i64>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) cancel_requested_at: Option<i64>,
}

impl Row {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Self, StorageError> {
        let mut columns = Columns::of(row);
        let n = columns.take()?;
        let job_id = JobId(columns.uuid()?);
        let task = columns.take()?;
        let queue = columns.take()?;
        let priority = columns::priority(columns.take()?);
        let mut job = Job::create(true, 0, false);
        job.state = columns::state(columns.word()?)?;
        job.run = columns.take()?;
        job.attempt = columns.take()?;
        job.crashes = columns.take()?;
        job.max_attempts = columns.take()?;
        job.dispatch = Dispatch(columns.counter()?);
        job.fence = Fence(columns.counter()?);
        job.claim = columns.optional_uuid()?.map(ClaimId);
        job.renewal = columns.counter()?;
        job.settled = Fence(columns.counter()?);
        let ring = columns.take::<Option<String>>()?.map(|word| columns::ring(&word)).transpose()?;
        let ring_at = columns.take()?;
        let refusals = columns.take()?;
        let session = columns.optional_uuid()?.map(SessionId);
        let pulled = columns.take()?;
        let lease_ms = columns.counter()?;
        let timeout_ms = columns.take::<Option<i64>>()?.map(i64::cast_unsigned);
        let progress = columns.take()?;
        let kind = columns.take::<Option<String>>()?;
        let message = columns.take::<Option<String>>()?.unwrap_or_default();
        let error = match kind {
            Some(kind) => Some(JobError { kind: columns::error_kind(&kind)?, message }),
            None => None,
        };
        let fingerprint = columns.take()?;
        let invalidates: Option<String> = columns.take()?;
        let invalidation = columns.take()?;
        let trace = columns.take()?;
        let created_at = columns.take()?;
        let due_at = columns.take()?;
        let started_at: Option<i64> = columns.take()?;
        let finished_at = columns.take()?;
        let cancel_requested_at: Option<i64> = columns.take()?;
        job.invalidates = invalidates.is_some();
        job.started = started_at.is_some();
        job.cancel_requested = cancel_requested_at.is_some();
        Ok(Self {
            n,
            job_id,
            task,
            queue,
            priority,
            job,
            ring,
            ring_at,
            refusals,
            session,
            pulled,
            lease_ms,
            timeout_ms,
            progress,
            error,
            fingerprint,
            invalidates,
            invalidation,
            trace,
            created_at,
            due_at,
            started_at,
            finished_at,
            cancel_requested_at,
        })
    }

    pub(super) fn load(sql: &Connection, job_id: JobId) -> Result<Option<Self>, StorageError> {
        let query = concat!("SELECT ", job_columns!(), " FROM jobs WHERE tenant = ? AND job_id = ?");
        let mut statement = sql.prepare_cached(query)?;
        let mut rows = statement.query(params![TENANT, job_id.0.as_bytes()])?;
        rows.next()?.map(Self::read).transpose()
    }

    pub(super) fn load_n(sql: &Connection, n: i64) -> Result<Option<Self>, StorageError> {
        let query = concat!("SELECT ", job_columns!(), " FROM jobs WHERE n = ?");
        let mut statement = sql.prepare_cached(query)?;
        let mut rows = statement.query([n])?;
        rows.next()?.map(Self::read).transpose()
    }

    /// Writes a new row; its `n` is given by the table.
    pub(super) fn insert(&mut self, sql: &Connection) -> Result<(), StorageError> {
        let query =
            "INSERT INTO jobs (tenant, job_id, task, queue, priority, state, run, attempt, crashes, max_attempts,
                         dispatch, fence, renewal, settled, ring, refusals, pulled, lease_ms, timeout_ms, fingerprint,
                         invalidates, trace, created_at, due_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sql.prepare_cached(query)?.execute(params![
            TENANT,
            self.job_id.0.as_bytes(),
            self.task,
            self.queue,
            columns::priority_number(self.priority),
            columns::state_word(self.job.state),
            self.job.run,
            self.job.attempt,
            self.job.crashes,
            self.job.max_attempts,
            self.job.dispatch.0.cast_signed(),
            self.job.fence.0.cast_signed(),
            self.job.renewal.cast_signed(),
            self.job.settled.0.cast_signed(),
            self.ring.map(columns::ring_word),
            self.refusals,
            self.pulled,
            self.lease_ms.cast_signed(),
            self.timeout_ms.map(u64::cast_signed),
            self.fingerprint,
            self.invalidates,
            self.trace,
            self.created_at,
            self.due_at,
        ])?;
        self.n = sql.last_insert_rowid();
        Ok(())
    }

    /// Writes all that a transition can have changed.
    pub(super) fn save(&self, sql: &Connection) -> Result<(), StorageError> {
        let query = "UPDATE jobs SET state = ?, run = ?, attempt = ?, crashes = ?, dispatch = ?, fence = ?, claim = ?,
                         renewal = ?, settled = ?, ring = ?, ring_at = ?, refusals = ?, session = ?, pulled = ?,
                         lease_ms = ?, progress = ?, error_kind = ?, error_message = ?, invalidation = ?, due_at = ?, started_at = ?,
                         finished_at = ?, cancel_requested_at = ?
                     WHERE n = ?";
        sql.prepare_cached(query)?.execute(params![
            columns::state_word(self.job.state),
            self.job.run,
            self.job.attempt,
            self.job.crashes,
            self.job.dispatch.0.cast_signed(),
            self.job.fence.0.cast_signed(),
            self.job.claim.map(|claim| claim.0.into_bytes()),
            self.job.renewal.cast_signed(),
            self.job.settled.0.cast_signed(),
            self.ring.map(columns::ring_word),
            self.ring_at,
            self.refusals,
            self.session.map(|session| session.0.into_bytes()),
            self.pulled,
            self.lease_ms.cast_signed(),
            self.progress,
            self.error.as_ref().map(|error| columns::error_kind_word(error.kind)),
            self.error.as_ref().map(|error| error.message.as_str()),
            self.invalidation,
            self.due_at,
            self.started_at,
            self.finished_at,
            self.cancel_requested_at,
            self.n,
        ])?;
        Ok(())
    }

    /// Writes what a renewal changes. Apart from [`Row::save`] because it touches no index.
    pub(super) fn save_renewal(&self, sql: &Connection) -> Result<(), StorageError> {
        let query = "UPDATE jobs SET renewal = ?, progress = ? WHERE n = ?";
        sql.prepare_cached(query)?.execute(params![self.job.renewal.cast_signed(), self.progress, self.n])?;
        Ok(())
    }
}
