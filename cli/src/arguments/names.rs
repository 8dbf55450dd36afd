//! Values of arguments that are one of a few names.

use clap::ValueEnum;
use protocol::api::{ErrorKind, Priority, Status};
use protocol::bulk_retry::Unsuccessful;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PriorityName {
    High,
    Normal,
    Low,
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::High => Self::High,
            PriorityName::Normal => Self::Normal,
            PriorityName::Low => Self::Low,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StatusName {
    Scheduled,
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Scheduled => Self::Scheduled,
            StatusName::Queued => Self::Queued,
            StatusName::Running => Self::Running,
            StatusName::Succeeded => Self::Succeeded,
            StatusName::Failed => Self::Failed,
            StatusName::Cancelled => Self::Cancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum UnsuccessfulName {
    Failed,
    Cancelled,
}

impl From<UnsuccessfulName> for Unsuccessful {
    fn from(name: UnsuccessfulName) -> Self {
        match name {
            UnsuccessfulName::Failed => Self::Failed,
            UnsuccessfulName::Cancelled => Self::Cancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ErrorKindName {
    Failed,
    Timeout,
    Panic,
    Crashed,
    Deadline,
}

impl From<ErrorKindName> for ErrorKind {
    fn from(name: ErrorKindName) -> Self {
        match name {
            ErrorKindName::Failed => Self::Failed,
            ErrorKindName::Timeout => Self::Timeout,
            ErrorKindName::Panic => Self::Panic,
            ErrorKindName::Crashed => Self::Crashed,
            ErrorKindName::Deadline => Self::Deadline,
        }
    }
}
