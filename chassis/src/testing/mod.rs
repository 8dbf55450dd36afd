//! What tests need: waiting for a condition, and checks that every service's configuration keeps.

mod defaults;
#[cfg(feature = "testing")]
mod ports;
#[cfg(feature = "testing")]
pub mod postgres;
#[cfg(all(feature = "testing", feature = "broker"))]
pub mod rabbit;
mod wait;

pub use defaults::check_defaults;
pub use wait::wait_until;
