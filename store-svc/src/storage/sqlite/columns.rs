//! Between columns and types.

use protocol::api::{ErrorKind, JobError, Priority};
use protocol::job::State;
use protocol::queue::Depth;
use rusqlite::Row;
use rusqlite::types::FromSql;
use uuid::Uuid;

use crate::storage::StorageError;

/// Takes a row's columns one after the other, so that a list of names and a list of fields stay in one order.
pub(super) struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn of(row: &'r Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> Result<T, StorageError> {
        let index = self.next;
        self.next += 1;
        Ok(self.row.get(index)?)
    }

    pub(super) fn counter(&mut self) -> Result<u64, StorageError> {
        Ok(self.take::<i64>()?.cast_unsigned())
    }

    pub(super) fn depth(&mut self) -> Result<Depth, StorageError> {
        Ok(Depth { scheduled: self.counter()?, queued: self.counter()?, running: self.counter()? })
    }

    /// Two columns: kind and message.
    pub(super) fn job_error(&mut self) -> Result<Option<JobError>, StorageError> {
        let kind = self.take::<Option<String>>()?;
        let message = self.take::<Option<String>>()?.unwrap_or_default();
        let Some(kind) = kind else { return Ok(None) };
        Ok(Some(JobError { kind: error_kind(&kind)?, message }))
    }

    pub(super) fn word(&mut self) -> Result<&'r str, StorageError> {
        let index = self.next;
        self.next += 1;
        self.row.get_ref(index)?.as_str().map_err(|error| StorageError::Internal(error.to_string()))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, StorageError> {
        uuid(&self.take::<[u8; 16]>()?)
    }

    pub(super) fn optional_uuid(&mut self) -> Result<Option<Uuid>, StorageError> {
        Ok(self.take::<Option<[u8; 16]>>()?.map(Uuid::from_bytes))
    }
}

pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StorageError> {
    Uuid::from_slice(bytes).map_err(|error| StorageError::Internal(error.to_string()))
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
