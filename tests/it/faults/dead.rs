//! Bells that the broker gave up on while the queue for them is missing.

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::{NodeConfig, ScratchNode};
use protocol::topology::{DELIVERY_LIMIT, JOBS_DEAD, VHOST};
use serde_json::json;
use tests::rabbit::own_urls;
use tests::{Setup, scenario, wait_until};

use super::{QUEUE, REPAIRED_WITHIN, occupy};
use crate::SOON;

const SLOTS: usize = 16;
const JOBS: usize = 40;
/// How long the broker waits before it tries again to forward what it gave up on; 3 minutes by default.
const FORWARD_AGAIN: &str = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 1000}]}].";

#[tokio::test]
async fn bells_past_their_limit_without_a_queue_for_them_cost_no_job() -> Result<()> {
    let node =
        ScratchNode::start_with(NodeConfig { advanced: Some(FORWARD_AGAIN.to_owned()), ..NodeConfig::default() })
            .await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let (client, management) = (cluster.client(), node.management());
        occupy(client, SLOTS, 8_000).await?;
        client.accepted_all(JOBS, |_| json!({"task": "noop"})).await?;
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
        ensure!(jobs.len() == SLOTS + JOBS && again == 0, "{} succeeded, {again} of them not at once", jobs.len());
        Ok(())
    })
    .await
}
