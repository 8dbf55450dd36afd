//! What an operator does to queues and to many jobs, with real processes on RabbitMQ.

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::{Answer, Cluster, wait_until};

use crate::{SOON, rabbitmq};

const LONG: u64 = 60_000;

/// Two workers with four slots each.
const SLOTS: usize = 8;

async fn ask(cluster: &Cluster, path: &str) -> Result<Answer> {
    cluster.client().http().send(Method::POST, path, &[], None).await
}

async fn queue(cluster: &Cluster) -> Result<Value> {
    let queues = cluster.client().http().get("/queues").await?.expect(200)?;
    Ok(queues["queues"][0].clone())
}

/// Bells lie in RabbitMQ when the queue is paused, because all slots are busy; the store is killed during the pause.
async fn pause_and_resume(cluster: &mut Cluster) -> Result<()> {
    let work = |ms: u64| json!({"task": "work", "payload": {"duration_ms": ms}});
    let busy = cluster.client().accepted_all(SLOTS, |_| work(LONG)).await?;
    wait_until(SOON, "all slots are busy", async || Ok(queue(cluster).await?["depth"]["running"] == SLOTS)).await?;
    let waiting = cluster.client().accepted_all(30, |_| json!({"task": "noop"})).await?;
    wait_until(SOON, "the window is full", async || Ok(queue(cluster).await?["bells"] == 16)).await?;
    ask(cluster, "/queues/default/pause").await?.expect(200)?;
    for id in &busy {
        ask(cluster, &format!("/jobs/{id}/cancel")).await?.expect(202)?;
    }
    // The slots are free, and refuse what lies in the broker.
    let refused = async || {
        let queue = queue(cluster).await?;
        Ok(queue["bells"] == 0 && queue["depth"] == json!({"scheduled": 0, "queued": 30, "running": 0}))
    };
    wait_until(SOON, "nothing is begun", refused).await?;
    let late = json!({"task": "noop", "start_deadline_ms": 300});
    let late = cluster.client().accepted(&late).await?;
    let job = cluster.client().ended(&late, SOON).await?;
    ensure!(job["status"] == "failed" && job["error"]["kind"] == "deadline", "{job}");
    cluster.process("store-svc")?.kill_9()?;
    cluster.restart("store-svc").await?;
    wait_until(SOON, "the workers are back", async || Ok(queue(cluster).await?["sessions"] == 2)).await?;
    let explained = cluster.client().http().get(&format!("/jobs/{}/explain", waiting[0])).await?.expect(200)?;
    ensure!(explained["waiting_for"] == "queue_paused" && explained["workers"]["sessions"] == 2, "{explained}");
    ensure!(queue(cluster).await?["paused"] == true);
    ask(cluster, "/queues/default/resume").await?.expect(200)?;
    for id in &waiting {
        ensure!(cluster.client().succeeded(id, SOON).await?["attempt"] == 1);
    }
    let retry = json!({"status": "failed", "error_kind": "deadline"});
    cluster.client().http().post("/jobs:retry", &retry).await?.expect(202)?;
    wait_until(SOON, "it is retried", async || Ok(cluster.client().job(&late).await?["status"] == "succeeded")).await?;
    ensure!(cluster.client().job(&late).await?["run"] == 2);
    Ok(())
}

#[tokio::test]
async fn a_paused_queue_begins_nothing_and_loses_nothing_on_rabbitmq() -> Result<()> {
    rabbitmq(pause_and_resume).await
}

/// Behind a backlog a slot that is free takes the next job along with the answer to its last one.
async fn work_off(cluster: &mut Cluster) -> Result<()> {
    const JOBS: usize = 1_000;
    ask(cluster, "/queues/default/pause").await?.expect(200)?;
    cluster.client().accepted_all(JOBS, |_| json!({"task": "noop"})).await?;
    ask(cluster, "/queues/default/resume").await?.expect(200)?;
    cluster.client().settled(SOON).await?;
    let counted = async |transition: &str| {
        let label = format!("transition=\"{transition}\"");
        cluster.sum("store-svc", "longshore_store_transitions_total", &[&label]).await
    };
    let (rung, without_bell) = (counted("rung").await?, counted("taken_next").await?);
    ensure!(
        rung < 200.0 && without_bell > 800.0,
        "{rung} of {JOBS} jobs were rung, {without_bell} taken without a bell"
    );
    wait_until(SOON, "every bell has its place back", async || Ok(queue(cluster).await?["bells"] == 0)).await
}

#[tokio::test]
async fn a_backlog_is_worked_off_with_few_bells_on_rabbitmq() -> Result<()> {
    rabbitmq(work_off).await
}
