//! Measures what docs/performance.md states: idle memory of each program, the latency of submits at a fixed rate, and jobs from submit to done.
//! Real processes beside this one; build them all with `--release` first.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use clap::{Parser, ValueEnum};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tests::http::Http;
use tests::rabbit::own_urls;
use tests::usage::Usage;
use tests::{Cluster, Setup};
use tokio::time::{Instant, sleep_until};

#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value = "rabbitmq")]
    broker: Broker,
    /// Submits per second of the latency run.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How long the latency run takes, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Jobs of the throughput run.
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// Submits open at a time in the throughput run.
    #[arg(long, default_value_t = 64)]
    clients: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Broker {
    /// `longshore up`, everything in one process.
    Embedded,
    /// A process per program on a scratch RabbitMQ.
    Rabbitmq,
}

/// What a program may hold when it does nothing.
const IDLE: Duration = Duration::from_secs(10);
/// The last job must have ended by then.
const DONE_WITHIN: Duration = Duration::from_secs(120);
const TASKS: &str = "[task.noop]\nkind = \"simulate\"\nduration_ms = 0\n";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let node = match arguments.broker {
        Broker::Embedded => None,
        Broker::Rabbitmq => Some(ScratchNode::start().await?),
    };
    let setup = match &node {
        None => Setup::embedded(),
        Some(node) => Setup::rabbitmq(own_urls(node)).workers(1),
    };
    let setup = setup.slots("64").tasks(TASKS).set("lb", "LONGSHORE_ACCESS_LOG", "false");
    let mut cluster = Cluster::start(&setup).await?;
    say(&format!("broker: {:?}\n", arguments.broker));
    idle(&mut cluster).await?;
    latency(&cluster, &arguments).await?;
    throughput(&mut cluster, &arguments).await
}

async fn idle(cluster: &mut Cluster) -> Result<()> {
    sleep_until(Instant::now() + IDLE).await;
    let before = usage(cluster)?;
    sleep_until(Instant::now() + IDLE).await;
    say("| program, idle | resident MiB | CPU ms per second |\n|---|---|---|");
    for (name, now) in usage(cluster)? {
        let cpu = now.cpu.saturating_sub(before.get(&name).map_or(Duration::ZERO, |then| then.cpu));
        let per_second = cpu.as_secs_f64() * 1_000.0 / IDLE.as_secs_f64();
        say(&format!("| {name} | {:.1} | {per_second:.1} |", mib(now.resident_bytes)));
    }
    say("");
    Ok(())
}

/// Open loop: a submit is due at its instant whether or not the ones before were answered, and its latency counts from that instant.
async fn latency(cluster: &Cluster, arguments: &Arguments) -> Result<()> {
    let http = Http::new(cluster.address("lb")?);
    let (rate, total) = (arguments.rate, arguments.rate * arguments.seconds);
    let start = Instant::now() + Duration::from_millis(100);
    let submits = stream::iter(0..total).map(|n| {
        let (http, due) = (http.clone(), start + Duration::from_secs(1) * n / rate);
        async move {
            sleep_until(due).await;
            submit(&http).await?;
            anyhow::Ok(due.elapsed())
        }
    });
    let in_sight = usize::try_from(rate * 2)?;
    let mut took: Vec<Duration> = submits.buffered(in_sight).try_collect().await?;
    took.sort_unstable();
    let at = |percent: usize| took.get((took.len() - 1) * percent / 100).map_or(0.0, |took| took.as_secs_f64() * 1e3);
    say("| POST /longtask to 202 | rate/s | p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|");
    say(&format!("| {total} submits | {rate} | {:.1} | {:.1} | {:.1} | {:.1} |\n", at(50), at(90), at(99), at(100)));
    Ok(())
}

async fn throughput(cluster: &mut Cluster, arguments: &Arguments) -> Result<()> {
    let http = Http::new(cluster.address("lb")?);
    all_done(&http).await?;
    let before = usage(cluster)?;
    let own_before = Usage::of(std::process::id())?;
    let start = Instant::now();
    let submits = stream::iter(0..arguments.jobs).map(|_| submit(&http));
    submits.buffer_unordered(arguments.clients).try_collect::<Vec<()>>().await?;
    let submitted = start.elapsed();
    all_done(&http).await?;
    let done = start.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs is far below 2^52")]
    let jobs = arguments.jobs as f64;
    say("| submit to done | jobs | submits/s | jobs/s |\n|---|---|---|---|");
    let rates = (jobs / submitted.as_secs_f64(), jobs / done.as_secs_f64());
    say(&format!("| no-op, 64 slots, {} clients | {jobs} | {:.0} | {:.0} |\n", arguments.clients, rates.0, rates.1));
    say("| CPU per job | µs | resident MiB after |\n|---|---|---|");
    for (name, now) in usage(cluster)? {
        let cpu = now.cpu.saturating_sub(before.get(&name).map_or(Duration::ZERO, |then| then.cpu));
        say(&format!("| {name} | {:.0} | {:.1} |", cpu.as_secs_f64() * 1e6 / jobs, mib(now.resident_bytes)));
    }
    let own = Usage::of(std::process::id())?.cpu.saturating_sub(own_before.cpu);
    say(&format!("| the load generator | {:.0} | |", own.as_secs_f64() * 1e6 / jobs));
    Ok(())
}

async fn submit(http: &Http) -> Result<()> {
    http.post("/longtask", &json!({"task": "noop"})).await?.expect(202).map(drop)
}

async fn all_done(http: &Http) -> Result<()> {
    let until = Instant::now() + DONE_WITHIN;
    for status in ["scheduled", "queued", "running"] {
        while open(http, status).await? {
            ensure!(Instant::now() < until, "jobs are still {status} after {DONE_WITHIN:?}");
            sleep_until(Instant::now() + Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

async fn open(http: &Http, status: &str) -> Result<bool> {
    let page: Value = http.get(&format!("/jobs?limit=1&status={status}")).await?.expect(200)?;
    Ok(!page["jobs"].as_array().context("a page of jobs")?.is_empty())
}

fn usage(cluster: &mut Cluster) -> Result<BTreeMap<String, Usage>> {
    cluster.processes("").map(|process| Ok((process.name().to_owned(), process.usage()?))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a size is far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1_u32 << 20)
}

#[expect(clippy::print_stdout, reason = "the figures are the program's result")]
fn say(line: &str) {
    println!("{line}");
}
