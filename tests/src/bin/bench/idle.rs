//! Longshore alone: what its programs hold when they do nothing, the latency of submits at a fixed rate, and what a request costs that waits.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chassis::program::raise_file_limit;
use chassis::testing::rabbit::ScratchNode;
use serde_json::json;
use tests::http::Http;
use tests::open_loop::at_rate;
use tests::rabbit::own_urls;
use tests::usage::Usage;
use tests::{Cluster, Setup, wait_until};
use tokio::time::{Instant, sleep_until};

use crate::jobs::{NOOP, SLOTS, percentile_ms};
use crate::kept::crowd;
use crate::meter::mib;
use crate::plan::Plan;
use crate::report::say;

/// Submits per second.
const RATE: u32 = 200;
/// Invalidations per second.
const FENCES: u32 = 50;
/// As many as a gateway takes by default.
const WAITERS: u32 = 10_000;
/// Well before the first of them has waited long enough.
const WAITING_WITHIN: Duration = Duration::from_secs(20);

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
        fences(plan, &cluster).await?;
        if cluster.process("gateway-0").is_ok() {
            waiting(&mut cluster).await?;
        }
    }
    Ok(())
}

/// What a gateway takes for each of many requests that wait for a job.
async fn waiting(cluster: &mut Cluster) -> Result<()> {
    raise_file_limit();
    let id = cluster.client().accepted(&json!({"task": "noop", "delay_ms": 3_600_000})).await?;
    let address = cluster.address("gateway-0")?;
    let request = format!("GET /jobs/{id} HTTP/1.1\r\nhost: gateway\r\nprefer: wait=30\r\n\r\n");
    let before = cluster.process("gateway-0")?.usage()?;
    let waiters = crowd(address, &request, WAITERS).await?;
    wait_until(WAITING_WITHIN, "all of them wait", async || {
        Ok(cluster.metrics("gateway-0").await?.sum("longshore_waiters", &[]) >= f64::from(WAITERS))
    })
    .await?;
    let after = cluster.process("gateway-0")?.usage()?;
    let grown = mib(after.resident_bytes.saturating_sub(before.resident_bytes));
    let each = grown * 1_024.0 / f64::from(WAITERS);
    say("| requests that wait at one gateway | MiB | KiB each |\n|---|---|---|");
    say(&format!("| {WAITERS} | {grown:.0} | {each:.1} |\n"));
    drop(waiters);
    let http = cluster.client().http();
    http.post(&format!("/jobs/{id}/cancel"), &json!({})).await?.expect(200).map(drop)
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
    show("POST /longtask to 202", "submits", RATE, &took);
    Ok(())
}

/// Invalidations that wait for every gateway.
async fn fences(plan: &Plan, cluster: &Cluster) -> Result<()> {
    let http = Http::new(cluster.address("lb")?);
    let fence = |_| async { http.delete("/cache/my_data").await?.expect(200).map(drop) };
    let took = at_rate(FENCES, plan.length, fence).await?;
    show("DELETE /cache/{key} to fenced", "invalidations", FENCES, &took);
    Ok(())
}

/// A table of the times that so many took, sorted.
fn show(title: &str, what: &str, rate: u32, took: &[Duration]) {
    say(&format!("| {title} | rate/s | p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|"));
    let figures = [50, 90, 99, 100].map(|percent| format!("{:.1}", percentile_ms(took, percent))).join(" | ");
    say(&format!("| {} {what} | {rate} | {figures} |\n", took.len()));
}

async fn submit(http: &Http) -> Result<()> {
    http.post("/longtask", &json!({"task": "noop"})).await?.expect(202).map(drop)
}

fn usage(cluster: &mut Cluster) -> Result<BTreeMap<String, Usage>> {
    cluster.processes("").map(|process| Ok((process.name().to_owned(), process.usage()?))).collect()
}
