//! A job that kills each worker that takes it, and its neighbours: a crash is no failure, and the poison is stopped.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario};
use tokio::time::Instant;

use crate::SOON;

/// A supervisor starts the worker again and again: this long for five crashes, each noticed after a lease.
const WITHIN: Duration = Duration::from_secs(120);

const TASKS: &str = "[task.poison]
kind = \"command\"
program = \"sh\"
args = [\"-c\", \"kill -9 $PPID\"]
lease_ms = 1_000

[task.neighbour]
kind = \"simulate\"
duration_ms = 200
lease_ms = 1_000
";

/// Starts `process` again whenever it was killed, until the job has ended.
async fn supervised(cluster: &mut Cluster, process: &str, id: &str) -> Result<Value> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if cluster.process(process)?.ended()?.is_some() {
            // It may be killed again before it is ready.
            cluster.process(process)?.restart()?;
        }
        // While everything is killed nobody answers.
        if let Ok(job) = cluster.client().ended(id, Duration::from_millis(500)).await {
            return Ok(job);
        }
        ensure!(Instant::now() < deadline, "the poison was not stopped within {WITHIN:?}");
    }
}

async fn poison_is_stopped(cluster: &mut Cluster, process: &str) -> Result<()> {
    let client = cluster.client();
    let neighbour = |_| json!({"task": "neighbour", "max_attempts": 1});
    // The poison may kill whom the neighbours are submitted to: it begins when all are there.
    client.http().send(Method::POST, "/queues/default/pause", &[], None).await?.expect(200)?;
    let mut neighbours = client.accepted_all(6, neighbour).await?;
    let poison = client.accepted(&json!({"task": "poison", "max_attempts": 3})).await?;
    neighbours.extend(client.accepted_all(20, neighbour).await?);
    client.http().send(Method::POST, "/queues/default/resume", &[], None).await?.expect(200)?;
    let job = supervised(cluster, process, &poison).await?;
    ensure!(job["status"] == "failed" && job["error"]["kind"] == "crashed", "{job}");
    ensure!(job["crashes"] == 5 && job["attempt"] == 0, "crashes are no attempts: {job}");
    let client = cluster.client();
    client.settled(SOON * 2).await?;
    let mut crashed = 0;
    for id in &neighbours {
        let job = client.succeeded(id, SOON).await?;
        ensure!(job["attempt"] == 1, "a neighbour's attempt was counted up: {job}");
        crashed += usize::from(job["crashes"].as_u64() > Some(0));
    }
    ensure!(crashed > 0, "no neighbour ran beside the poison");
    Ok(())
}

#[tokio::test]
async fn poison_is_stopped_and_its_neighbours_are_done_on_rabbitmq() -> Result<()> {
    let urls = Vhost::fresh().await?.urls();
    let setup = Setup::rabbitmq(urls).workers(1).slots("4").tasks(TASKS).alone();
    scenario(setup, async |cluster| poison_is_stopped(cluster, "worker-0").await).await
}

#[tokio::test]
async fn poison_is_stopped_and_its_neighbours_are_done_in_one_process() -> Result<()> {
    let setup = Setup::embedded().tasks(TASKS).alone();
    scenario(setup, async |cluster| poison_is_stopped(cluster, "up").await).await
}
