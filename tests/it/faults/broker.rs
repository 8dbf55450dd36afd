//! RabbitMQ stopped, killed and wiped while work is queued and running.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use serde_json::json;
use tests::rabbit::own_urls;
use tests::{Client, Setup, eventually, scenario, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::SOON;

/// The node answers an AMQP client, as any other program on this machine would see it.
async fn answers(node: std::net::SocketAddr) -> Result<Option<()>> {
    let mut stream = TcpStream::connect(node).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    stream.read_u8().await?;
    Ok(Some(()))
}

/// Starts the node again; gives the first moment at which it answered.
async fn back(node: &mut ScratchNode) -> Result<Instant> {
    let address = node.amqp_address();
    let first = async {
        eventually(Duration::from_secs(60), "the node answers", async || answers(address).await).await?;
        Ok(Instant::now())
    };
    let ((), first) = futures_util::future::try_join(node.start_again(), first).await?;
    Ok(first)
}

async fn succeeded_count(client: &Client) -> Result<usize> {
    Ok(client.list("status=succeeded&").await?.len())
}

#[tokio::test]
async fn rabbitmq_stopped_submits_are_accepted_and_done_soon_after_its_return() -> Result<()> {
    let mut node = ScratchNode::start().await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        client.http().get("/data").await?.expect(200)?;
        node.stop().await?;
        let ids = client.accepted_all(200, |_| json!({"task": "noop"})).await?;
        let read = client.http().get("/data").await?.expect(200)?;
        ensure!(read["cached"] == true, "{read}");
        let deleted = client.http().delete("/cache/my_data").await?.expect(200)?;
        ensure!(deleted["fenced"] == true, "{deleted}");
        let put = client.http().put("/data/k", &json!({"data": 1})).await?.expect(200)?;
        ensure!(put["fenced"] == true, "{put}");
        let job = client.job(&ids[0]).await?;
        ensure!(job["status"] == "queued" && job["waiting_for"] == "broker", "{job}");

        let returned = back(&mut node).await?;
        client.settled(Duration::from_secs(30)).await?;
        let took = returned.elapsed();
        ensure!(took <= Duration::from_secs(5), "the 200 jobs took {took:?} from the broker's return");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rabbitmq_killed_under_2000_jobs_loses_none() -> Result<()> {
    let mut node = ScratchNode::start().await?;
    scenario(Setup::rabbitmq(own_urls(&node)).workers(4).slots("16").alone(), async |cluster| {
        let client = cluster.client();
        client.accepted_all(2_000, |_| json!({"task": "work", "payload": {"duration_ms": 500}})).await?;
        eventually(Duration::from_secs(60), "the work is under way", async || {
            Ok((succeeded_count(client).await? >= 200).then_some(()))
        })
        .await?;
        node.kill().await?;
        let done = succeeded_count(client).await?;
        ensure!(done < 1_900, "killed too late: {done} were done");
        back(&mut node).await?;
        client.settled(Duration::from_secs(120)).await?;
        let done = succeeded_count(client).await?;
        ensure!(done == 2_000, "only {done} succeeded");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rabbitmq_wiped_1000_queued_jobs_are_done_within_30_s() -> Result<()> {
    let mut node = ScratchNode::start().await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("16").alone(), async |cluster| {
        let client = cluster.client();
        // The slots are taken while the queue is filled and the broker dies with bells in it.
        client.accepted_all(32, |_| json!({"task": "work", "payload": {"duration_ms": 8_000}})).await?;
        client.accepted_all(1_000, |_| json!({"task": "work", "payload": {"duration_ms": 50}})).await?;
        node.kill().await?;
        node.wipe()?;
        let returned = back(&mut node).await?;
        let queued = client.list("status=queued&").await?.len();
        ensure!(queued >= 900, "only {queued} were still queued");
        client.settled(Duration::from_secs(60)).await?;
        let took = returned.elapsed();
        ensure!(took <= Duration::from_secs(30), "the jobs took {took:?} from the broker's return");
        ensure!(succeeded_count(client).await.context("listing")? == 1_032);
        Ok(())
    })
    .await
}

/// By the handlers' own word: they write down each start. Half of them have been handed to their leases by then, half have just begun.
#[tokio::test]
async fn running_jobs_are_started_once_through_a_restart_of_the_broker() -> Result<()> {
    const JOBS: usize = 8;
    let mut node = ScratchNode::start().await?;
    let folder = tempfile::tempdir()?;
    let starts = folder.path().join("starts");
    let script = format!("echo $LONGSHORE_JOB_ID >>{}; read -r go; exec sleep $go", starts.display());
    let tasks = format!("[task.runs]\nkind = \"command\"\nprogram = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\n");
    let setup = Setup::rabbitmq(own_urls(&node)).slots("8").tasks(tasks).set("worker", "LONGSHORE_HAND_OVER_MS", "500");
    scenario(setup.alone(), async |cluster| {
        let client = cluster.client();
        let begun = || std::fs::read_to_string(&starts).unwrap_or_default().lines().count();
        let long = client.accepted_all(JOBS / 2, |_| json!({"task": "runs", "payload": 12})).await?;
        wait_until(SOON, "they were handed over", async || {
            Ok(cluster.sum("worker", "longshore_worker_handed_over_total", &[]).await? >= long.len() as f64)
        })
        .await?;
        client.accepted_all(JOBS / 2, |_| json!({"task": "runs", "payload": 6})).await?;
        wait_until(SOON, "all have begun", async || Ok(begun() == JOBS)).await?;
        node.stop().await?;
        back(&mut node).await?;
        client.settled(Duration::from_secs(60)).await?;
        ensure!(client.list("status=succeeded&").await?.len() == JOBS);
        ensure!(begun() == JOBS, "{} starts of {JOBS} jobs", begun());
        Ok(())
    })
    .await
}
