//! HTTP as every service speaks it: errors are problems, every request has an id and a trace, every bound has an answer.

mod admin;
mod at_once;
mod bounded;
mod connection;
mod context;
mod extract;
mod observe;
mod pace;
mod rejection;
mod serve;
mod wire;

pub use at_once::AtOnce;
pub use context::{Context, REQUEST_ID, TRACEPARENT};
pub use extract::{Body, Json, Path, Query};
pub use rejection::Rejection;
pub use serve::{Limits, serve, serve_edge};
