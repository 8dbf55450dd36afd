//! Longshore as real processes on scratch folders and free ports: programs that can be killed, paused and started again, a TCP proxy that
//! can cut, and a client that remembers what it was told and holds the system to it. For the tests, and for `longshore chaos`.

pub mod amqp_frames;
pub mod binaries;
pub mod client;
pub mod cluster;
pub mod http;
pub mod ledger;
pub mod pacer;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod rabbit;
pub mod wait;
pub mod wall_clock;

pub use client::Client;
pub use cluster::{Cluster, Setup};
pub use http::{Answer, Http};
pub use process::Process;
pub use proxy::TcpProxy;
pub use wait::{eventually, unless_interrupted, wait_until};
