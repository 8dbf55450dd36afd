//! `/leases`: what workers that pull their jobs over HTTP send and are answered. They may be written in any language.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Builder;

use crate::api::{DEFAULT_QUEUE, Status};
use crate::ids::{ClaimId, Fence, JobId, SessionId};
use crate::key::{QueueName, TaskPattern, WorkerName};
use crate::store_api::{Claimed, JobFence, PulledJob};
use crate::tenant::Tenant;

/// Shortest and longest lease, in ms.
pub const LEASE_MS: RangeInclusive<u64> = 1_000..=3_600_000;
/// The lease of who does not say, in ms.
pub const LEASE_MS_DEFAULT: u64 = 15_000;
/// The most jobs taken at once.
pub const LIMIT_MAX: u32 = 100;
/// The most queues that one worker pulls from.
pub const QUEUES_MAX: usize = 16;
/// The most tasks and patterns of tasks that one worker names.
pub const TASKS_MAX: usize = 64;
/// No further job is taken once the payloads of those taken have this many bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Sessions beyond which no worker is let in that the store does not know.
pub const SESSIONS_MAX: usize = 4_096;
/// The longest progress message, in bytes.
pub const PROGRESS_MESSAGE_BYTES_MAX: usize = 256;

/// `POST /leases`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// A name of its own for each process: workers of one name are one worker.
    pub worker: WorkerName,
    /// Only `default`, unless it says otherwise.
    #[serde(default = "default_queues")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 16))]
    pub queues: Vec<QueueName>,
    /// What it can do.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 64))]
    pub tasks: Vec<TaskPattern>,
    /// How many jobs at most.
    #[serde(default = "one")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100, default = 1))]
    pub limit: u32,
    /// How long a job stays with a silent worker, in ms.
    #[serde(default = "default_lease")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1_000, maximum = 3_600_000, default = 15_000))]
    pub lease_ms: u64,
}

fn default_queues() -> Vec<QueueName> {
    vec![DEFAULT_QUEUE.try_into().expect("a valid name")]
}

fn one() -> u32 {
    1
}

fn default_lease() -> u64 {
    LEASE_MS_DEFAULT
}

/// The session of the worker of this name: the same at each of its calls, at any gateway.
#[must_use]
pub fn session_of(worker: &WorkerName) -> SessionId {
    SessionId(id_of(&["session", worker.as_str()]))
}

/// The claim of the worker's call under this key: the same at each repetition.
#[must_use]
pub fn claim_of(worker: &WorkerName, key: &str) -> ClaimId {
    ClaimId(id_of(&["claim", worker.as_str(), key]))
}

/// A UUID (version 8) made of a hash.
fn id_of(words: &[&str]) -> uuid::Uuid {
    let hash = Sha256::digest(words.join("\n"));
    let bytes: [u8; 16] = hash.first_chunk().copied().unwrap_or_default();
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The answer: jobs to work on, none if there were none in time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Leases {
    /// A lease began this long after the call was sent, or later.
    pub waited_ms: u64,
    pub leases: Vec<Lease>,
}

/// A job that is the worker's until its lease ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    pub lease_id: LeaseId,
    pub job_id: JobId,
    /// Whose job it is.
    #[serde(default)]
    pub tenant: Tenant,
    pub task: String,
    pub queue: String,
    pub run: u32,
    pub attempt: u32,
    pub max_attempts: u32,
    /// Grows with every attempt: the later one is right.
    pub fence: Fence,
    pub lease_ms: u64,
    /// How long the attempt may take; the worker sees to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The job's input.
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub payload: Option<Box<RawValue>>,
    /// The trace of the request that submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl From<PulledJob> for Lease {
    fn from(pulled: PulledJob) -> Self {
        let PulledJob { job_id, claimed } = pulled;
        let Claimed {
            tenant,
            fence,
            task,
            queue,
            run,
            attempt,
            max_attempts,
            lease_ms,
            timeout_ms,
            payload,
            trace,
            ..
        } = claimed;
        let lease_id = LeaseId(JobFence { job_id, fence });
        Self {
            lease_id,
            job_id,
            tenant,
            task,
            queue,
            run,
            attempt,
            max_attempts,
            fence,
            lease_ms,
            timeout_ms,
            payload,
            trace,
        }
    }
}

/// One lease in a path: the job and the fence of its owner, so that nothing but the job's row knows of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = r"^[0-9a-f-]{36}\.[0-9]+$"))]
#[serde(try_from = "String", into = "String")]
pub struct LeaseId(pub JobFence);

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("is not the id of a lease")]
pub struct NoLeaseId;

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.job_id, self.0.fence)
    }
}

impl FromStr for LeaseId {
    type Err = NoLeaseId;

    fn from_str(text: &str) -> Result<Self, NoLeaseId> {
        let (job_id, fence) = text.split_once('.').ok_or(NoLeaseId)?;
        let job_id = job_id.parse().map_err(|_| NoLeaseId)?;
        let fence = Fence(fence.parse().map_err(|_| NoLeaseId)?);
        Ok(Self(JobFence { job_id, fence }))
    }
}

impl TryFrom<String> for LeaseId {
    type Error = NoLeaseId;

    fn try_from(text: String) -> Result<Self, NoLeaseId> {
        text.parse()
    }
}

impl From<LeaseId> for String {
    fn from(id: LeaseId) -> Self {
        id.to_string()
    }
}

/// `POST /leases/{id}/heartbeat`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Beat {
    #[serde(default)]
    pub progress: Option<BeatProgress>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BeatProgress {
    /// 0 to 1.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
    pub fraction: Option<f64>,
    /// At most 256 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub message: Option<String>,
}

/// The answer: the lease lasts `lease_ms` from the moment at which the heartbeat was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Renewed {
    /// Somebody asked for the job's end.
    pub cancel_requested: bool,
}

/// `POST /leases/{id}/complete`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Any JSON, at most 512 KiB.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub result: Option<Box<RawValue>>,
}

/// `POST /leases/{id}/fail`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FailedAttempt {
    /// What went wrong, at most 66,000 bytes.
    #[cfg_attr(feature = "openapi", schema(max_length = 66_000))]
    pub error: String,
    /// `false`: not again.
    #[serde(default = "yes")]
    #[cfg_attr(feature = "openapi", schema(default = true))]
    pub retry: bool,
}

fn yes() -> bool {
    true
}

/// The answer to complete, fail and release: what the job is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseEnded {
    pub job_id: JobId,
    pub status: Status,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_ids_survive_their_text_and_others_are_refused() {
        let id = LeaseId(JobFence { job_id: JobId::generate(), fence: Fence(7) });
        assert_eq!(id.to_string().parse(), Ok(id));
        let job_id = id.0.job_id;
        for bad in ["", ".", "7", &format!("{job_id}"), &format!("{job_id}.x"), &format!("{job_id}.-1"), "x.7"] {
            assert_eq!(bad.parse::<LeaseId>(), Err(NoLeaseId), "{bad}");
        }
    }

    #[test]
    fn names_and_keys_give_ids_of_their_own() {
        let worker = |name: &str| WorkerName::try_from(name).expect("a name");
        assert_eq!(session_of(&worker("a")), session_of(&worker("a")));
        assert_ne!(session_of(&worker("a")), session_of(&worker("b")));
        assert_eq!(claim_of(&worker("a"), "k"), claim_of(&worker("a"), "k"));
        assert_ne!(claim_of(&worker("a"), "bk"), claim_of(&worker("ab"), "k"));
    }

    #[test]
    fn only_worker_and_tasks_are_needed() {
        let take: Take = serde_json::from_str(r#"{"worker":"w 1","tasks":["a","b*"]}"#).expect("valid");
        assert_eq!((take.queues[0].as_str(), take.limit, take.lease_ms), (DEFAULT_QUEUE, 1, LEASE_MS_DEFAULT));
        for bad in [r#"{"worker":"","tasks":["a"]}"#, r#"{"worker":"w","tasks":["a b"]}"#, r#"{"tasks":["a"]}"#] {
            assert!(serde_json::from_str::<Take>(bad).is_err(), "{bad}");
        }
    }
}
