//! Jobs over HTTP: submit, status, waiting for the end, cancel.

mod body;
mod idempotency;
mod prefer;
pub mod waiters;
