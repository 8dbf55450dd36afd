//! A broker that takes nothing: for an alarm, for its disk, or because the queue for what it gave up on is missing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::{NodeConfig, ScratchNode};
use protocol::topology::{DELIVERY_LIMIT, JOBS_DEAD, VHOST};
use serde_json::json;
use tests::rabbit::own_urls;
use tests::small_disk::{fill, may_be_had};
use tests::{Setup, scenario, wait_until};
use tokio::time::Instant;

use crate::SOON;
use crate::faults::{QUEUE, REPAIRED_WITHIN, occupy};

const DISK_BYTES: u64 = 96 << 20;
/// Queued at the broker whose disk is full, and as many behind them.
const JOBS: usize = 400;
const SLOTS: usize = 16;
const GIVEN_UP: usize = 40;
/// How long the broker waits before it tries again to forward what it gave up on; 3 minutes by default.
const FORWARD_AGAIN: &str = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 1000}]}].";

#[tokio::test]
async fn alarms_hold_up_no_submit_and_work_flows_soon_after_them() -> Result<()> {
    let node = ScratchNode::start().await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        for round in 0..2 {
            let alarm = async |on| if round == 0 { node.memory_alarm(on).await } else { node.disk_alarm(on).await };
            alarm(true).await?;
            for _ in 0..10 {
                let asked = Instant::now();
                client.accepted(&json!({"task": "noop"})).await?;
                let took = asked.elapsed();
                ensure!(took <= Duration::from_secs(1), "a submit took {took:?} during an alarm");
            }
            alarm(false).await?;
            let ended = Instant::now();
            client.settled(Duration::from_secs(30)).await?;
            let took = ended.elapsed();
            ensure!(took <= Duration::from_secs(5), "the jobs took {took:?} from the alarm's end");
        }
        ensure!(client.list("status=succeeded&").await?.len() == 20);
        Ok(())
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
    let config = NodeConfig { settings: no_alarm, disk_bytes: Some(DISK_BYTES), ..NodeConfig::default() };
    let mut node = ScratchNode::start_with(config).await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        client.accepted_all(JOBS, |_| json!({"task": "work", "payload": {"duration_ms": 100}})).await?;
        let bytes = fill(&node.data_folder()?)?;
        ensure!(bytes > 0 && bytes < DISK_BYTES, "{bytes} bytes were left");
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

/// Bells that the broker gave up on while the queue for them is missing.
#[tokio::test]
async fn bells_past_their_limit_without_a_queue_for_them_cost_no_job() -> Result<()> {
    let node =
        ScratchNode::start_with(NodeConfig { advanced: Some(FORWARD_AGAIN.to_owned()), ..NodeConfig::default() })
            .await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let (client, management) = (cluster.client(), node.management());
        occupy(client, SLOTS, 8_000).await?;
        client.accepted_all(GIVEN_UP, |_| json!({"task": "noop"})).await?;
        management.delete_queue(VHOST, JOBS_DEAD).await?;
        let mut most = 0;
        for _ in 0..=DELIVERY_LIMIT {
            most = most.max(management.give_back(VHOST, QUEUE, 100).await?);
        }
        let left = management.give_back(VHOST, QUEUE, 100).await?;
        ensure!(most >= 8 && left <= 2, "of {most} bells the broker has not given up {left}");
        let consumes = async |expected: f64| {
            let consuming = cluster.metrics("store-svc").await?;
            Ok((consuming.sum("longshore_broker_consuming", &["jobs.dead"]) - expected).abs() < 0.5)
        };
        wait_until(SOON, "the store says what it cannot consume", async || consumes(0.0).await).await?;
        client.settled(REPAIRED_WITHIN).await.context("without the queue")?;

        management.import_topology(VHOST, &["default"]).await?;
        wait_until(SOON, "it is consumed again", async || consumes(1.0).await).await?;
        wait_until(SOON, "what the broker kept is triaged", async || {
            let rung = cluster.metrics("store-svc").await?;
            Ok(rung.sum("longshore_store_dead_letters_total", &["outcome=\"rung-again\""]) >= most as f64 - 2.0)
        })
        .await?;
        let jobs = client.list("status=succeeded&").await?;
        let again = jobs.iter().filter(|job| job["attempt"] != 1).count();
        ensure!(jobs.len() == SLOTS + GIVEN_UP && again == 0, "{} succeeded, {again} of them not at once", jobs.len());
        Ok(())
    })
    .await
}
