//! The balancer as its clients and backends see it, over real sockets.

mod backend;
mod balancer;
mod client;
mod spread;
