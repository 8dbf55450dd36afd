//! The two client scripts, run unchanged against the whole system: forty answers, an even spread, and no stale read after a deletion.

mod verdict;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use clap::ValueEnum;
use tokio::process::Command;

use crate::client::Client;
use crate::cluster::{Metrics, Setup};
use crate::http::Http;
use crate::rabbit::own_urls;
use crate::scenario::scenario;
use verdict::{check_invalidation_run, check_parallel_run, check_spread};

const GATEWAYS: usize = 3;
/// Requests that the balancer sent to each backend.
const SENT: (&str, &str) = ("longshore_lb_backend_requests_total", "backend");
const SCRIPT_WITHIN: Duration = Duration::from_secs(60);
const JOBS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Broker {
    Embedded,
    Rabbitmq,
}

/// Runs `test.py` twice and `test_cache_invalidation.py` `rounds` times; says what was seen.
pub async fn run(scripts: &Path, python: &Path, broker: Broker, rounds: usize) -> Result<String> {
    // Not dropped before the scenario is over.
    let (_node, setup) = match broker {
        Broker::Embedded => (None, Setup::embedded()),
        Broker::Rabbitmq => {
            let node = ScratchNode::start().await?;
            let setup = Setup::rabbitmq(own_urls(&node)).workers(1);
            (Some(node), setup)
        }
    };
    scenario(setup.at_default_addresses(), async |cluster| {
        run_scripts(scripts, python, rounds, &cluster.http("lb")?).await?;
        cluster.client().settled(JOBS_WITHIN).await?;
        let logs: String = cluster.processes("").map(|process| process.log()).collect();
        each_task_was_run_and_logged(cluster.client(), 0, &logs).await
    })
    .await?;
    Ok(format!("{broker:?}: 2 x 40 answers, evenly spread, the second time from caches; {rounds} invalidations"))
}

/// Runs them against a system that is there, at its default addresses.
pub async fn run_scripts(scripts: &Path, python: &Path, rounds: usize, lb: &Http) -> Result<()> {
    for first in [true, false] {
        let before = sent(lb).await?;
        let output = script(python, &scripts.join("test.py")).await?;
        check_parallel_run(&output, first)?;
        check_spread(&before, &sent(lb).await?, GATEWAYS)?;
    }
    for round in 1..=rounds {
        let output = script(python, &scripts.join("test_cache_invalidation.py")).await?;
        check_invalidation_run(&output).with_context(|| format!("round {round} of {rounds}"))?;
    }
    Ok(())
}

async fn sent(lb: &Http) -> Result<Vec<(String, f64)>> {
    let answer = lb.get("/metrics").await?;
    ensure!(answer.status == 200, "metrics of lb: {answer}");
    Ok(Metrics::parse(&String::from_utf8_lossy(&answer.body)).by_label(SENT.0, SENT.1))
}

async fn script(python: &Path, script: &Path) -> Result<String> {
    let mut command = Command::new(python);
    command.arg("-u").arg(script).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(SCRIPT_WITHIN, command.output()).await.context("the script did not end")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}: {text}{}", script.display(), String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// The scripts were told of 40 jobs, after those that were there before; the workers ran each of them and said so in `logs`.
pub async fn each_task_was_run_and_logged(client: &Client, before: usize, logs: &str) -> Result<()> {
    let jobs = client.list("").await?;
    ensure!(jobs.len() == before + 40, "two runs submit 40 jobs, {} are listed, {before} were before", jobs.len());
    let failed = jobs.iter().find(|job| job["status"] != "succeeded");
    ensure!(failed.is_none(), "not succeeded: {failed:?}");
    for job in &jobs {
        let id = job["job_id"].as_str().unwrap_or_default();
        client.adopt(id);
    }
    let silent = (0..20).map(|number| format!("report_{number}")).find(|task| !logs.contains(task.as_str()));
    ensure!(silent.is_none(), "no log names the task {silent:?}");
    Ok(())
}
