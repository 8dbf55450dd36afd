//! Durable truth: jobs, data, the log, the dispatcher and the reaper behind one HTTP service.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::broker::{self, Broker, ConnectOptions};
use chassis::health::Health;
use chassis::http::{Limits, serve};
use chassis::instance;
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use protocol::retry::Backoff;
use tokio::net::TcpListener;

pub use config::{Config, DEFAULTS, Database};

use hub::Hub;
use opening::Opened;
use readers::Readers;
use reaper::Kept;
use storage::postgres::Replaced;
use storage::{Settings, WebhookSettings};
use writer::Writer;

mod bell_watch;
mod bulk_retry;
mod condition;
mod config;
mod dead_letters;
mod dispatcher;
mod flows;
mod follower;
mod http;
mod hub;
mod news;
mod opening;
mod pull_desk;
mod readers;
mod reaper;
#[cfg(test)]
mod samples;
pub mod storage;
mod webhooks;
mod writer;

/// Its name: in its health, in metrics and in traces.
const PROGRAM: &str = "store-svc";
/// Batches carry payloads and results: the largest body, in bytes.
const BODY_BYTES: u64 = 32 << 20;
/// What bells under way get to reach the broker at the end.
const LAST_BELLS: Duration = Duration::from_secs(2);
/// What the loops get to let go once everything else has ended.
const LAST_LOOPS: Duration = Duration::from_secs(2);

/// Serves until `shutdown` has drained.
///
/// # Errors
/// When the database cannot be opened, or its writer dies.
pub async fn run(listener: TcpListener, config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let address = listener.local_addr().context("reading the port")?;
    let holder = format!("process {} listening on {address}", std::process::id());
    let Opened { storage, follower } = opening::open(&config.database, &holder).await?;
    let incarnation = storage.incarnation();
    let settings = Arc::new(settings(&config));
    let hub = Arc::new(Hub::default());
    let readers = Readers::start(storage.as_ref()).context("opening the database to read")?;
    let (writer, mut ended) =
        Writer::start(storage, Arc::clone(&settings), Arc::clone(&hub)).context("starting the writer")?;
    let health = Health::new(PROGRAM);
    let embedded = matches!(config.broker, broker::Source::Embedded(_));
    writer
        .step(move |transitions| if embedded { transitions.forget_bells() } else { Ok(()) })
        .await
        .context("reading the database")?;
    // What was written before our start may ask for a fence, too.
    hub.invalidation.send_replace(*hub.head.borrow());
    let name = instance::by_port(listener.local_addr().context("reading the port")?);
    let options = ConnectOptions::new(config.program, config.queues.clone()).named(name);
    let broker = broker::connect(&config.broker, options).context("starting the broker client")?;

    let parts =
        Parts { hub: Arc::clone(&hub), writer: writer.clone(), readers: readers.clone(), broker: broker.clone() };
    let loops = parts.start(&health, kept(&config), webhooks::Sender::new(&config));
    let (replaced, mut is_replaced) = tokio::sync::oneshot::channel();
    if let Some(follower) = follower {
        let (hub, writer) = (Arc::clone(&parts.hub), parts.writer.clone());
        loops.spawn("follower", follower::follow(follower, hub, writer, health.clone(), replaced));
    }
    drop(parts);

    let limits = Limits { body_bytes: BODY_BYTES, ..Limits::default() };
    let service = http::Service::new(incarnation, settings, writer, readers, Arc::clone(&hub), shutdown.clone());
    health.ready();
    let early = tokio::select! {
        () = serve(listener, config.internal.guard(service.router()), limits, &health, &shutdown) => None,
        waited = ended.wait() => { waited?; Some(Early::WriterDied) }
        Ok(replaced) = &mut is_replaced => Some(Early::Replaced(replaced)),
    };
    // Places were given out for these bells: nobody else would ring them for a while.
    hub.gate.close();
    drop(tokio::time::timeout(LAST_BELLS, hub.outbox.settled()).await);
    loops.stop();
    drop(loops.join(LAST_LOOPS).await);
    broker.close().await;
    match early {
        None => ended.wait().await?,
        Some(Early::WriterDied) => {}
        // Requests may still hold the writer; the process ends with them.
        Some(Early::Replaced(replaced)) => return Err(replaced.into()),
    }
    ended.join()?;
    anyhow::ensure!(early.is_none(), "the writer ended by itself");
    Ok(())
}

/// Why it ended without being asked to.
enum Early {
    WriterDied,
    Replaced(Replaced),
}

/// What the loops work with.
struct Parts {
    hub: Arc<Hub>,
    writer: Writer,
    readers: Readers,
    broker: Broker,
}

impl Parts {
    fn start(&self, health: &Health, kept: Kept, sender: webhooks::Sender) -> Tasks {
        let hub = || Arc::clone(&self.hub);
        let (writer, readers, broker) = (|| self.writer.clone(), || self.readers.clone(), || self.broker.clone());
        let loops = Tasks::new();
        loops.spawn("link", dispatcher::follow_link(broker(), hub(), writer(), health.clone()));
        loops.spawn("dispatcher", dispatcher::publish(broker(), hub(), writer()));
        loops.spawn("condition", condition::show(hub(), health.clone()));
        loops.spawn("bells", bell_watch::watch(broker(), hub(), writer(), readers()));
        loops.spawn("dead letters", dead_letters::triage(broker(), writer()));
        loops.spawn("reaper", reaper::reap(readers(), writer()));
        loops.spawn("due", reaper::queue_due(readers(), writer(), hub()));
        loops.spawn("bulk retry", bulk_retry::work(readers(), writer(), hub()));
        loops.spawn("webhooks", webhooks::send(sender, readers(), writer(), hub()));
        loops.spawn("trim", reaper::trim(readers(), writer(), kept));
        loops
    }
}

fn kept(config: &Config) -> Kept {
    Kept {
        log_ms: config.log_kept_ms.cast_signed(),
        jobs_ms: config.retention_ms.cast_signed(),
        jobs: config.retention_jobs,
        tombstones_ms: config.tombstones_kept_ms.cast_signed(),
        tombstones: config.tombstones_max,
        deliveries_ms: config.webhook_kept_ms.cast_signed(),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        window: config.dispatch_window,
        backoff: Backoff { base_ms: config.retry_base_ms, max_ms: config.retry_max_ms },
        queues: config.queues.iter().map(|queue| queue.as_str().to_owned()).collect(),
        sequencer_lease_ms: config.sequencer_lease_ms,
        queue_depth_max: config.queue_depth_max,
        retention_ms: config.retention_ms,
        webhooks: WebhookSettings {
            backoff: Backoff { base_ms: config.webhook_retry_base_ms, max_ms: config.webhook_retry_max_ms },
            give_up_ms: config.webhook_give_up_ms,
            reach: config.webhook_allow.clone(),
        },
    }
}
