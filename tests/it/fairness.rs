//! Who waits for whom in one queue: priority, and tasks that nobody knows.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::TASKS;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, scenario, wait_until};

use crate::{SOON, embedded};

/// The window is twice the slots and at least 16.
const SLOTS: usize = 8;
const WINDOW: usize = 16;

#[tokio::test]
async fn high_job_is_overtaken_by_at_most_one_window_of_low_ones() -> Result<()> {
    let setup = Setup::embedded().slots(SLOTS.to_string());
    scenario(setup, async |cluster| {
        let client = cluster.client();
        let low = json!({"task": "work", "priority": "low", "payload": {"duration_ms": 500}});
        let ids = client.accepted_all(5_000, |_| low.clone()).await?;
        let high = client.accepted(&json!({"task": "noop", "priority": "high"})).await?;
        let high = client.succeeded(&high, SOON).await?;
        let (created, started) = (high["created_at"].as_str(), high["started_at"].as_str());
        let mut begun = client.list("status=running&").await?;
        begun.extend(client.list("status=succeeded&").await?);
        // What ended between the two calls is in both.
        let begun: HashMap<_, _> = begun.iter().map(|job| (job["job_id"].as_str(), job)).collect();
        // RFC 3339 in UTC with milliseconds: text order is time order.
        let overtook = begun.values().filter(|job| {
            let began = job["started_at"].as_str();
            job["priority"] == "low" && began > created && began < started
        });
        let count = overtook.count();
        ensure!(count <= WINDOW, "{count} low jobs began between {created:?} and {started:?}");
        ids.iter().for_each(|id| client.leave(id));
        Ok(())
    })
    .await
}

async fn unknown_beside_known(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let unknown = client.accepted_all(1_000, |number| json!({"task": format!("nobody_{number}")})).await?;
    let known = client.accepted_all(20, |_| json!({"task": "noop"})).await?;
    for id in &known {
        client.succeeded(id, Duration::from_secs(5)).await?;
    }
    for id in unknown.iter().step_by(100) {
        let job = client.job(id).await?;
        ensure!(job["status"] == "queued" && job["waiting_for"] == "worker", "{job}");
    }
    unknown.iter().for_each(|id| client.leave(id));
    Ok(())
}

#[tokio::test]
async fn tasks_that_nobody_knows_do_not_delay_others() -> Result<()> {
    embedded(unknown_beside_known).await
}

#[tokio::test]
async fn unknown_task_runs_once_a_worker_knows_it() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    // Beside a worker that takes bells of this queue and refuses the task.
    let setup = Setup::rabbitmq(vhost.urls()).workers(1);
    scenario(setup.clone(), async |cluster| {
        let id = cluster.client().accepted(&json!({"task": "novel"})).await?;
        let waits = async |cluster: &Cluster| Ok(cluster.client().job(&id).await?["waiting_for"] == "worker");
        wait_until(SOON, "it waits for a worker", async || waits(cluster).await).await?;
        let folder = cluster.folder().join("novel");
        std::fs::create_dir(&folder)?;
        let plan = setup.tasks(format!("{TASKS}\n[task.novel]\nkind = \"simulate\"\n")).plan(&folder)?;
        let (spec, address) = plan.take("worker-0")?;
        let store = cluster.address("store-svc")?;
        cluster.add("worker-novel", spec.with("LONGSHORE_STORE_URL", format!("http://{store}")), address).await?;
        let client = cluster.client();
        let known = eventually(SOON, "a session that knows the task", async || {
            let workers = client.http().get("/workers").await?.expect(200)?;
            let sessions = workers["workers"].as_array().cloned().unwrap_or_default();
            Ok(sessions.into_iter().find(|session| session["tasks"].to_string().contains("novel")))
        })
        .await?;
        let job = client.succeeded(&id, SOON).await?;
        let waited = protocol_ms(&job["started_at"])? - protocol_ms(&known["since"])?;
        ensure!(waited <= 5_000, "it began {waited} ms after the session: {job} {known}");
        Ok(())
    })
    .await
}

fn protocol_ms(timestamp: &serde_json::Value) -> Result<i64> {
    let timestamp: protocol::time::Timestamp = serde_json::from_value(timestamp.clone())?;
    Ok(timestamp.unix_ms())
}
