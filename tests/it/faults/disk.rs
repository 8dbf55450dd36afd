//! Disks that are full: the store's, which then says so, goes on reading, and goes on as before when there is room; and the broker's, of which
//! nothing is needed but that it comes back.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::{NodeConfig, ScratchNode, seen_by};
use serde_json::{Value, json};
use tests::binaries::binary;
use tests::rabbit::{Vhost, own_urls};
use tests::small_disk::{fill, make_room, may_be_had, with_small_disk};
use tests::{Cluster, Setup, scenario, wait_until};
use tokio::process::Command;

use super::REPAIRED_WITHIN;
use crate::SOON;

const DISK_BYTES: u64 = 8 << 20;
const BROKER_DISK_BYTES: u64 = 96 << 20;
/// Queued at the broker, and as many behind them.
const JOBS: usize = 400;
/// More than may have been left in what the file has already.
const PAYLOAD_BYTES: usize = 40_000;

fn job(number: usize) -> Value {
    json!({"task": format!("report_{number}"), "payload": {"text": "x".repeat(PAYLOAD_BYTES)}})
}

/// Starts the store anew, on the small disk; gives the disk's folder.
async fn store_on_a_small_disk(cluster: &mut Cluster) -> Result<PathBuf> {
    let folder = cluster.folder().join("disk");
    std::fs::create_dir(&folder)?;
    let store = cluster.process("store-svc")?;
    store.kill_9()?;
    let spec = store.spec().clone().with("DATABASE_URL", "sqlite:disk/store.db");
    store.start_next_as(with_small_disk(spec, DISK_BYTES, &folder));
    cluster.restart("store-svc").await?;
    Ok(seen_by(cluster.process("store-svc")?.pid(), &folder))
}

/// A backup, made where the disk is seen, checks every page of the file.
async fn is_undamaged(cluster: &mut Cluster) -> Result<()> {
    let folder = cluster.folder().to_owned();
    let store = cluster.process("store-svc")?.pid();
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &store.to_string(), "--"]).arg(binary("longshore")?).arg("backup");
    let url = format!("sqlite:{}", folder.join("disk").join("store.db").display());
    command.arg(folder.join("backup.db")).kill_on_drop(true);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DATABASE_URL", url);
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_full_disk_of_the_store_is_a_503_and_damages_nothing() -> Result<()> {
    if !may_be_had() {
        return Ok(());
    }
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).gateways(1).workers(1), async |cluster| {
        let disk = store_on_a_small_disk(cluster).await?;
        let (client, lb) = (cluster.client(), cluster.http("lb")?);
        let done = client.accepted_all(10, job).await?;
        client.settled(SOON).await?;
        // It ends while nothing can be written.
        let running = client.accepted(&json!({"task": "work", "payload": {"duration_ms": 2_000}})).await?;
        wait_until(SOON, "it runs", async || Ok(client.job(&running).await?["status"] == "running")).await?;
        let bytes = fill(&disk)?;
        ensure!(bytes > 0 && bytes < DISK_BYTES, "{bytes} bytes were left");

        let mut refused = 0;
        for number in 100..120 {
            let answer = lb.post("/longtask", &job(number)).await?;
            let problem = answer.problem(503)?;
            ensure!(problem["type"].as_str().is_some_and(|kind| kind.ends_with("unavailable")), "{problem}");
            ensure!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{answer}");
            refused += 1;
        }
        for id in &done {
            ensure!(client.job(id).await?["status"] == "succeeded");
        }
        ensure!(client.list("").await?.len() == done.len() + 1, "{refused} were refused and are not there");
        lb.get("/data").await?.expect(200)?;
        let report = cluster.http("store-svc")?.get("/ready").await?.expect(200)?;
        let says = report["reasons"]["writes"].as_str().unwrap_or_default();
        ensure!(report["status"] == "degraded" && says.contains("full"), "{report}");

        make_room(&disk)?;
        client.accepted_all(10, job).await?;
        let running = client.succeeded(&running, SOON).await?;
        ensure!(running["attempt"] == 1 && running["crashes"] == 0, "{running}");
        client.settled(SOON).await?;
        ensure!(client.list("status=succeeded&").await?.len() == done.len() + 11);
        let report = cluster.http("store-svc")?.get("/ready").await?.expect(200)?;
        ensure!(report["status"] == "ready", "{report}");
        is_undamaged(cluster).await.context("the file")
    })
    .await
}

/// No alarm came before it.
#[tokio::test]
async fn full_disk_of_the_broker_costs_no_accepted_job() -> Result<()> {
    if !may_be_had() {
        return Ok(());
    }
    let no_alarm = vec!["disk_free_limit.absolute = 1KB".to_owned()];
    let config = NodeConfig { settings: no_alarm, disk_bytes: Some(BROKER_DISK_BYTES), ..NodeConfig::default() };
    let mut node = ScratchNode::start_with(config).await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        client.accepted_all(JOBS, |_| json!({"task": "work", "payload": {"duration_ms": 100}})).await?;
        let bytes = fill(&node.data_folder()?)?;
        ensure!(bytes > 0 && bytes < BROKER_DISK_BYTES, "{bytes} bytes were left");
        client.accepted_all(JOBS, |_| json!({"task": "noop"})).await?;
        wait_until(SOON, "the broker takes nothing any more", async || {
            let job = client.accepted(&json!({"task": "noop"})).await?;
            Ok(client.job(&job).await?["waiting_for"] == "broker")
        })
        .await?;
        let open = client.list("status=queued&").await?.len();
        ensure!(open > 0, "nothing was left to lose");
        let ended_by_itself = !node.answers().await;
        node.kill().await?;
        node.start_again().await?;
        println!("{open} jobs were queued; the node had ended by itself: {ended_by_itself}");
        client.settled(REPAIRED_WITHIN).await?;
        let (succeeded, all) = (client.list("status=succeeded&").await?.len(), client.list("").await?.len());
        ensure!(succeeded == all && all > 2 * JOBS, "{succeeded} of {all} succeeded");
        Ok(())
    })
    .await
}
