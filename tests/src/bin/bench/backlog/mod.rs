//! A backlog: what a million waiting jobs change in the latency of submits and of status, beside the same programs where nothing waits, in
//! turn; by how much they make each program grow, RabbitMQ included; and that every one of them is done in the end.

mod longshore;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chassis::testing::rabbit::ScratchNode;
use futures_util::future::try_join;
use tests::open_loop::at_rate;
use tests::usage::Usage;

use crate::jobs::percentile_ms;
use crate::meter::mib;
use crate::plan::Plan;
use crate::record::{Contender, Run, Section};
use crate::report::say;
use longshore::{Drained, Longshore};

pub(crate) const SUBMIT: &str = "submit, nothing waits";
pub(crate) const SUBMIT_BESIDE: &str = "submit, beside the backlog";
pub(crate) const STATUS: &str = "status, nothing waits";
pub(crate) const STATUS_BESIDE: &str = "status, beside the backlog";
pub(crate) const DRAIN: &str = "fill and drain";

/// Submits per second, and as many reads of a status: a tenth of what the machine can do.
const RATE: u32 = 200;
/// Enough to open all connections; their status is read first.
const WARM_UP_JOBS: usize = 1_000;

pub(crate) async fn run(plan: &Plan, node: &ScratchNode) -> Result<Section> {
    let kept = plan.backlog * 2 + 1_000_000;
    let empty = Longshore::start(node, "empty", kept).await?;
    let full = Longshore::start(node, "full", kept).await?;
    for longshore in [&empty, &full] {
        longshore.fill(WARM_UP_JOBS).await?;
    }
    let before = full.usage()?;
    let took = full.fill(plan.backlog).await?;
    say(&format!("{} jobs wait, by POST /jobs:batch within {:.1} s", plan.backlog, took.as_secs_f64()));

    let mut contenders = [SUBMIT, SUBMIT_BESIDE, STATUS, STATUS_BESIDE].map(contender);
    for _ in 0..plan.rounds {
        let [submit, submit_beside, status, status_beside] = &mut contenders;
        measure(plan, &empty, submit, status).await?;
        measure(plan, &full, submit_beside, status_beside).await?;
    }
    say(&latencies(&contenders));

    let drained = full.drain().await?;
    full.reconcile().await?;
    say(&summary(&drained));
    let now = full.usage()?;
    say(&growth(&before, &now));
    let mut drain = contender(DRAIN);
    let grown = now.iter().map(|(name, now)| (name.clone(), grown_mib(&before[name], now))).collect();
    let seconds = drained.took.as_secs_f64();
    drain.runs.push(Run { operations: drained.jobs as u64, seconds, resident_mib: grown, ..Run::default() });

    let mut contenders = contenders.to_vec();
    contenders.push(drain);
    Ok(Section { name: "backlog".to_owned(), contenders })
}

fn contender(name: &str) -> Contender {
    let what = format!("{RATE} submits and as many reads of a status per second, open loop, to a queue that is paused");
    Contender { name: name.to_owned(), what, runs: Vec::new() }
}

async fn measure(plan: &Plan, longshore: &Longshore, submit: &mut Contender, status: &mut Contender) -> Result<()> {
    let submits = at_rate(RATE, plan.length, |_| longshore.submit());
    let reads = at_rate(RATE, plan.length, |n| longshore.status(n));
    let (submits, reads) = try_join(submits, reads).await?;
    for (contender, took) in [(submit, submits), (status, reads)] {
        let run = of_latencies(plan.length, &took);
        say(&format!("{:<32} p50 {:>7.2} ms  p99 {:>7.2} ms", contender.name, run.p50_ms, run.p99_ms));
        contender.runs.push(run);
    }
    Ok(())
}

fn of_latencies(length: Duration, took: &[Duration]) -> Run {
    Run {
        operations: took.len() as u64,
        seconds: length.as_secs_f64(),
        p50_ms: percentile_ms(took, 50),
        p99_ms: percentile_ms(took, 99),
        ..Run::default()
    }
}

/// From what it held before to the most that it ever held since it was started.
fn grown_mib(before: &Usage, now: &Usage) -> f64 {
    mib(now.peak_resident_bytes.saturating_sub(before.resident_bytes))
}

fn latencies(contenders: &[Contender]) -> String {
    let mut text = format!("\n| {RATE} of each per second | p50 ms | p99 ms |\n|---|---|---|\n");
    for contender in contenders {
        let (p50_ms, p99_ms) = (contender.median(|run| run.p50_ms), contender.median(|run| run.p99_ms));
        text += &format!("| {} | {p50_ms:.2} | {p99_ms:.2} |\n", contender.name);
    }
    text
}

fn summary(drained: &Drained) -> String {
    let Drained { jobs, took, bells, ready, window } = drained;
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs is far below 2^52")]
    let per_second = *jobs as f64 / took.as_secs_f64();
    format!(
        "{jobs} jobs are done after {:.1} s, {per_second:.0} per second, lost 0; at most {bells} bells were out, {ready} of them ready in the \
         broker's queue, of a window of {window}\n",
        took.as_secs_f64()
    )
}

fn growth(before: &BTreeMap<String, Usage>, now: &BTreeMap<String, Usage>) -> String {
    let mut text = "| program | resident MiB before | at most | at the end |\n|---|---|---|---|\n".to_owned();
    for (name, now) in now {
        let (before, most, end) = (before[name].resident_bytes, now.peak_resident_bytes, now.resident_bytes);
        text += &format!("| {name} | {:.1} | {:.1} | {:.1} |\n", mib(before), mib(most), mib(end));
    }
    text
}
