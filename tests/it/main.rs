//! System tests: the whole system as real processes, and the rules that hold for the source itself.

mod access;
mod backup;
mod bad_input;
mod balance;
mod events;
mod fairness;
mod faults;
mod garbage;
mod harness;
mod health;
mod key_limits;
mod leases;
#[cfg(feature = "long")]
mod long;
mod postgres;
mod queues;
mod reads;
mod real_input;
mod schedules;
mod secrets;
mod secured;
mod tenants;
mod tidy;
mod tracing;
mod transcripts;
mod walk;
mod webhooks;

use std::time::Duration;

use anyhow::Result;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario};

/// Long enough for anything that should happen at once on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The same steps with everything in one process on the embedded broker.
async fn embedded(steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    scenario(Setup::embedded(), steps).await
}

/// The same steps with each program as a process of its own on RabbitMQ.
async fn rabbitmq(steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    scenario(Setup::rabbitmq(Vhost::fresh().await?.urls()), steps).await
}
