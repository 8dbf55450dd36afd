//! Workers killed, and workers that were only asleep.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, scenario, wait_until};
use tokio::time::Instant;

use crate::SOON;

/// Of the task `brief`.
const LEASE: Duration = Duration::from_secs(5);

/// How many jobs this worker is running now.
async fn busy(cluster: &Cluster, worker: &str) -> Result<f64> {
    Ok(cluster.metrics(worker).await?.sum("longshore_worker_running_jobs", &[]))
}

#[tokio::test]
async fn jobs_of_a_killed_worker_are_done_elsewhere_within_the_lease_and_5_s() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).slots("8").alone(), async |cluster| {
        cluster.client().accepted_all(48, |_| json!({"task": "brief", "payload": {"duration_ms": 600}})).await?;
        wait_until(SOON, "the first worker is busy", async || Ok(busy(cluster, "worker-0").await? >= 4.0)).await?;
        cluster.process("worker-0")?.kill_9()?;
        let killed = Instant::now();
        let client = cluster.client();
        client.settled(LEASE * 6).await?;
        let took = killed.elapsed();
        ensure!(took <= LEASE + Duration::from_secs(5), "the jobs took {took:?} from the kill");
        ensure!(client.list("status=succeeded&").await?.len() == 48);
        let crashed = client.list("").await?.iter().filter(|job| job["crashes"].as_u64() > Some(0)).count();
        ensure!((1..=8).contains(&crashed), "{crashed} jobs crashed with a worker of 8 slots");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn late_result_of_a_worker_that_was_asleep_is_never_recorded() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).workers(1).slots("1").alone(), async |cluster| {
        let id = cluster.client().accepted(&json!({"task": "brief", "payload": {"duration_ms": 2_000}})).await?;
        wait_until(SOON, "it runs", async || Ok(cluster.client().job(&id).await?["status"] == "running")).await?;
        cluster.process("worker-0")?.pause()?;
        eventually(LEASE * 4, "its lease is over", async || {
            let job = cluster.client().job(&id).await?;
            Ok((job["status"] == "queued").then_some(job))
        })
        .await?;
        let refused = async |cluster: &Cluster| {
            let worker = cluster.metrics("worker-0").await?;
            anyhow::Ok(
                worker.sum("longshore_worker_lease_lost_total", &[])
                    + worker.sum("longshore_worker_refused_total", &[]),
            )
        };
        cluster.process("worker-0")?.resume()?;
        let job = cluster.client().succeeded(&id, SOON).await?;
        ensure!(job["crashes"] == 1, "{job}");
        wait_until(SOON, "the late result is counted", async || Ok(refused(cluster).await? >= 1.0)).await?;
        Ok(())
    })
    .await
}
