//! What only tests need beside the harness: one RabbitMQ shared by scenarios, the documentation's commands, containers, a browser, the
//! client scripts. The system tests are in `it/`, the models in `model/`.

pub mod browser;
pub mod compose;
pub mod open_loop;
pub mod otlp;
pub mod owners;
pub mod postgres;
pub mod rabbit;
pub mod scenario;
pub mod seed;
pub mod small_disk;
pub mod transcript;
pub mod usage;

pub use harness::{
    Answer, Client, Cluster, Http, Process, Setup, TcpProxy, binaries, client, cluster, eventually, http, ledger,
    pacer, ports, process, proxy, unless_interrupted, wait, wait_until, wall_clock,
};
pub use scenario::{among_strangers, scenario};
