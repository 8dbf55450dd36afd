//! The shared cache, and the one sequencer of invalidations: it orders them, leases near caches to gateways, and says when nobody can be
//! answered with an older value any more.

mod announce;
mod auditor;
mod closer;
mod config;
mod entry;
mod http;
mod inspections;
mod intake;
mod load;
mod seat;
mod shared;
mod store;
mod tenure;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chassis::broker::{self, ConnectOptions};
use chassis::client::{Http, StoreClient};
use chassis::health::Health;
use chassis::http::{Limits, serve};
use chassis::instance;
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use protocol::invalidation::sequencer::Settings;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use config::{Config, DEFAULTS};

use http::Service;
use inspections::Inspections;
use intake::Intake;
use load::Loader;
use seat::Seat;
use shared::Shared;
use store::Store;
use tenure::Tenure;

/// What the loops get to let go once everything else has ended.
const LAST_LOOPS: Duration = Duration::from_secs(2);

/// Serves until the shutdown has drained it.
///
/// # Errors
/// When the broker's adapter cannot be started.
pub async fn run(listener: TcpListener, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let health = Health::new("cache-svc");
    let tasks = Tasks::new();
    let name = instance::by_port(listener.local_addr().context("reading the port")?);
    let options = ConnectOptions::new(config.program, Vec::new()).named(name);
    let broker = broker::connect(&config.broker, options).context("connecting to the broker")?;
    let seat = Arc::new(Seat::new(Settings::with_lease(config.near_lease_ms), Shared::new(config.shared_bytes_max)));
    // The lease, the log and the fences must not wait behind loads: connections of their own.
    let store = Store::new(StoreClient::new(&Http::between(&config.internal), &config.store_url));
    let inspections = Arc::new(Inspections::default());
    let (sampler, auditor) = auditor::auditor(&seat, &inspections, config.audits_per_second);
    let (announcer, announcing) = announce::announcer(broker.clone(), sampler, shutdown.clone());
    let loads = store.over(StoreClient::new(&Http::between(&config.internal), &config.store_url));
    let loader = Loader::new(seat.clone(), loads, tasks.clone(), config.loads);
    let tenure =
        Tenure { seat: seat.clone(), store: store.clone(), announcer: announcer.clone(), health: health.clone() };
    let intake = Intake { seat: seat.clone(), broker: broker.clone(), announcer: announcer.clone() };
    tasks.spawn("announcer", announcing);
    tasks.spawn("tenure", tenure.run(shutdown.clone()));
    tasks.spawn("closer", closer::close(seat.clone(), store, shutdown.clone()));
    tasks.spawn("intake", intake.run(shutdown.clone()));
    if let Some(auditor) = auditor {
        tasks.spawn("auditor", auditor.run(shutdown.clone()));
    }
    tasks.spawn("broker watch", broker::watch_health(broker.clone(), health.clone(), shutdown.clone()));
    let fences = Arc::new(Semaphore::new(config.fences_max));
    let service = Service { seat, loader, announcer, inspections, fences, shutdown: shutdown.clone() };
    let router = config.internal.guard(http::router(service));
    let limits = Limits { connections: config.connections_max, ..Limits::default() };
    health.ready();
    serve(listener, router, limits, &health, &shutdown).await;
    if let Err(busy) = tasks.join(LAST_LOOPS).await {
        tracing::warn!(%busy, "cache-svc stopped before everything was finished");
    }
    broker.close().await;
    Ok(())
}
