//! The broker port: one suite for both adapters, and what only RabbitMQ has.

mod bench;
mod conformance;
mod examine;
mod node;
mod proxy;
mod rabbit;
#[cfg(feature = "figures")]
mod rate;
mod raw;
