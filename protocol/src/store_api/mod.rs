//! Between the store and its callers: every write is a `Command`, applied in one group commit with those of others.
//!
//! Variants are tagged from outside (`{"claim": {…}}`), so that payloads and results pass through as raw JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::access::{Act, Audited, KeyCommand, KeyId, KeyView};
use crate::api::{JobError, JobView, Priority, Progress, Status};
use crate::bulk_retry::{BulkRetry, RetryFilter};
use crate::ids::{
    ClaimId, Dispatch, Epoch, Fence, Incarnation, InstanceId, JobId, Place, Position, RetryId, SessionId, Version,
};
use crate::job::{Cancelled, ClaimRefusal, Settled};
use crate::key::{DataKey, MediaType, QueueName, Tag, TaskName, TaskPattern, UniqueKey, WorkerName};
use crate::logs::Output;
use crate::problem::{Kind, Problem};
use crate::queue::Pause;
use crate::schedule::{ScheduleCommand, ScheduleView};
use crate::tenant::{Limits, Tenant, TenantView};
use crate::time::Timestamp;
use crate::webhook::{WebhookCommand, WebhookReply};

pub use log::{Change, FencedThrough, LogEntry, LogPage};

mod log;

/// Most commands in one request.
pub const ITEMS_MAX: usize = 1_000;
/// How long an idempotency key is kept at least, in ms.
pub const IDEMPOTENCY_KEY_MS: i64 = 24 * 3_600 * 1_000;
/// Header of every answer: the log position at which it was read.
pub const POSITION_HEADER: &str = "x-longshore-position";
/// Header of a job's answer: the log position of its last change.
pub const CHANGED_HEADER: &str = "x-longshore-changed";
/// Header of every answer: the store's incarnation.
pub const INCARNATION_HEADER: &str = "x-longshore-incarnation";

/// `POST /apply`
#[derive(Debug, Serialize, Deserialize)]
pub struct Apply {
    pub items: Vec<Command>,
}

/// The answer to `POST /apply`: one item for each command, in order. One that was refused never fails its neighbours.
#[derive(Debug, Serialize, Deserialize)]
pub struct Applied {
    pub incarnation: Incarnation,
    pub position: Position,
    pub items: Vec<Answer>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ok(Box<Reply>),
    Error(Box<Problem>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Create(Box<Create>),
    Claim(Claim),
    Complete(Complete),
    Release(Release),
    Heartbeat(Heartbeat),
    Pull(Pull),
    /// One lease of a worker that pulls, and its session with it.
    Renew(Held),
    /// The worker has handed the job to somebody who reports on it from here on, over HTTP: its lease begins anew and is no session's.
    HandOver(JobFence),
    EndSession {
        session: SessionId,
    },
    Cancel {
        job_id: JobId,
    },
    Retry {
        job_id: JobId,
    },
    /// Begins a retry of many jobs, unless it has this id already.
    RetryJobs(Box<RetryJobs>),
    StopRetry {
        retry_id: RetryId,
    },
    Schedule(ScheduleCommand),
    Webhook(WebhookCommand),
    Key(KeyCommand),
    /// An operator's command, and who gives it.
    Audited(Box<Audited>),
    /// Something that an operator has done, which is no command, and what it was refused with.
    Audit(Box<(Act, Option<Problem>)>),
    /// From now on nothing of the queue is rung or claimed; what runs goes on.
    PauseQueue {
        queue: QueueName,
    },
    ResumeQueue {
        queue: QueueName,
    },
    /// Grants a tenant its limits, in place of those it had; one that is not known is known from then on.
    SetTenant {
        tenant: Tenant,
        limits: Limits,
    },
    /// Drops an ended job with all that belongs to it.
    Purge {
        job_id: JobId,
    },
    /// Hints about bells published by a creator; not worth a commit of their own.
    Bells(BellFates),
    PutData(PutData),
    DeleteData(DeleteData),
    SequencerAcquire {
        instance: InstanceId,
    },
    SequencerYield {
        instance: InstanceId,
        epoch: Epoch,
    },
    /// Everything in the log up to `through` is fenced; accepted from the present epoch only.
    Fenced {
        epoch: Epoch,
        through: Position,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Created(Created),
    Claimed(Box<Claimed>),
    ClaimRefused(ClaimRefusal),
    Settled {
        settled: Settled,
        status: Option<Status>,
        /// As [`Complete::next`] asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Box<PulledJob>>,
    },
    Heartbeat(HeartbeatReply),
    Pulled {
        jobs: Vec<PulledJob>,
    },
    Done,
    Cancelled {
        cancelled: Cancelled,
        job: Box<JobView>,
    },
    /// `None`: the job has not failed and was not cancelled.
    Retried {
        job: Option<Box<JobView>>,
    },
    /// As far as it has come.
    BulkRetry(Box<BulkRetry>),
    /// The schedule as it is now.
    Schedule {
        created: bool,
        schedule: Box<ScheduleView>,
    },
    /// `false`: there was none.
    ScheduleDeleted {
        deleted: bool,
    },
    ScheduleRun {
        job: Box<JobView>,
    },
    Webhook(WebhookReply),
    /// The key as it is now.
    Key(Box<KeyView>),
    /// The queue as it is now.
    Pause(Pause),
    /// The tenant as it is now.
    Tenant {
        created: bool,
        tenant: Box<TenantView>,
    },
    /// `false`: the job has not ended.
    Purged {
        purged: bool,
    },
    DataWritten {
        version: Version,
        position: Position,
    },
    /// The lease is granted, or its holder is somebody else.
    Sequencer(SequencerAnswer),
    /// `None`: the epoch is not the present one.
    Fenced {
        fenced_through: Option<Position>,
    },
}

impl Reply {
    /// What kind of reply it is: for logs, which must not show what clients gave us.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Claimed(_) => "claimed",
            Self::ClaimRefused(_) => "claim_refused",
            Self::Settled { .. } => "settled",
            Self::Heartbeat(_) => "heartbeat",
            Self::Pulled { .. } => "pulled",
            Self::Done => "done",
            Self::Cancelled { .. } => "cancelled",
            Self::Retried { .. } => "retried",
            Self::Purged { .. } => "purged",
            Self::BulkRetry(_) => "bulk_retry",
            Self::Schedule { .. } => "schedule",
            Self::ScheduleDeleted { .. } => "schedule_deleted",
            Self::ScheduleRun { .. } => "schedule_run",
            Self::Webhook(_) => "webhook",
            Self::Key(_) => "key",
            Self::Pause(_) => "pause",
            Self::Tenant { .. } => "tenant",
            Self::DataWritten { .. } => "data_written",
            Self::Sequencer(_) => "sequencer",
            Self::Fenced { .. } => "fenced",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Create {
    pub job_id: JobId,
    pub task: TaskName,
    pub payload: Option<Box<RawValue>>,
    pub queue: QueueName,
    pub priority: Priority,
    /// `None`: due now, or after the delay.
    pub run_at: Option<Timestamp>,
    /// Counted by the store's clock, so that no other clock decides when the job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    pub max_attempts: u32,
    pub timeout_ms: Option<u64>,
    /// Counted from when it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline_ms: Option<u64>,
    pub invalidates: Vec<DataKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<UniqueKey>,
    pub idempotency_key: Option<String>,
    /// SHA-256 (hex) of the canonical form of what the client sent: the same id or key with another one is refused. Empty for a job that the
    /// client named in neither way.
    pub fingerprint: String,
    pub trace: Option<String>,
    /// The API key with which it was submitted, whose limits it is held to. A store that does not know this holds it to its tenant's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The creator could publish the bell now.
    pub wants_bell: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Created {
    /// The id under which it is known: of the first job with this idempotency key.
    pub job_id: JobId,
    pub status: Status,
    /// It was there before, in this present state. Not the whole job: a batch of repeats would carry all their results. A gateway that still
    /// expects the whole job finds none under this name, and answers as to the first submit: with the same id.
    #[serde(rename = "repeated", alias = "replayed")]
    pub replayed: Option<Replayed>,
    /// The creator may publish this bell, and says in `Bells` how that went.
    pub bell: Option<Dispatch>,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    pub status: Status,
    /// When it is due, while it is scheduled.
    pub run_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    pub session: SessionId,
    pub job_id: JobId,
    pub dispatch: Dispatch,
    pub claim_id: ClaimId,
    pub lease_ms: u64,
    /// The claimant also takes another job of the queue, of the tasks that its session knows but for these, if that one is due before the named
    /// one. A store that does not know this gives it the named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or_except: Option<Vec<TaskPattern>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claimed {
    /// Another job than the claim named, as [`Claim::or_except`] allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Whose job it is.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    pub fence: Fence,
    pub task: String,
    pub queue: String,
    pub run: u32,
    pub attempt: u32,
    pub max_attempts: u32,
    pub lease_ms: u64,
    pub timeout_ms: Option<u64>,
    pub payload: Option<Box<RawValue>>,
    pub trace: Option<String>,
    pub cancel_requested: bool,
    /// More jobs wait in the queue than have bells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Takes jobs without a bell, and opens or renews the session of a worker that does so. Such a session has no slots: no bell is rung for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pull {
    pub session: SessionId,
    pub worker: WorkerName,
    pub queues: Vec<QueueName>,
    pub tasks: Vec<TaskPattern>,
    /// The most jobs to take.
    pub limit: u32,
    pub lease_ms: u64,
    /// Names the pull: a repetition gets the jobs that it holds already, renewed, and takes others only if it holds none.
    pub claim_id: ClaimId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PulledJob {
    pub job_id: JobId,
    pub claimed: Claimed,
}

/// The answer to `POST /pull?wait_ms=` with a [`Pull`]: held until there is a job, at most so long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pulled {
    /// So long after the call came the leases began, at the earliest.
    pub waited_ms: u64,
    pub jobs: Vec<PulledJob>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Complete {
    pub job_id: JobId,
    pub fence: Fence,
    pub outcome: Outcome,
    /// What the attempt wrote; more than is kept is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<Output>>,
    /// A store that does not know this records the outcome all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// The slot that is free by an outcome takes the job that comes next in the same queue, if that one has no bell: then nothing needs to pass
/// the broker for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Next {
    pub session: SessionId,
    /// Of the tasks that the session knows, but for `except`. When one of those comes next, nothing is taken.
    pub lease_ms: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<TaskPattern>,
    /// Names the taking, as of a [`Pull`].
    pub claim_id: ClaimId,
}

/// How an attempt ended. The next one should not come before `retry_after_ms`, of which an hour counts at most; an older store waits as usual.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded { result: Option<Box<RawValue>> },
    Failed { error: JobError, may_retry: bool, retry_after_ms: Option<u64> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Release {
    pub job_id: JobId,
    pub fence: Fence,
    /// As of [`Complete`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<Output>>,
}

/// A worker's session: names what it consumes and holds, and renews exactly the fences it names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    pub session: SessionId,
    /// Opens the session; without it an unknown session is answered `unknown-session`.
    pub register: bool,
    /// The worker's name for people.
    pub worker: String,
    /// Live slots by queue.
    pub queues: BTreeMap<QueueName, u64>,
    pub tasks: Vec<TaskPattern>,
    pub holds: Vec<Held>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    pub job_id: JobId,
    pub fence: Fence,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// Named fences that are not the owner's any more: stop their handlers.
    pub lost: Vec<JobFence>,
    /// Named fences whose job is asked to end.
    pub cancelled: Vec<JobFence>,
    /// Those of its queues that are paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobFence {
    pub job_id: JobId,
    pub fence: Fence,
}

/// `GET /sessions/{id}/news?after=&wait_ms=`: answered when something is new, or after the wait.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct News {
    /// Pass it as `after` next time.
    pub cursor: u64,
    pub lost: Vec<JobFence>,
    pub cancelled: Vec<JobFence>,
    /// Queues of the session that were paused or resumed, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<QueuePause>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePause {
    pub queue: String,
    pub paused: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetryJobs {
    pub retry_id: RetryId,
    pub filter: RetryFilter,
    pub rate_per_second: u32,
    pub limit: u64,
}

/// How the publishes of bells ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BellFates {
    pub sent: Vec<BellId>,
    /// Never reached the broker, or nobody knows: to be rung again at once.
    pub ring_again: Vec<BellId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BellId {
    pub job_id: JobId,
    pub dispatch: Dispatch,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PutData {
    pub key: DataKey,
    pub data: Box<RawValue>,
    /// What it can be invalidated by together with others; at most [`TAGS_MAX`](crate::cache_api::TAGS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Of bytes, which `data` has as a string in base64; `None`: it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    pub only_if: Option<Precondition>,
}

impl PutData {
    /// Of JSON, without tags, whatever is there.
    #[must_use]
    pub fn json(key: DataKey, data: Box<RawValue>) -> Self {
        Self { key, data, tags: Vec::new(), media_type: None, only_if: None }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeleteData {
    pub key: DataKey,
    pub only_if: Option<Precondition>,
}

/// `If-Match` and `If-None-Match` on the entity tag of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precondition {
    /// `If-Match: *`
    Exists,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "a", "b"`
    AnyOf(Vec<String>),
    /// `If-None-Match: "a", "b"`
    NoneOf(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequencerAnswer {
    Granted {
        epoch: Epoch,
        lease_ms: u64,
        /// The log's head at the grant: what lies up to it is covered by the new epoch and the restart wait.
        head: Position,
        fenced_through: Position,
        /// Somebody was sequencer before, so gateways may hold leases that this one does not know.
        predecessor: bool,
    },
    Held {
        retry_after_ms: u64,
    },
}

/// `GET /data/{key}` at the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataView {
    pub version: Version,
    pub data: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
}

/// Member of the answer to a read of an absent key: where in the store's history it was absent.
const READ_AT: &str = "read_at";

/// The answer to a read of an absent key.
#[must_use]
pub fn absent(read_at: Place) -> Problem {
    Kind::NotFound.problem().with(READ_AT, read_at.to_string())
}

/// Where the key was absent, as the store said.
#[must_use]
pub fn absent_at(problem: &Problem) -> Option<Place> {
    problem.extensions.get(READ_AT)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version whose `replayed` was the whole job is told nothing under that name, and what it tells is understood.
    #[test]
    fn answer_to_a_repeated_submit_is_understood_between_versions() {
        let told = |name: &str| {
            let job = r#"{"job_id":"01a2142b-04d1-729e-b04e-22ef395be815","task":"noop","status":"running"}"#;
            format!(
                r#"{{"job_id":"01a2142b-04d1-729e-b04e-22ef395be815","status":"running","{name}":{job},"bell":null,
                    "created_at":"2026-11-25T19:24:53.330Z"}}"#
            )
        };
        for name in ["replayed", "repeated"] {
            let created: Created = serde_json::from_str(&told(name)).expect("understood");
            assert_eq!(created.replayed, Some(Replayed { status: Status::Running, run_at: None }), "{name}");
            let answer = serde_json::to_value(created).expect("JSON");
            assert!(answer.get("replayed").is_none() && answer["repeated"]["status"] == "running", "{answer}");
        }
    }
}
