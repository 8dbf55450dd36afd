//! One of three gateways works ten times slower than the others: answer times through `lb` by its way of picking, beside three that are alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::routing::get;
use chassis::task::Tasks;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::contenders::{SMALL, lb};
use super::open_loop;
use crate::kept::Clients;
use crate::plan::Plan;
use crate::record::{Contender, Run, Section};
use crate::report::{progress, say};

pub(crate) const SLOW_GATEWAY: &str = "balancer, slow gateway";
const PICKS: [&str; 2] = ["peak-ewma", "round-robin"];
/// As in the simulation of ways of picking.
const PER_SECOND: u32 = 500;
const WORKERS: usize = 8;
const WORK_MS: f64 = 4.0;
const SLOWER: f64 = 10.0;
/// What a picker needs to learn is not counted.
const SETTLES_IN: Duration = Duration::from_secs(10);
/// A p99 is of some thousand answers.
const SHORTEST: Duration = Duration::from_secs(6);

/// Of a contender.
pub(crate) fn title(pick: &str, is_slow: bool) -> String {
    format!("{pick}, {}", if is_slow { "one of three gateways ten times slower" } else { "three gateways alike" })
}

pub(super) async fn run(plan: &Plan) -> Result<Section> {
    let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
    let mut contenders = Vec::new();
    for pick in PICKS {
        for is_slow in [false, true] {
            let what = format!(
                "{PER_SECOND} requests per second, open loop; {WORKERS} workers in each gateway, {WORK_MS} ms of work on average; \
                 the first {} s do not count; in MiB what lb holds in the end",
                SETTLES_IN.as_secs()
            );
            contenders.push((pick, is_slow, Contender { name: title(pick, is_slow), what, runs: Vec::new() }));
        }
    }
    for round in 0..plan.withstand_rounds {
        for (pick, is_slow, contender) in &mut contenders {
            let name = format!("lb-{pick}-{is_slow}-{round}");
            let run = measure(plan, &folder, &name, pick, *is_slow).await;
            let run = run.with_context(|| contender.name.clone())?;
            progress(SLOW_GATEWAY, &contender.name, &run);
            contender.runs.push(run);
        }
    }
    let contenders = contenders.into_iter().map(|(_, _, contender)| contender).collect();
    Ok(Section { name: SLOW_GATEWAY.to_owned(), contenders })
}

/// With a balancer and gateways of its own: none has learned anything.
async fn measure(plan: &Plan, folder: &TempDir, name: &str, pick: &str, is_slow: bool) -> Result<Run> {
    let gateways = Tasks::new();
    let mut addresses = Vec::new();
    for slowness in [if is_slow { SLOWER } else { 1.0 }, 1.0, 1.0] {
        addresses.push(start_gateway(&gateways, slowness).await?);
    }
    let addresses = addresses.try_into().map_err(|_| anyhow!("three gateways"))?;
    let settings = [("LONGSHORE_PICK", pick.to_owned()), ("LONGSHORE_ACCESS_LOG", "false".to_owned())];
    let lb = lb(folder, name, addresses, &settings).await?;
    let clients = Clients::new(lb.address, SMALL);
    open_loop::at(&lb.meter, &clients, PER_SECOND, SETTLES_IN).await?;
    let run = open_loop::at(&lb.meter, &clients, PER_SECOND, plan.length.max(SHORTEST)).await?;
    gateways.stop();
    Ok(run)
}

/// Answers on as many workers as there are, with work that takes exponentially distributed times; the others wait for their turn.
async fn start_gateway(tasks: &Tasks, slowness: f64) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let workers = Arc::new(Semaphore::new(WORKERS));
    let work = async move || {
        let worker = workers.acquire_owned().await;
        let takes = Duration::from_secs_f64(WORK_MS * slowness / 1e3).mul_f64(-(1.0 - rand::random::<f64>()).ln());
        sleep(takes).await;
        drop(worker);
        "done"
    };
    let gateway = Router::new().route(SMALL, get(work)).route("/ready", get(async || "ready"));
    tasks.spawn("gateway", async move {
        if let Err(error) = axum::serve(listener, gateway).await {
            say(&format!("a gateway ended: {error}"));
        }
    });
    Ok(address)
}
