//! What the store's log says, and how it is read.

use serde::{Deserialize, Serialize};

use crate::api::{Progress, Status};
use crate::ids::{Incarnation, JobId, Position, Version};
use crate::key::{DataKey, QueueName};

/// `GET /log?after=n&wait_ms=&kinds=&limit=`; a sequencer adds `instance=&epoch=`, which renews its lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogPage {
    pub incarnation: Incarnation,
    /// Everything of the asked kinds up to here is in `entries`: the cursor for the next call.
    pub position: Position,
    pub fenced_through: Position,
    pub entries: Vec<LogEntry>,
    /// Whether the caller's sequencer lease was renewed; absent when it did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    pub position: Position,
    pub change: Change,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The job looks different now.
    Job {
        job_id: JobId,
        run: u32,
        status: Status,
    },
    Progress {
        job_id: JobId,
        progress: Progress,
    },
    /// An operator paused or resumed the queue.
    Queue {
        queue: QueueName,
        paused: bool,
    },
    /// A data write; it is acknowledged when it is fenced.
    Data {
        key: DataKey,
        version: Version,
    },
    /// A job's declared invalidations; a succeeded job is done when they are fenced.
    Invalidates {
        job_id: JobId,
        keys: Vec<DataKey>,
    },
}

impl Change {
    /// Whether the sequencer must fence it.
    #[must_use]
    pub fn is_invalidation(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::Invalidates { .. })
    }
}

/// `GET /fenced?through=n&wait_ms=`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedThrough {
    pub fenced_through: Position,
}
