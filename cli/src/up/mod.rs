//! `longshore up`: every program in one process, started in the order in which they need each other and stopped in the reverse one.

mod admin_key;
mod banner;
mod bound;
mod parts;
pub(crate) mod plan;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chassis::broker::{self, Broker, ConnectOptions};
use chassis::config::{ConfigError, Source};
use chassis::program::{raise_file_limit, runtime, until_ended};
use chassis::shutdown::{Shutdown, Trigger};
use chassis::task::Tasks;
use chassis::{telemetry, trace};
use store_svc::Database;

use crate::arguments::Up;
use banner::{Facts, announce};
use bound::{Bound, Places};
use parts::{Parts, Stage};
use plan::Plan;

/// All programs share the threads.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 8;

/// How long the programs may take to say that they are ready.
const READY_WITHIN: Duration = Duration::from_secs(15);

pub(crate) fn run(arguments: &Up, source: &Source) -> anyhow::Result<ExitCode> {
    let (source, admin_key) = admin_key::keep(arguments, source)?;
    let plan = Plan::read(arguments, &source)?;
    telemetry::init("longshore", &plan.common);
    raise_file_limit();
    let cores = std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
    let runtime = runtime(&plan.common, cores.clamp(THREADS_MIN, THREADS_MAX))?;
    let result = runtime.block_on(async {
        let tasks = Tasks::new();
        let shutdown = Trigger::from_signals(plan.drain(), &tasks).context("listening for signals")?;
        until_ended(up(plan, admin_key, shutdown.clone()), &shutdown).await
    });
    // Whatever does not let go (a blocking call) does not keep the process.
    runtime.shutdown_background();
    trace::flush();
    result.map(|()| ExitCode::SUCCESS)
}

/// Where the store keeps everything.
///
/// # Errors
/// Every fault found in the settings.
pub(crate) fn database(arguments: &Up, source: &Source) -> Result<Database, ConfigError> {
    Ok(Plan::read(arguments, source)?.store.database)
}

async fn up(mut plan: Plan, admin_key: Option<PathBuf>, shutdown: Shutdown) -> anyhow::Result<()> {
    let bound = Bound::bind(&plan).await?;
    let places = bound.places().context("reading the ports")?;
    plan.connect(&places);
    let declarer = declare_missing(&plan)?;
    let facts = facts(&plan, places, declarer.as_ref(), admin_key);
    let mut parts = Parts::new(plan.drain());
    start(plan, bound, &mut parts);
    let result = serve(&mut parts, &facts, &shutdown).await;
    let result = match result {
        Ok(()) => parts.drain(&shutdown).await,
        Err(error) => {
            // Nothing accepted is lost: it is on disk, and goes on at the next start.
            parts.end().await;
            Err(error)
        }
    };
    if let Some(declarer) = declarer {
        declarer.close().await;
    }
    result
}

/// Until the shutdown begins, or a program ends by itself.
async fn serve(parts: &mut Parts, facts: &Facts, shutdown: &Shutdown) -> anyhow::Result<()> {
    let announced = async {
        announce(facts, READY_WITHIN).await?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        ended = parts.first_end() => Err(ended),
        () = shutdown.draining() => Ok(()),
        result = announced => result,
    }
}

fn start(plan: Plan, bound: Bound, parts: &mut Parts) {
    let Plan { store, cache, gateways, worker, lb, .. } = plan;
    parts.start(Stage::Store, "store", |shutdown| store_svc::run(bound.store, store, shutdown));
    parts.start(Stage::Cache, "cache", |shutdown| cache_svc::run(bound.cache, cache, shutdown));
    for (config, listener) in gateways.into_iter().zip(bound.gateways) {
        parts.start(Stage::Middle, "gateway", |shutdown| gateway::run(listener, config, shutdown));
    }
    parts.start(Stage::Middle, "worker", |shutdown| worker::run(bound.worker, worker, shutdown));
    parts.start(Stage::Balancer, "balancer", |shutdown| lb::run_on(bound.lb, lb, shutdown));
}

/// A connection that declares what the broker lacks, whenever it is there, if its user may. The embedded one has everything.
fn declare_missing(plan: &Plan) -> anyhow::Result<Option<Broker>> {
    if matches!(plan.broker, broker::Source::Embedded(_)) {
        return Ok(None);
    }
    let mut options = ConnectOptions::new(broker::Program::Up, plan.queues.clone());
    options.declare_missing = true;
    Ok(Some(broker::connect(&plan.broker, options).context("starting the broker's adapter")?))
}

fn facts(plan: &Plan, places: Places, declarer: Option<&Broker>, admin_key: Option<PathBuf>) -> Facts {
    Facts {
        places,
        broker: plan.broker.clone(),
        link: declarer.map(|declarer| declarer.link()),
        database: plan.store.database.to_string(),
        slots: plan.worker.slots.values().sum(),
        tasks: plan.tasks(),
        drain: plan.drain(),
        asks: plan.common.auth,
        admin_key,
    }
}
