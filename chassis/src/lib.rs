//! How services live and talk: configuration, telemetry, shutdown, HTTP, typed clients and the broker. No business decisions.

pub mod asking;
pub mod backoff;
pub mod bounded_cache;
#[cfg(feature = "broker")]
pub mod broker;
pub mod client;
pub mod clock;
pub mod config;
pub mod fault_points;
pub mod finding;
pub mod flights;
pub mod health;
pub mod http;
pub mod instance;
pub mod internal;
pub mod listen;
pub mod outbound;
pub mod program;
pub mod shutdown;
pub mod task;
pub mod telemetry;
#[cfg(any(test, feature = "scratch"))]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trace;
pub mod usage;

/// What every program of ours takes as its `#[global_allocator]`: a job is many small allocations, freed by another thread than the one that made them, which
/// costs the system's allocator a tenth of all CPU time here. A library chooses none, so that a worker embedded in another program leaves that the choice.
pub use mimalloc::MiMalloc as Allocator;
