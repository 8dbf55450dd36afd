//! A job's row as every adapter keeps it, and the words and numbers that stand for its values in columns.

use protocol::api::{ErrorKind, JobError, Priority};
use protocol::dispatch::Lane;
use protocol::ids::{ClaimId, Dispatch, Fence, JobId, Position, SessionId};
use protocol::job::{Job, State};
use protocol::schedule::CatchUp;

use super::StorageError;
use super::sql::{Columns, Sql, values};

/// All columns of a job, in the order in which [`Row::read`] takes them.
macro_rules! job_columns {
    () => {
        "n, tenant, lane, job_id, task, queue, priority, state, run, attempt, crashes, max_attempts, dispatch, fence, claim, renewal, \
         settled, ring, ring_at, refusals, session, pulled, lease_ms, timeout_ms, progress, error_kind, error_message, \
         fingerprint, invalidates, invalidation, unique_key, start_deadline_ms, start_by, trace, created_at, due_at, \
         started_at, finished_at, cancel_requested_at, changed, schedule"
    };
}
pub(super) use job_columns;

/// Times are Unix ms.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its age among all jobs: smaller is older.
    pub(super) n: i64,
    /// The number of the tenant whose it is.
    pub(super) tenant: i64,
    /// Where it waits: its tenant's own lane, or that of the API key that submitted it.
    pub(super) lane: Lane,
    pub(super) job_id: JobId,
    pub(super) task: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) job: Job,
    pub(super) ring: Option<Ring>,
    pub(super) ring_at: Option<i64>,
    pub(super) refusals: u32,
    pub(super) session: Option<SessionId>,
    /// It runs, and was taken without its bell.
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
    pub(super) unique_key: Option<String>,
    pub(super) start_deadline_ms: Option<u64>,
    pub(super) start_by: Option<i64>,
    pub(super) trace: Option<String>,
    pub(super) created_at: i64,
    pub(super) due_at: Option<i64>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) cancel_requested_at: Option<i64>,
    /// Where in the log it last changed.
    pub(super) changed: Position,
    /// JSON: which schedule made it.
    pub(super) schedule: Option<String>,
}

impl Row {
    pub(super) fn read(columns: &mut dyn Columns) -> Result<Self, StorageError> {
        let (n, tenant, lane) = (columns.int()?, columns.int()?, Lane::numbered(columns.int()?));
        let job_id = JobId(columns.uuid()?);
        let task = columns.text()?;
        let (queue, priority) = (columns.text()?, priority(columns.int()?));
        let mut job = Job::create(true, 0, false);
        job.state = state(columns.word()?)?;
        job.run = columns.small()?;
        job.attempt = columns.small()?;
        job.crashes = columns.small()?;
        job.max_attempts = columns.small()?;
        job.dispatch = Dispatch(columns.counter()?);
        job.fence = Fence(columns.counter()?);
        job.claim = columns.maybe_uuid()?.map(ClaimId);
        job.renewal = columns.counter()?;
        job.settled = Fence(columns.counter()?);
        let ring = columns.maybe_word()?.map(ring).transpose()?;
        let ring_at = columns.maybe_int()?;
        let (refusals, session) = (columns.small()?, columns.maybe_uuid()?.map(SessionId));
        let pulled = columns.flag()?;
        let lease_ms = columns.counter()?;
        let timeout_ms = columns.maybe_int()?.map(i64::cast_unsigned);
        let progress = columns.maybe_text()?;
        let error = job_error(columns)?;
        let fingerprint = columns.text()?;
        let invalidates = columns.maybe_text()?;
        let invalidation = columns.maybe_int()?;
        let unique_key = columns.maybe_text()?;
        let start_deadline_ms = columns.maybe_int()?.map(i64::cast_unsigned);
        let start_by = columns.maybe_int()?;
        let trace = columns.maybe_text()?;
        let (created_at, due_at) = (columns.int()?, columns.maybe_int()?);
        let (started_at, finished_at) = (columns.maybe_int()?, columns.maybe_int()?);
        let cancel_requested_at = columns.maybe_int()?;
        let (changed, schedule) = (Position(columns.counter()?), columns.maybe_text()?);
        job.invalidates = invalidates.is_some();
        job.started = started_at.is_some();
        job.cancel_requested = cancel_requested_at.is_some();
        Ok(Self {
            n,
            tenant,
            lane,
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
            unique_key,
            start_deadline_ms,
            start_by,
            trace,
            created_at,
            due_at,
            started_at,
            finished_at,
            cancel_requested_at,
            changed,
            schedule,
        })
    }

    pub(super) fn load(sql: &mut dyn Sql, job_id: JobId) -> Result<Option<Self>, StorageError> {
        let query = concat!("SELECT ", job_columns!(), " FROM jobs WHERE job_id = ?");
        sql.one(query, values![job_id.0], Self::read)
    }

    pub(super) fn load_n(sql: &mut dyn Sql, n: i64) -> Result<Option<Self>, StorageError> {
        let query = concat!("SELECT ", job_columns!(), " FROM jobs WHERE n = ?");
        sql.one(query, values![n], Self::read)
    }

    /// Writes a new row.
    pub(super) fn insert(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query =
            "INSERT INTO jobs (n, tenant, lane, job_id, task, queue, priority, state, run, attempt, crashes, max_attempts,
                         dispatch, fence, renewal, settled, ring, refusals, pulled, lease_ms, timeout_ms, fingerprint,
                         invalidates, unique_key, start_deadline_ms, start_by, trace, created_at, due_at, changed, schedule)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sql.write(
            query,
            values![
                self.n,
                self.tenant,
                self.lane.number(),
                self.job_id.0,
                &self.task,
                &self.queue,
                priority_number(self.priority),
                state_word(self.job.state),
                self.job.run,
                self.job.attempt,
                self.job.crashes,
                self.job.max_attempts,
                self.job.dispatch.0,
                self.job.fence.0,
                self.job.renewal,
                self.job.settled.0,
                self.ring.map(ring_word),
                self.refusals,
                self.pulled,
                self.lease_ms,
                self.timeout_ms,
                &self.fingerprint,
                &self.invalidates,
                &self.unique_key,
                self.start_deadline_ms,
                self.start_by,
                &self.trace,
                self.created_at,
                self.due_at,
                self.changed.0,
                &self.schedule,
            ],
        )
    }

    /// Writes all that a transition can have changed.
    pub(super) fn save(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "UPDATE jobs SET state = ?, run = ?, attempt = ?, crashes = ?, dispatch = ?, fence = ?, claim = ?,
                         renewal = ?, settled = ?, ring = ?, ring_at = ?, refusals = ?, session = ?, pulled = ?,
                         lease_ms = ?, progress = ?, error_kind = ?, error_message = ?, invalidation = ?, start_by = ?, due_at = ?,
                         started_at = ?, finished_at = ?, cancel_requested_at = ?, changed = ?
                     WHERE n = ?";
        sql.write(
            query,
            values![
                state_word(self.job.state),
                self.job.run,
                self.job.attempt,
                self.job.crashes,
                self.job.dispatch.0,
                self.job.fence.0,
                self.job.claim.map(|claim| claim.0),
                self.job.renewal,
                self.job.settled.0,
                self.ring.map(ring_word),
                self.ring_at,
                self.refusals,
                self.session.map(|session| session.0),
                self.pulled,
                self.lease_ms,
                &self.progress,
                self.error.as_ref().map(|error| error_kind_word(error.kind)),
                self.error.as_ref().map(|error| error.message.as_str()),
                self.invalidation,
                self.start_by,
                self.due_at,
                self.started_at,
                self.finished_at,
                self.cancel_requested_at,
                self.changed.0,
                self.n,
            ],
        )
    }

    /// Writes what a renewal changes. Apart from [`Row::save`] because it touches no index.
    pub(super) fn save_renewal(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "UPDATE jobs SET renewal = ?, progress = ?, changed = ? WHERE n = ?";
        sql.write(query, values![self.job.renewal, &self.progress, self.changed.0, self.n])
    }
}

/// Two columns: kind and message.
fn job_error(columns: &mut dyn Columns) -> Result<Option<JobError>, StorageError> {
    let kind = columns.maybe_word()?.map(error_kind).transpose()?;
    let message = columns.maybe_text()?.unwrap_or_default();
    Ok(kind.map(|kind| JobError { kind, message }))
}

macro_rules! words {
    ($to:ident, $from:ident, $type:ty, $($value:path = $word:literal),+ $(,)?) => {
        pub(super) fn $to(value: $type) -> &'static str {
            match value { $($value => $word),+ }
        }

        pub(super) fn $from(word: &str) -> Result<$type, StorageError> {
            match word {
                $($word => Ok($value),)+
                other => Err(StorageError::Internal(format!("unknown word {other:?} in a row"))),
            }
        }
    };
}

words!(
    state_word,
    state,
    State,
    State::Scheduled = "scheduled",
    State::Queued = "queued",
    State::Running = "running",
    State::Finishing = "finishing",
    State::Succeeded = "succeeded",
    State::Failed = "failed",
    State::Cancelled = "cancelled",
);

words!(
    error_kind_word,
    error_kind,
    ErrorKind,
    ErrorKind::Failed = "failed",
    ErrorKind::Timeout = "timeout",
    ErrorKind::Panic = "panic",
    ErrorKind::Crashed = "crashed",
    ErrorKind::Deadline = "deadline",
);

/// Where a queued row stands with its bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// A live session knows its task: the next free place is its.
    Ready,
    /// Its bell holds a place.
    Rung,
    /// No live session consumes its queue and knows its task.
    NoMatch,
    /// Ready again later, because a session that does not know its task was given its bell.
    Deferred,
}

words!(
    ring_word,
    ring,
    Ring,
    Ring::Ready = "ready",
    Ring::Rung = "rung",
    Ring::NoMatch = "no_match",
    Ring::Deferred = "deferred",
);

words!(catch_up_word, catch_up, CatchUp, CatchUp::Latest = "latest", CatchUp::All = "all", CatchUp::None = "none",);

pub(super) fn priority_number(priority: Priority) -> i64 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

pub(super) fn priority(number: i64) -> Priority {
    match number {
        0 => Priority::High,
        1 => Priority::Normal,
        _ => Priority::Low,
    }
}
