//! Jobs from submit to done: Longshore beside the bare broker loop on the same node, FastAPI + Celery and Fastify + BullMQ. All of them run
//! from beginning to end and are loaded in turn.

mod contenders;
mod load;
mod system;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::meter::Meter;
use crate::plan::Plan;
use crate::record::{Contender, Run, Section};
use crate::report::progress;
pub(crate) use contenders::{NOOP, SLOTS, pid, quiet};
pub(crate) use load::percentile_ms;
use system::System;

/// Enough to open all connections and to compile what is compiled at run time.
const WARM_UP_JOBS: u64 = 1_000;
const BARE_WITHIN: Duration = Duration::from_secs(120);
const BARE_WINDOW: u16 = 256;
const BARE_VHOST: &str = "bare";
const BARE_QUEUE: &str = "work";

/// A contender that has run `warm` operations in `seconds` is given this many for a run of about `length`.
fn operations(warm: &Run, length: Duration) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let wanted = (warm.per_second() * length.as_secs_f64()) as u64;
    wanted.clamp(500, 200_000)
}

pub(crate) async fn run(plan: &Plan, node: &ScratchNode) -> Result<Section> {
    let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
    let mut systems = start_all(plan, node, &folder).await?;
    let mut bare = Bare::new(node).await?;
    let bare_warm = bare.run(WARM_UP_JOBS * 5).await?;
    let mut warm = Vec::new();
    for system in &systems {
        let run = system.run(WARM_UP_JOBS).await?;
        progress("warm-up", &system.contender.name, &run);
        warm.push(run);
    }
    for _ in 0..plan.rounds {
        let run = bare.run(operations(&bare_warm, plan.length)).await?;
        progress("jobs", &bare.contender.name, &run);
        bare.contender.runs.push(run);
        for (system, warm) in systems.iter_mut().zip(&warm) {
            let run = system.run(operations(warm, plan.length)).await?;
            progress("jobs", &system.contender.name, &run);
            system.contender.runs.push(run);
        }
    }
    let mut contenders: Vec<Contender> = systems.into_iter().map(|system| system.contender).collect();
    contenders.insert(0, bare.contender);
    Ok(Section { name: "jobs".to_owned(), contenders })
}

async fn start_all(plan: &Plan, node: &ScratchNode, folder: &TempDir) -> Result<Vec<System>> {
    use crate::redis::Durability::{Always, EverySecond};
    Ok(vec![
        contenders::longshore(node).await?,
        contenders::longshore_up_on_rabbitmq(node).await?,
        contenders::longshore_up().await?,
        contenders::celery_rabbitmq(plan, folder.path(), node).await?,
        contenders::celery_redis(plan, folder.path(), Always).await?,
        contenders::celery_redis(plan, folder.path(), EverySecond).await?,
        contenders::bullmq(plan, folder.path(), Always).await?,
        contenders::bullmq(plan, folder.path(), EverySecond).await?,
    ])
}

/// The bare loop, each time in a process of its own.
struct Bare {
    contender: Contender,
    url: String,
    meter: Meter,
}

impl Bare {
    async fn new(node: &ScratchNode) -> Result<Self> {
        node.management().make_vhost(BARE_VHOST, &[BARE_QUEUE]).await?;
        let mut meter = Meter::default();
        meter.add("RabbitMQ", pid(node)?);
        let what = "no HTTP, no store: the AMQP client alone with a window of 256, persistent mandatory messages of 200 bytes on a quorum queue, \
                    confirmed, consumed and acknowledged in one process; the generator is the loop itself";
        let contender = Contender { name: "bare AMQP loop".to_owned(), what: what.to_owned(), runs: Vec::new() };
        Ok(Self { contender, url: node.amqp_url_for("up", BARE_VHOST), meter })
    }

    async fn run(&self, messages: u64) -> Result<Run> {
        let before = self.meter.read()?;
        let mut command = Command::new(std::env::current_exe()?);
        let queue = protocol::topology::jobs_queue(BARE_QUEUE);
        command.args(["bare-loop", &self.url, &queue, &messages.to_string()]).kill_on_drop(true);
        let output = timeout(BARE_WITHIN, command.output()).await;
        let output = output.with_context(|| format!("the bare loop did not end within {BARE_WITHIN:?}"))??;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "the bare loop: {text}{}", String::from_utf8_lossy(&output.stderr));
        let seconds = text.trim().parse().context("the bare loop prints its seconds")?;
        self.meter.charge(&before, Run { operations: messages, seconds, ..Run::default() })
    }
}

/// The process that [`Bare`] starts: prints how many seconds it took.
pub(crate) async fn bare_loop(url: &str, queue: &str, messages: u64) -> Result<f64> {
    let begun_at = Instant::now();
    chassis::broker::bare::round_trips(url, queue, messages, BARE_WINDOW).await?;
    Ok(begun_at.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_long_as_they_should_be() {
        let check = |operations_done, seconds, expected| {
            let warm = Run { operations: operations_done, seconds, ..Run::default() };
            assert_eq!(operations(&warm, Duration::from_secs(4)), expected);
        };
        check(1_000, 0.5, 8_000);
        check(1_000, 100.0, 500);
        check(1_000, 0.001, 200_000);
    }
}
