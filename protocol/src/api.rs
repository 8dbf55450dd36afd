//! The public HTTP API's types: what clients send and what they are answered.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::JobId;
use crate::job::State;
use crate::key::{DataKey, QueueName, TaskName, UniqueKey};
use crate::problem::Problem;
use crate::schedule::MadeBy;
use crate::time::Timestamp;

pub const DEFAULT_QUEUE: &str = "default";
/// Attempts of a job that does not say; one that failed so often is `failed`.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 5;
/// The most attempts that a job may ask for.
pub const MAX_ATTEMPTS_MAX: u32 = 100;
/// The most keys that one job may invalidate.
pub const INVALIDATES_MAX: usize = 100;
/// The furthest a job may be scheduled ahead: 366 days, in ms.
pub const DELAY_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// The longest timeout of one attempt: 30 days, in ms.
pub const TIMEOUT_MS_MAX: u64 = 30 * 24 * 3_600 * 1_000;
/// The longest time in which a job must have started, counted from when it is due: 366 days, in ms.
pub const START_DEADLINE_MS_MAX: u64 = DELAY_MS_MAX;
/// The longest `Prefer: wait`, in s.
pub const WAIT_S_MAX: u64 = 30;
/// The longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// The most submits in one `POST /jobs:batch`.
pub const BATCH_ITEMS_MAX: usize = crate::store_api::ITEMS_MAX;

/// The largest result of a job, in bytes of JSON; a larger one fails its attempt for good.
pub const RESULT_BYTES_MAX: usize = 512 * 1024;
/// The longest error message that is kept, in bytes; a longer one is cut.
pub const ERROR_BYTES_MAX: usize = 66_000;

/// `POST /longtask`, `PUT /jobs/{id}` and an item of `POST /jobs:batch`; only `task` is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// What to do. A task that no worker knows waits until one does.
    pub task: TaskName,
    /// The task's input, any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub payload: Option<Box<RawValue>>,
    /// One that the gateway knows; `default` unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    #[serde(default)]
    pub priority: Priority,
    /// Run it so much later; not together with `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 31_622_400_000_i64))]
    pub delay_ms: Option<u64>,
    /// Run it then, at most 366 days from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// 5 unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    pub max_attempts: Option<u32>,
    /// The longest one attempt may take; the task's, unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_592_000_000_i64))]
    pub timeout_ms: Option<u64>,
    /// It ends failed when it has not started so long after it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31_622_400_000_i64))]
    pub start_deadline_ms: Option<u64>,
    /// Keys of data that it changes: it is reported as succeeded when nobody is answered with their old values any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub invalidates: Vec<DataKey>,
    /// Refused while another job with it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<UniqueKey>,
    /// In a batch only, as in the path of a `PUT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// In a batch only, as in the header of a `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub idempotency_key: Option<String>,
}

/// Which of the waiting jobs of a queue is rung first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// A job's state as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Scheduled,
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl Status {
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl From<State> for Status {
    fn from(state: State) -> Self {
        match state {
            State::Scheduled => Self::Scheduled,
            State::Queued => Self::Queued,
            State::Running | State::Finishing => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

/// What a job that does not run is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// Its time: a delay, or the backoff after a failed attempt.
    DueTime,
    /// A live worker that consumes its queue and knows its task.
    Worker,
    /// A free slot of such a worker.
    Slot,
    QueuePaused,
    /// Its tenant's other jobs: as many run, or were started lately, as its limits allow.
    TenantLimit,
    /// The API key that it was submitted with has limits, and one is reached.
    KeyLimit,
    Broker,
}

/// How an unsuccessful run, or the last attempt of one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The handler said so: an error, a non-zero exit.
    Failed,
    /// It ran longer than `timeout_ms`.
    Timeout,
    Panic,
    /// Its worker died under it too often.
    Crashed,
    /// It had not started by its start deadline.
    Deadline,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    pub kind: ErrorKind,
    pub message: String,
}

impl JobError {
    /// With a message that is cut to its bound.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.message.len() > ERROR_BYTES_MAX {
            self.message.truncate(self.message.floor_char_boundary(ERROR_BYTES_MAX));
        }
        self
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `GET /jobs/{id}`. `attempt`, `started_at`, `finished_at`, `result` and `error` are of the present run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    pub job_id: JobId,
    pub task: String,
    pub queue: String,
    pub priority: Priority,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    pub run: u32,
    pub attempt: u32,
    pub max_attempts: u32,
    /// Attempts of this run that ended with their worker; they do not count as attempts.
    pub crashes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Of a job that succeeded, as its task gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub result: Option<Box<RawValue>>,
    /// Of a job that failed, or of its last attempt while it waits for the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalidates: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// Which schedule made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<MadeBy>,
    /// Of the request that submitted it, if its trace is recorded: what to look for in the operator's tracing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    pub created_at: Timestamp,
    /// When it is due, while it is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// When it fails if it has not started, until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested_at: Option<Timestamp>,
    pub links: Links,
}

/// Where to go from a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Links {
    #[serde(rename = "self")]
    pub this: String,
    pub result: String,
    pub cancel: String,
}

impl Links {
    #[must_use]
    pub fn of(job_id: JobId) -> Self {
        let this = format!("/jobs/{job_id}");
        Self { result: format!("{this}/result"), cancel: format!("{this}/cancel"), this }
    }
}

/// The body of 202 to a submit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted {
    pub job_id: JobId,
    pub task: String,
    pub status: Status,
    pub links: Links,
}

/// The answer to `POST /jobs:batch`: one item for each submit, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Batch {
    pub items: Vec<BatchItem>,
}

/// What became of one submit of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum BatchItem {
    Accepted {
        status: u16,
        job: Accepted,
        /// It was there before, under this id or idempotency key.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replayed: bool,
    },
    Refused {
        status: u16,
        error: Box<Problem>,
    },
}

/// `GET /jobs`: one page, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobPage {
    pub jobs: Vec<JobView>,
    /// `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
}

/// One session in `GET /workers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerView {
    pub session_id: crate::ids::SessionId,
    pub worker: String,
    pub queues: std::collections::BTreeMap<String, u64>,
    pub tasks: Vec<String>,
    pub slots: u64,
    pub busy: u64,
    pub since: Timestamp,
}

/// `GET /workers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workers {
    pub workers: Vec<WorkerView>,
}
