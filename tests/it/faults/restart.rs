//! The whole system killed or asked to stop, and started again on the same data.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Cluster, Setup, eventually, scenario};

use crate::SOON;

const JOBS: usize = 1_000;

/// Submits the jobs and waits until some, but not all, are done.
async fn in_the_middle(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    client.accepted_all(JOBS, |_| json!({"task": "brief", "payload": {"duration_ms": 30}})).await?;
    eventually(SOON, "some jobs are done", async || {
        Ok((client.list("status=succeeded&").await?.len() >= 50).then_some(()))
    })
    .await?;
    let queued = client.list("status=queued&").await?.len();
    ensure!(queued >= 100, "only {queued} were still queued");
    Ok(())
}

async fn all_are_done(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    client.settled(Duration::from_secs(60)).await?;
    let done = client.list("status=succeeded&").await?.len();
    ensure!(done == JOBS, "only {done} succeeded");
    Ok(())
}

#[tokio::test]
async fn system_killed_in_the_middle_of_1000_queued_jobs_loses_none() -> Result<()> {
    scenario(Setup::embedded(), async |cluster| {
        in_the_middle(cluster).await?;
        cluster.process("up")?.kill_9()?;
        cluster.restart("up").await?;
        all_are_done(cluster).await
    })
    .await
}

#[tokio::test]
async fn system_asked_to_stop_drains_and_goes_on_after_its_start() -> Result<()> {
    scenario(Setup::embedded(), async |cluster| {
        in_the_middle(cluster).await?;
        cluster.process("up")?.term()?;
        let status = cluster.process("up")?.exited(SOON * 2).await?;
        ensure!(status.success(), "{status}");
        cluster.restart("up").await?;
        all_are_done(cluster).await?;
        let crashed = cluster.client().list("").await?.iter().filter(|job| job["crashes"].as_u64() > Some(0)).count();
        ensure!(crashed == 0, "{crashed} jobs were counted as crashed by a drain");
        Ok(())
    })
    .await
}
