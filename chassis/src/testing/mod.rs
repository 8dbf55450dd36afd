//! What tests need: waiting for a condition, a client of server-sent events, certificates, and checks that every service's configuration keeps.

#[cfg(feature = "testing")]
pub mod certificates;
mod defaults;
mod events;
#[cfg(feature = "scratch")]
mod ports;
#[cfg(feature = "testing")]
pub mod postgres;
#[cfg(feature = "scratch")]
pub mod rabbit;
#[cfg(feature = "testing")]
mod signed;
mod wait;

pub use defaults::check_defaults;
pub use events::EventSource;
#[cfg(feature = "testing")]
pub use signed::signed_by;
pub use wait::wait_until;
