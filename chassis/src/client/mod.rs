//! How services call each other: JSON over kept connections, a deadline on every call, typed errors, retries only where they are safe.

mod answer;
mod call;
mod coalescer;
mod error;
mod events;
mod path;
mod peer;
mod services;
mod transport;

pub use answer::Answer;
pub use call::Call;
pub use coalescer::{CallError, Coalescer, CoalescerLimits};
pub use error::Error;
pub use events::{Event, Events};
pub use path::segment;
pub use peer::Peer;
pub use services::{CacheClient, DataRead, StoreClient};
#[cfg(feature = "outbound")]
pub(crate) use transport::causes;
pub use transport::{Http, Pieces};
