//! The edge: takes jobs over HTTP, answers at once, and serves hot reads. It keeps nothing that another gateway would miss.

mod access;
mod admission;
mod conditional;
pub mod config;
mod console;
mod data;
mod dependencies;
mod embedded;
mod jobs;
mod leases;
mod openapi;
mod queues;
mod router;
mod schedules;
mod state;
mod store;
mod tenants;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chassis::broker::{self, ConnectOptions, Program};
use chassis::client::{Http, StoreClient};
use chassis::health::Health;
use chassis::http::{Limits, serve_edge};
use chassis::instance;
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use config::Config;

use access::Access;
use admission::Room;
use console::overview::{Overview, Sources, produce};
use data::Data;
use data::read::Front;
use jobs::bells::Bells;
use jobs::events::Streams;
use jobs::waiters::Waiters;
use state::{Edge, Parts};
use store::Stores;

/// Its name: in its health and in traces.
const PROGRAM: &str = "gateway";
/// What is left of the drain for the last bells, at least.
const LAST_BELLS: Duration = Duration::from_secs(1);

/// Serves until the shutdown has drained it.
///
/// # Errors
/// When the broker's adapter cannot be started.
pub async fn run(listener: TcpListener, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let health = Health::new(PROGRAM);
    let tasks = Tasks::new();
    let name = instance::by_port(listener.local_addr().context("reading the port")?);
    let options = ConnectOptions::new(Program::Gateway, config.queues.clone()).named(name.clone());
    let broker = broker::connect(&config.broker, options).context("connecting to the broker")?;
    let store_client = StoreClient::new(&Http::between(&config.internal), &config.store_url);
    let bells = Bells::start(&broker, &store_client, config.store_deadline, &tasks);
    let stores = Stores::start(&store_client, &config.store_url.as_slice()[0], &bells, config.store_deadline, &tasks);
    let access = Access::start(config.who, &store_client, config.store_deadline, &tasks, &shutdown);
    let waiters = Waiters::new(config.waiters_max);
    let followed = jobs::follower::follow(waiters.clone(), store_client.clone(), shutdown.clone());
    tasks.spawn("log follower", followed);
    tasks.spawn("store watch", dependencies::watch_store(store_client.clone(), health.clone(), shutdown.clone()));
    let watch = broker::watch_health(broker.clone(), health.clone(), shutdown.clone());
    tasks.spawn("broker watch", watch);
    let overview = Overview::new();
    let sources = Sources { name: name.clone(), store: store_client.clone(), balancer: config.lb_admin_url };
    tasks.spawn("overview", produce(overview.clone(), sources, shutdown.clone()));
    let options = data::Options {
        cache_url: &config.cache_url,
        internal: &config.internal,
        store: store_client,
        broker: &broker,
        near_bytes_max: config.near_bytes_max,
        stale: config.stale,
        name,
    };
    let data = Data::start(options, &health, &tasks, &shutdown);
    let streams = Streams::new(config.streams_max, config.stream_heartbeat);
    let pulls = Semaphore::new(leases::WAITERS_MAX);
    let queues = config.queues;
    let at_once = Arc::new(Front { data: data.clone(), access: access.clone() });
    let parts =
        Parts { stores, data, bells, access, waiters, streams, overview, pulls, queues, shutdown: shutdown.clone() };
    let router = router::router(Edge::new(parts), Room::new(config.bodies_bytes_max));
    let limits = Limits { connections: config.connections_max, ..Limits::default() };
    health.ready();
    serve_edge(listener, router, at_once, limits, &health, &shutdown).await;
    // With the router the last handles on the bells are gone: the stage ends after what it has.
    let left = shutdown.deadline().map_or(LAST_BELLS, |deadline| deadline.saturating_duration_since(Instant::now()));
    if let Err(busy) = tasks.join(left.max(LAST_BELLS)).await {
        tracing::warn!(%busy, "the gateway stopped before everything was finished");
    }
    broker.close().await;
    Ok(())
}
