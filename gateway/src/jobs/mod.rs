//! Jobs over HTTP: submit, status, waiting for the end, streams of changes, cancel.

pub(crate) mod batch;
pub(crate) mod bells;
pub(crate) mod body;
pub(crate) mod control;
pub(crate) mod events;
mod fates;
pub(crate) mod follower;
pub(crate) mod idempotency;
pub(crate) mod list;
pub(crate) mod prefer;
pub(crate) mod retry_many;
mod seen;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod traced;
pub(crate) mod waiters;
mod waiting;
