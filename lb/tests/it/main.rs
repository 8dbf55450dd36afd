//! The balancer as its clients and backends see it, over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod admin;
mod backend;
mod balancer;
mod choice;
mod client;
mod framing;
mod heads;
mod http2;
mod http2_abuse;
mod limits;
mod probe;
mod retries;
mod secured;
mod spread;
mod streams;
mod tunnels;
