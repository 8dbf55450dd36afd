//! What is said: the job, its transitions, invalidations, names and API types. Pure data and decisions: no I/O, no clock, no
//! randomness of its own, so that the model explores the same code that the product runs.

pub mod access;
pub mod api;
pub mod bulk_retry;
pub mod cache_api;
pub mod definitions;
pub mod dispatch;
pub mod envelope;
pub mod etag;
pub mod explain;
pub mod ids;
pub mod inspection;
pub mod invalidation;
pub mod job;
pub mod key;
pub mod lease;
pub mod lease_api;
pub mod logs;
pub mod namespace;
#[cfg(feature = "openapi")]
mod openapi;
pub mod problem;
pub mod queue;
pub mod retry;
pub mod schedule;
pub mod store_api;
pub mod tenant;
pub mod time;
pub mod topology;
pub mod webhook;
