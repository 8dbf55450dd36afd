//! Runs jobs: takes their bells from the broker, claims them at the store, runs their handlers and records how that ended.
//! As a library it runs handlers written in Rust; the program runs the tasks of a TOML file.

mod answers;
mod attempt;
mod claim;
pub mod config;
pub mod context;
pub mod executor;
pub mod guard;
pub mod handler;
mod metrics;
pub mod registry;
mod runtime;
mod session;
pub mod settle;
mod slot;
pub mod slots;
mod store;
pub mod tasks;
mod traced;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::broker::{self, ConnectOptions};
use chassis::client::Http;
use chassis::health::Health;
use chassis::http::{Limits, serve};
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use tokio::net::TcpListener;
use tokio::time::Instant;

pub use config::Config;
pub use context::{JobContext, StopReason};
pub use handler::{Failure, Handler};
pub use registry::Registry;
pub use tasks::TaskSettings;

use executor::HandlerPool;
use guard::Guard;
use runtime::Runtime;
use session::{Identity, Ledger, Session};
use slot::Slot;
use store::Store;

/// Handlers are stopped so long before the drain's deadline, or a third of the drain if that is less, so that their jobs can be given
/// back in time.
const GIVE_BACK: Duration = Duration::from_secs(5);
/// What releases and acknowledgements get once the deadline has passed.
const LAST_WORDS: Duration = Duration::from_millis(700);
const GOODBYE: Duration = Duration::from_millis(500);

/// Runs the tasks of the configuration until the shutdown.
///
/// # Errors
/// When the worker cannot start, or a part of it broke.
pub async fn run(listener: TcpListener, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let registry = config.registry().context("reading the tasks")?;
    run_with(listener, config, registry, shutdown).await
}

/// Runs the given handlers until the shutdown.
///
/// # Errors
/// When the worker cannot start, or a part of it broke.
pub async fn run_with(
    listener: TcpListener,
    config: Config,
    registry: Registry,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    anyhow::ensure!(!registry.is_empty(), "this worker knows no task");
    let health = Health::new("worker");
    let services = Tasks::new();
    let slots = Tasks::new();
    let session = Tasks::new();
    let runtime = Arc::new(assemble(&config, registry, &services, &health, &shutdown)?);
    start_services(listener, &runtime, &services, &health, &shutdown);
    session.spawn("session", Arc::clone(&runtime.session).keep());
    session.spawn("news", Arc::clone(&runtime.session).listen());
    for (queue, count) in &config.slots {
        metrics::slots(queue.as_str(), *count);
        for _ in 0..*count {
            let (runtime, queue) = (Arc::clone(&runtime), queue.clone());
            slots.spawn("slot", async move {
                // A worker that cannot reach the store leaves the bells to those that can.
                tokio::select! {
                    () = runtime.session.registered() => Slot::new(runtime, queue.as_str()).run().await,
                    () = runtime.shutdown.draining() => {}
                }
            });
        }
    }
    health.ready();
    let result = tokio::select! {
        result = drained(&slots, &shutdown) => result,
        task = slots.panicked() => Err(anyhow::anyhow!("a {task} broke")),
        task = session.panicked() => Err(anyhow::anyhow!("the {task} broke")),
        task = services.panicked() => Err(anyhow::anyhow!("the {task} broke")),
    };
    slots.stop();
    // A late heartbeat would open the session again.
    session.stop();
    drop(session.join(GOODBYE).await);
    if let Err(error) = runtime.store.end_session(runtime.session.id, GOODBYE).await {
        tracing::debug!(%error, "the session ends by itself");
    }
    // Writes out the acknowledgements.
    if tokio::time::timeout(GOODBYE, runtime.broker.close()).await.is_err() {
        tracing::debug!("the broker's connections were cut off");
    }
    services.stop();
    result
}

fn assemble(
    config: &Config,
    registry: Registry,
    services: &Tasks,
    health: &Health,
    shutdown: &Shutdown,
) -> anyhow::Result<Runtime> {
    let queues = config.slots.keys().cloned().collect();
    let options = ConnectOptions::new(config.program, queues).named(config.worker_name.as_str());
    let broker = broker::connect(&config.broker, options).context("starting the broker's adapter")?;
    let has_foreign = registry.has_foreign();
    let pool = has_foreign.then(|| HandlerPool::new(config.handler_threads)).transpose();
    let guard = (config.guarded && registry.has_commands()).then(|| Guard::start(services)).transpose();
    let store = Store::new(&Http::between(&config.internal), &config.store_url, services, health.clone());
    let identity =
        Identity { name: config.worker_name.clone(), queues: config.slots.clone(), tasks: registry.patterns() };
    Ok(Runtime {
        session: Session::new(identity, store.clone(), shutdown.clone()),
        store,
        broker,
        registry,
        pool: pool.context("starting the handlers' threads")?,
        guard: guard.context("starting the guard")?,
        shutdown: shutdown.clone(),
        hand_over: config.hand_over,
        retention_ms: config.retention_ms,
    })
}

fn start_services(listener: TcpListener, runtime: &Arc<Runtime>, tasks: &Tasks, health: &Health, shutdown: &Shutdown) {
    let (served, until) = (health.clone(), shutdown.clone());
    tasks.spawn("http server", async move {
        serve(listener, axum::Router::new(), Limits::default(), &served, &until).await;
    });
    tasks.spawn("broker watch", broker::watch_health(Arc::clone(&runtime.broker), health.clone(), shutdown.clone()));
    let (session, until) = (Arc::clone(&runtime.session), shutdown.clone());
    tasks.spawn("drain", async move { stop_in_time(&session.ledger, &until).await });
}

/// Waits until every slot has finished, or has had its last words.
async fn drained(slots: &Tasks, shutdown: &Shutdown) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.ended().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let all = async {
        shutdown.draining().await;
        drop(slots.join(Duration::MAX).await);
    };
    tokio::select! {
        () = all => tracing::info!("all slots have finished"),
        () = overdue => tracing::warn!(busy = ?slots.running(), "ended before all slots had finished"),
    }
    Ok(())
}

/// Lets the handlers finish for as long as the drain allows, then asks them to stop, so that their jobs can still be given back.
async fn stop_in_time(ledger: &Ledger, shutdown: &Shutdown) {
    shutdown.draining().await;
    let now = Instant::now();
    let left = shutdown.deadline().map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(now));
    let reserve = GIVE_BACK.min(left / 3);
    tokio::select! {
        () = tokio::time::sleep(left - reserve) => {}
        () = shutdown.ended() => {}
    }
    // The rest is for saying so.
    ledger.stop_all(if shutdown.is_ended() { Duration::ZERO } else { reserve * 2 / 3 });
}
