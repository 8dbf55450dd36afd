//! The test harness: real programs on scratch folders and free ports, a TCP proxy that can cut, and a client that remembers what it was
//! told and holds the system to it. The system tests are in `it/`, the models in `model/`.

pub mod binaries;
pub mod browser;
pub mod client;
pub mod cluster;
pub mod compose;
pub mod http;
pub mod ledger;
pub mod owners;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod rabbit;
pub mod scenario;
pub mod seed;
pub mod transcript;
pub mod usage;
pub mod wait;

pub use client::Client;
pub use cluster::{Cluster, Setup};
pub use http::{Answer, Http};
pub use process::Process;
pub use proxy::TcpProxy;
pub use scenario::scenario;
pub use wait::{eventually, unless_interrupted, wait_until};
