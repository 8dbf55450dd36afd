//! Jobs over HTTP: submit, status, waiting for the end, cancel.

pub(crate) mod bells;
mod body;
pub(crate) mod control;
mod fates;
pub(crate) mod follower;
pub(crate) mod idempotency;
pub(crate) mod list;
pub(crate) mod prefer;
mod seen;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod waiters;
mod waiting;
