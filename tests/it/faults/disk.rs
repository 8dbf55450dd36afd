//! The store's disk is full: it says so, goes on reading, and goes on as before when there is room.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::seen_by;
use serde_json::{Value, json};
use tests::binaries::binary;
use tests::rabbit::Vhost;
use tests::small_disk::{fill, make_room, may_be_had, with_small_disk};
use tests::{Cluster, Setup, scenario, wait_until};
use tokio::process::Command;

use crate::SOON;

const DISK_BYTES: u64 = 8 << 20;
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
