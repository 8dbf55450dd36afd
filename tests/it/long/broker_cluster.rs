//! Three RabbitMQ nodes, of which one is killed, then a second one, and both come back.

use std::time::Duration;

use anyhow::{Result, ensure};
use chassis::testing::rabbit::ScratchCluster;
use futures_util::future::try_join;
use serde_json::json;
use tests::rabbit::urls;
use tests::{Client, Setup, scenario, wait_until};

use crate::SOON;

const VHOST: &str = "cluster";
/// Whatever was elected anew, and whatever lay in connections that stood still.
const ON_AGAIN_WITHIN: Duration = Duration::from_secs(30);
/// Far more than a bell takes, and than its publisher waits for a confirm.
const HELD_FOR: Duration = Duration::from_secs(6);

async fn submit(client: &Client, jobs: usize) -> Result<()> {
    client.accepted_all(jobs, |_| json!({"task": "work", "payload": {"duration_ms": 50}})).await.map(drop)
}

async fn succeeded(client: &Client) -> Result<usize> {
    Ok(client.list("status=succeeded&").await?.len())
}

/// With two of three copies of a queue the work goes on. With one, nothing is confirmed, so no job is taken for rung: jobs are accepted and
/// wait, and are done when the others are back.
#[tokio::test]
async fn jobs_go_on_without_one_of_three_nodes_and_wait_without_two() -> Result<()> {
    let mut brokers = ScratchCluster::start().await?;
    brokers.nodes[0].management().make_vhost(VHOST, &["default"]).await?;
    brokers.nodes.iter_mut().for_each(chassis::testing::rabbit::ScratchNode::has_new_queues);
    let [first, second, third] = brokers.nodes.as_mut_slice() else { unreachable!("there are three") };
    scenario(Setup::rabbitmq(urls(first, VHOST)).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        submit(client, 50).await?;
        client.settled(SOON).await?;

        second.kill().await?;
        submit(client, 200).await?;
        client.settled(ON_AGAIN_WITHIN).await?;
        ensure!(succeeded(client).await? == 250);

        third.kill().await?;
        submit(client, 200).await?;
        let still = tokio::time::timeout(
            HELD_FOR,
            wait_until(SOON, "a job is done", async || Ok(succeeded(client).await? > 250)),
        );
        ensure!(still.await.is_err(), "jobs were done without a majority");
        ensure!(client.list("status=queued&").await?.len() == 200);

        try_join(second.start_again(), third.start_again()).await?;
        client.settled(ON_AGAIN_WITHIN).await?;
        ensure!(succeeded(client).await? == 450);
        Ok(())
    })
    .await
}
