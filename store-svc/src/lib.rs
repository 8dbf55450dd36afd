//! Durable truth: jobs, data, the log, the dispatcher and the reaper behind one HTTP service.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::broker::{self, Broker, ConnectOptions};
use chassis::config::ExitWith;
use chassis::health::Health;
use chassis::http::{Limits, serve};
use chassis::instance;
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use protocol::retry::Backoff;
use tokio::net::TcpListener;

pub use config::{Config, DEFAULTS};

use hub::Hub;
use readers::Readers;
use storage::Settings;
use storage::Storage as _;
use storage::sqlite::Sqlite;
use storage::sqlite::lock::OpenError;
use writer::Writer;

mod bell_watch;
mod config;
mod dead_letters;
mod dispatcher;
mod http;
mod hub;
mod news;
mod pull_desk;
mod readers;
mod reaper;
pub mod storage;
mod writer;

/// Another process has the database open (`EX_CANTCREAT` of sysexits.h).
const LOCKED: u8 = 73;
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
    let storage = open(&config, &format!("process {} listening on {address}", std::process::id()))?;
    let incarnation = storage.incarnation();
    let settings = Arc::new(settings(&config));
    let hub = Arc::new(Hub::default());
    let readers = Readers::start(&storage).context("opening the database to read")?;
    let (writer, mut ended) =
        Writer::start(Box::new(storage), Arc::clone(&settings), Arc::clone(&hub)).context("starting the writer")?;
    let health = Health::new("store-svc");
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
    let loops = parts.start(&health, Duration::from_millis(config.log_kept_ms));
    drop(parts);

    let limits = Limits { body_bytes: BODY_BYTES, ..Limits::default() };
    let service = http::Service::new(incarnation, writer, readers, Arc::clone(&hub), shutdown.clone());
    health.ready();
    let died = tokio::select! {
        () = serve(listener, service.router(), limits, &health, &shutdown) => false,
        waited = ended.wait() => { waited?; true }
    };
    // Places were given out for these bells: nobody else would ring them for a while.
    hub.gate.close();
    drop(tokio::time::timeout(LAST_BELLS, hub.outbox.settled()).await);
    loops.stop();
    drop(loops.join(LAST_LOOPS).await);
    broker.close().await;
    if !died {
        ended.wait().await?;
    }
    ended.join()?;
    anyhow::ensure!(!died, "the writer ended by itself");
    Ok(())
}

/// What the loops work with.
struct Parts {
    hub: Arc<Hub>,
    writer: Writer,
    readers: Readers,
    broker: Broker,
}

impl Parts {
    fn start(&self, health: &Health, log_kept: Duration) -> Tasks {
        let hub = || Arc::clone(&self.hub);
        let (writer, readers, broker) = (|| self.writer.clone(), || self.readers.clone(), || self.broker.clone());
        let loops = Tasks::new();
        loops.spawn("link", dispatcher::follow_link(broker(), hub(), writer(), health.clone()));
        loops.spawn("dispatcher", dispatcher::publish(broker(), hub(), writer()));
        loops.spawn("bells", bell_watch::watch(broker(), hub(), writer(), readers()));
        loops.spawn("dead letters", dead_letters::triage(broker(), writer()));
        loops.spawn("reaper", reaper::reap(readers(), writer()));
        loops.spawn("due", reaper::queue_due(readers(), writer(), hub()));
        loops.spawn("trim", reaper::trim(writer(), log_kept));
        loops
    }
}

fn open(config: &Config, holder: &str) -> anyhow::Result<Sqlite> {
    if let Some(folder) = config.database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    Sqlite::open(&config.database, holder).map_err(|error| match error {
        OpenError::Locked { .. } => ExitWith { status: LOCKED, sentence: error.to_string() }.into(),
        OpenError::File { .. } | OpenError::Storage(_) => {
            anyhow::Error::from(error).context(format!("opening {}", config.database.display()))
        }
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        window: config.dispatch_window,
        backoff: Backoff { base_ms: config.retry_base_ms, max_ms: config.retry_max_ms },
        queues: config.queues.iter().map(|queue| queue.as_str().to_owned()).collect(),
        sequencer_lease_ms: config.sequencer_lease_ms,
    }
}
