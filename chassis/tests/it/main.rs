//! The behaviours of the chassis over real sockets and, for the broker, a real RabbitMQ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod broker;
mod client;
mod http;
mod support;
