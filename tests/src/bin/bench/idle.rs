//! Longshore alone: what its programs hold when they do nothing, and the latency of submits at a fixed rate.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chassis::testing::rabbit::ScratchNode;
use serde_json::json;
use tests::http::Http;
use tests::open_loop::at_rate;
use tests::rabbit::own_urls;
use tests::usage::Usage;
use tests::{Cluster, Setup};
use tokio::time::{Instant, sleep_until};

use crate::jobs::{NOOP, SLOTS, percentile_ms};
use crate::meter::mib;
use crate::plan::Plan;
use crate::report::say;

/// Submits per second.
const RATE: u32 = 200;

pub(crate) async fn run(plan: &Plan) -> Result<()> {
    let node = ScratchNode::start().await?;
    for (title, setup) in
        [("On RabbitMQ", Setup::rabbitmq(own_urls(&node)).workers(1)), ("In one process", Setup::embedded())]
    {
        let setup = setup.slots(SLOTS).tasks(NOOP);
        let setup = setup.set("lb", "LONGSHORE_ACCESS_LOG", "false").set("up", "LONGSHORE_ACCESS_LOG", "false");
        let mut cluster = Cluster::start(&setup).await?;
        say(&format!("{title}:\n"));
        idle(plan, &mut cluster).await?;
        latency(plan, &cluster).await?;
    }
    Ok(())
}

async fn idle(plan: &Plan, cluster: &mut Cluster) -> Result<()> {
    sleep_until(Instant::now() + plan.length).await;
    let before = usage(cluster)?;
    sleep_until(Instant::now() + plan.length).await;
    say("| program, idle | resident MiB | CPU ms per second |\n|---|---|---|");
    for (name, now) in usage(cluster)? {
        let cpu = now.cpu.saturating_sub(before.get(&name).map_or(Duration::ZERO, |then| then.cpu));
        let per_second = cpu.as_secs_f64() * 1_000.0 / plan.length.as_secs_f64();
        say(&format!("| {name} | {:.1} | {per_second:.1} |", mib(now.resident_bytes)));
    }
    say("");
    Ok(())
}

async fn latency(plan: &Plan, cluster: &Cluster) -> Result<()> {
    let http = Http::new(cluster.address("lb")?);
    let took = at_rate(RATE, plan.length, |_| submit(&http)).await?;
    let at = |percent| percentile_ms(&took, percent);
    say("| POST /longtask to 202 | rate/s | p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|");
    let total = took.len();
    say(&format!("| {total} submits | {RATE} | {:.1} | {:.1} | {:.1} | {:.1} |\n", at(50), at(90), at(99), at(100)));
    Ok(())
}

async fn submit(http: &Http) -> Result<()> {
    http.post("/longtask", &json!({"task": "noop"})).await?.expect(202).map(drop)
}

fn usage(cluster: &mut Cluster) -> Result<BTreeMap<String, Usage>> {
    cluster.processes("").map(|process| Ok((process.name().to_owned(), process.usage()?))).collect()
}
