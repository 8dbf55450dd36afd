//! The durable truth as transitions, never as CRUD: an adapter loads what a transition needs, asks `protocol` for the decision,
//! writes what it was told and appends to the log, all in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::access::{AuditEntry, KeyId, KeyRecord, KeyView};
use protocol::api::{JobView, Status, Workers};
use protocol::bulk_retry::{BulkRetry, RetryFilter, RetryPreview};
use protocol::envelope::Bell;
use protocol::explain::Explanation;
use protocol::ids::{Epoch, Incarnation, JobId, Position, RetryId, SessionId};
use protocol::key::{ScheduleName, WebhookName};
use protocol::logs::AttemptLog;
use protocol::queue::{DEPTH_MAX_DEFAULT, Depth, Flow, QueueView};
use protocol::retry::Backoff;
use protocol::schedule::ScheduleView;
use protocol::store_api::{Answer, BellId, Command, DataView, JobFence, QueuePause};
use protocol::tenant::{Tenant, Tenants};
use protocol::webhook::WebhookView;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use uuid::Uuid;

pub use live::Live;
pub use webhooks::{DeliveriesPage, DeliveriesQuery, Room, Sending, Sent, Told, WebhookSettings, WebhooksPage};

mod live;

pub mod postgres;
mod row;
mod sql;
pub mod sqlite;
mod transitions;
mod webhooks;

/// The number under which the system's own rows stand: queues, sessions, data, the log. It is also that of the tenant `default`.
const SYSTEM: i64 = 0;

/// Why a transaction or a read could not be done. Nothing was changed.
#[derive(Debug, Error)]
pub enum StorageError {
    /// Disk full, I/O error, database locked: it may work later.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
    /// A defect of ours, or a damaged file.
    #[error("storage failed: {0}")]
    Internal(String),
}

impl From<serde_json::Error> for StorageError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// What a transaction may know besides the rows.
#[derive(Clone, Debug)]
pub struct Context {
    /// Unix time, ms: for timestamps and due times only.
    pub wall_ms: i64,
    /// The monotonic clock of leases, ms: for the silence of the sequencer.
    pub now_ms: u64,
    /// Where the jitter of this transaction comes from.
    pub seed: u64,
    pub settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: twice the live slots.
    pub window: Option<u64>,
    pub backoff: Backoff,
    /// The queues that jobs may name.
    pub queues: BTreeSet<String>,
    pub sequencer_lease_ms: u64,
    /// Jobs of one queue that may be open at once.
    pub queue_depth_max: u64,
    /// How long ended jobs are kept, ms.
    pub retention_ms: u64,
    pub webhooks: WebhookSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: None,
            backoff: Backoff::default(),
            queues: BTreeSet::new(),
            sequencer_lease_ms: 0,
            queue_depth_max: DEPTH_MAX_DEFAULT,
            retention_ms: 0,
            webhooks: WebhookSettings::default(),
        }
    }
}

/// Somewhere to keep everything. One writer; any number of readers.
pub trait Storage: Send {
    /// Runs `work` in one transaction, which is on disk when this returns. After an error nothing of it has happened.
    ///
    /// # Errors
    /// What `work` returned, or why the commit failed.
    fn transact(&mut self, context: &Context, work: Work<'_>) -> Result<Signals, StorageError>;

    /// Another view of the same data, for use on another thread.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn reader(&self) -> Result<Box<dyn Reader>, StorageError>;

    fn incarnation(&self) -> Incarnation;
}

/// What is done in a transaction; it may be called again when its transaction had to be rolled back.
pub type Work<'w> = &'w mut dyn FnMut(&mut dyn Transitions) -> Result<(), StorageError>;

/// The transitions, inside a transaction.
///
/// Each method returns an error only when the storage failed; what the caller did wrong is an answer.
pub trait Transitions {
    /// These commands follow, each for its tenant: what they need may be loaded together.
    fn foresee(&mut self, commands: &[(&Tenant, &Command)]) -> Result<(), StorageError>;
    /// What a client commands concerns its tenant's jobs, keys and schedules, and nobody else's are there for it. What workers, operators and our
    /// own programs command is not asked for whom.
    fn apply(&mut self, tenant: &Tenant, command: &Command) -> Result<Answer, StorageError>;

    /// Queues that have rows to ring or freed places since they were rung last.
    fn restless(&self) -> Vec<String>;
    /// Takes rows by priority, then the tenants' shares, then age, into free places of the queue's window; their bells are to be published.
    fn ring(&mut self, queue: &str) -> Result<Rung, StorageError>;
    /// Bells that never reached the broker: their places are free, their rows are ready again.
    fn unring(&mut self, bells: &[BellId]) -> Result<(), StorageError>;
    /// Bells granted to creators up to `through` that were not marked sent: they are the dispatcher's from now on.
    fn take_over(&mut self, through: BellSeq) -> Result<Vec<RungBell>, StorageError>;
    /// Frees the places of bells of the queue up to `aged` (each older than the bell timeout) that are lost.
    fn lose_bells(&mut self, queue: &str, aged: BellSeq, queue_empty: bool) -> Result<u64, StorageError>;
    /// The broker starts empty: all places are free, all rows that were rung are ready.
    fn forget_bells(&mut self) -> Result<(), StorageError>;

    /// Queues what is due and makes the jobs of ticks that are, at most `limit` of each; `true`: there may be more.
    fn due(&mut self, limit: u32) -> Result<bool, StorageError>;
    /// The wall clock may have been put back: counts anew which ticks of schedules lie ahead.
    fn recount_ticks(&mut self) -> Result<(), StorageError>;
    /// Retries at most so many jobs of a retry of many, the oldest first.
    fn retry_some(&mut self, retry: RetryId, jobs: u32) -> Result<RetryStep, StorageError>;
    /// Takes deliveries that are due, for the attempt to send them: nobody else does for so long.
    fn take_deliveries(&mut self, rooms: &[Room], lease_ms: u64) -> Result<Vec<Sending>, StorageError>;
    /// What became of such an attempt.
    fn sent(&mut self, sent: &Sent) -> Result<(), StorageError>;
    /// Drops deliveries that ended before `before_wall_ms`, and those of deleted webhooks, at most `limit` of each; `true`: there may be more.
    fn trim_deliveries(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError>;
    /// Ends a lease that stood still at `renewal`; `false`: it did not any more.
    fn reap(&mut self, lease: JobFence, renewal: u64) -> Result<bool, StorageError>;
    /// Ends a session that stood still at `renewal`; `false`: it did not any more.
    fn expire_session(&mut self, session: SessionId, renewal: u64) -> Result<bool, StorageError>;

    /// Renews the sequencer's lease; `false`: it is not the holder's any more.
    fn renew_sequencer(&mut self, renewal: SequencerRenewal) -> Result<bool, StorageError>;
    /// Drops jobs that ended before `before_wall_ms`, at most `limit`, and keeps their tombstones; `true`: there may be more.
    fn expire(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError>;
    /// Drops tombstones made before `before_wall_ms`, and the oldest beyond `kept`, at most `limit`; `true`: there may be more.
    fn trim_tombstones(&mut self, before_wall_ms: i64, kept: u64, limit: u32) -> Result<bool, StorageError>;
    /// Drops log entries written before `before_wall_ms` and already fenced, at most `limit`; `true`: there may be more.
    fn trim_log(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError>;
    /// Drops idempotency keys made before `before_wall_ms`, at most `limit`; `true`: there may be more.
    fn trim_keys(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError>;
}

/// The order in which bells were given out, over all queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BellSeq(pub u64);

/// A bell to be published on `jobs.{queue}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungBell {
    pub queue: String,
    pub bell: Bell,
}

impl RungBell {
    #[must_use]
    pub fn id(&self) -> BellId {
        BellId { job_id: self.bell.job_id, dispatch: self.bell.dispatch }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rung {
    pub bells: Vec<RungBell>,
    /// It stopped at its bound of work, not at the end of the queue or of the window.
    pub more: bool,
}

/// What a step of a retry of many jobs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryStep {
    pub retried: u32,
    /// A queue is full: it goes on when there is room.
    pub blocked: bool,
    pub ended: bool,
}

/// A sequencer's call that renews its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencerRenewal {
    pub instance: protocol::ids::InstanceId,
    pub epoch: Epoch,
}

/// What a committed transaction means for those who wait.
#[derive(Debug, Default)]
pub struct Signals {
    pub head: Position,
    /// Something is on disk now that was not before.
    pub wrote: bool,
    /// The last entry that asks for a fence, if there is a new one.
    pub invalidation: Option<Position>,
    pub fenced_through: Position,
    /// The highest bell given out.
    pub bells: BellSeq,
    /// Bells that somebody gave back to be rung at once.
    pub rung: Vec<RungBell>,
    /// Rows that wait, of tasks that workers who pull know.
    pub offers: Vec<Offer>,
    /// Queues that are not paused any more: whatever waits in them may be pulled.
    pub resumed: Vec<String>,
    /// Something became due then, Unix ms.
    pub due_ms: Option<i64>,
    /// A retry of many jobs was begun.
    pub retries: bool,
    /// Something may be sent to a webhook.
    pub deliveries: bool,
    /// What the sessions want to hear.
    pub news: Vec<(SessionId, NewsItem)>,
    /// The sessions changed.
    pub live: Option<Arc<Live>>,
    /// Queues with rows to ring or freed places that were not rung.
    pub restless: Vec<String>,
    /// What came to each queue and what became of it.
    pub flows: BTreeMap<String, Flow>,
    /// Queues as they are now, if they changed or nobody was told yet.
    pub queues: Vec<QueueNow>,
    /// Jobs that a bell or a worker named and that were lost: they are not here, and cannot have been forgotten.
    pub missing: Vec<JobId>,
    /// Counted transitions, by name.
    pub counts: BTreeMap<&'static str, u64>,
}

/// A waiting row, as far as a worker that pulls looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub queue: String,
    pub task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueNow {
    pub queue: String,
    pub depth: Depth,
    pub paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsItem {
    Cancelled(JobFence),
    Lost(JobFence),
    Pause(QueuePause),
}

/// The reads. Each answer is of one instant, with the log position at that instant. Where a tenant is named, what belongs to others is as if it
/// were not there.
pub trait Reader: Send {
    fn job(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<JobRead>, StorageError>;
    /// Everything but the reason.
    fn explain(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<Option<Explanation>>, StorageError>;
    fn result(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<ResultRead>, StorageError>;
    fn payload(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<PayloadRead>, StorageError>;
    fn logs(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<AttemptsRead>, StorageError>;
    fn jobs(&mut self, tenant: &Tenant, query: &JobsQuery) -> Result<At<JobsPage>, StorageError>;
    fn log(&mut self, after: Position, kinds: LogKinds, limit: u32) -> Result<At<LogRead>, StorageError>;
    fn data(&mut self, key: &str) -> Result<At<Option<DataView>>, StorageError>;
    fn workers(&mut self) -> Result<At<Workers>, StorageError>;
    /// These queues and all others that have had a job, by name; without `last_minute` and `window`.
    fn queues(&mut self, always: &BTreeSet<String>) -> Result<At<Vec<QueueView>>, StorageError>;
    /// All tenants, by name.
    fn tenants(&mut self) -> Result<At<Tenants>, StorageError>;
    /// Retries of many jobs, newest first: those that run, and the last ones that have ended.
    fn bulk_retries(&mut self, tenant: &Tenant) -> Result<At<Vec<BulkRetry>>, StorageError>;
    /// Those that run, whosever they are.
    fn running_retries(&mut self) -> Result<Vec<BulkRetry>, StorageError>;
    fn schedule(&mut self, tenant: &Tenant, name: &ScheduleName) -> Result<At<Option<ScheduleView>>, StorageError>;
    /// Schedules after this name, at most so many, by name.
    fn schedules(&mut self, tenant: &Tenant, after: &str, limit: u32) -> Result<At<SchedulesPage>, StorageError>;
    /// As of this wall clock, which says what signs.
    fn webhook(&mut self, name: &WebhookName, now_ms: i64) -> Result<At<Option<WebhookView>>, StorageError>;
    /// Webhooks after this name, at most so many, by name.
    fn webhooks(&mut self, after: &str, limit: u32, now_ms: i64) -> Result<At<WebhooksPage>, StorageError>;
    /// `None`: there is no such webhook.
    fn deliveries(&mut self, query: &DeliveriesQuery) -> Result<At<Option<DeliveriesPage>>, StorageError>;
    /// When something of each enabled webhook is due next, Unix ms.
    fn deliveries_due(&mut self) -> Result<Vec<(Uuid, i64)>, StorageError>;
    fn key(&mut self, key_id: &KeyId) -> Result<At<Option<KeyRecord>>, StorageError>;
    /// Keys after this one, of one tenant or of all, at most so many, the oldest first; no sessions of the console.
    fn keys(
        &mut self,
        of: Option<&Tenant>,
        after: Option<&KeyCursor>,
        limit: u32,
    ) -> Result<At<KeysPage>, StorageError>;
    /// What operators of one tenant or of all did before this entry, at most so much of it, the newest first.
    fn audit(&mut self, of: Option<&Tenant>, before: Option<i64>, limit: u32) -> Result<At<AuditRead>, StorageError>;
    /// What a retry of many jobs would do.
    fn preview_retry(&mut self, tenant: &Tenant, filter: &RetryFilter) -> Result<At<RetryPreview>, StorageError>;
    /// Leases of running jobs, for the reaper.
    fn leases(&mut self) -> Result<Vec<protocol::lease::Held<JobFence>>, StorageError>;
    /// Renewal numbers of sessions, for the reaper.
    fn sessions(&mut self) -> Result<Vec<(SessionId, u64)>, StorageError>;
    /// Running jobs of a session that are asked to end.
    fn cancelled_of(&mut self, session: SessionId) -> Result<Vec<JobFence>, StorageError>;
    /// When the oldest of the `kept` jobs that ended last ended, Unix ms; `None`: there are not so many.
    fn ended_before(&mut self, kept: u64) -> Result<Option<i64>, StorageError>;
    /// When the next row is due, Unix ms.
    fn next_due_ms(&mut self) -> Result<Option<i64>, StorageError>;
    /// How many bells are outstanding, by queue, with the lowest number among them.
    fn outstanding(&mut self) -> Result<Vec<OutstandingBells>, StorageError>;
}

/// Something read, with the log position at which it was read.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub position: Position,
    pub read: T,
}

#[derive(Debug)]
pub enum JobRead {
    Unknown,
    /// It ended and is no longer kept.
    Expired,
    /// With the log position of its last change.
    Job(Box<JobView>, Position),
}

#[derive(Debug)]
pub enum ResultRead {
    Unknown,
    Expired,
    NotFinished,
    NoResult,
    /// `None`: it succeeded and had nothing to say.
    Result(Option<Box<RawValue>>),
}

#[derive(Debug)]
pub enum PayloadRead {
    Unknown,
    Expired,
    /// `None`: it was submitted without one.
    Payload(Option<Box<RawValue>>),
}

#[derive(Debug)]
pub enum AttemptsRead {
    Unknown,
    Expired,
    /// In the order of the attempts.
    Logs(Vec<AttemptLog>),
}

#[derive(Clone, Debug, Default)]
pub struct JobsQuery {
    pub status: Option<Status>,
    pub queue: Option<String>,
    pub task: Option<String>,
    /// Only jobs older than this one.
    pub before: Option<i64>,
    pub limit: u32,
}

#[derive(Debug)]
pub struct JobsPage {
    pub jobs: Vec<JobView>,
    /// Where the next page begins; `None`: this was the last.
    pub before: Option<i64>,
}

#[derive(Debug)]
pub struct SchedulesPage {
    pub schedules: Vec<ScheduleView>,
    /// After which name the next page begins; `None`: this was the last.
    pub after: Option<String>,
}

#[derive(Debug)]
pub struct KeysPage {
    pub keys: Vec<KeyView>,
    /// After which key the next page begins; `None`: this was the last.
    pub after: Option<KeyCursor>,
}

/// A place in the list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCursor {
    /// Unix ms.
    pub created_at: i64,
    pub key_id: KeyId,
}

impl KeyCursor {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (created_at, key_id) = text.split_once('-')?;
        Some(Self { created_at: created_at.parse().ok()?, key_id: key_id.parse().ok()? })
    }
}

impl std::fmt::Display for KeyCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.created_at, self.key_id)
    }
}

#[derive(Debug)]
pub struct AuditRead {
    pub entries: Vec<AuditEntry>,
    /// Before which entry the next page begins; `None`: this was the last.
    pub before: Option<i64>,
}

/// Which log entries a follower wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogKinds {
    pub jobs: bool,
    pub invalidations: bool,
}

#[derive(Debug)]
pub enum LogRead {
    /// Entries as JSON, in order, and up to where they are complete (`None`: up to the position of the read).
    Page { entries: Vec<(Position, String)>, through: Option<Position>, fenced_through: Position },
    /// The cursor lies before the log's start, or beyond its head.
    Trimmed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutstandingBells {
    pub queue: String,
    pub count: u64,
    pub lowest: BellSeq,
    /// The highest bell named by a claim.
    pub claimed_through: BellSeq,
    /// How many belong to their creators.
    pub unsent: u64,
}
