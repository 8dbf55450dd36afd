//! The queue of the bells purged, deleted, flooded and broken: the store rings again whatever has no owner.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use protocol::topology::VHOST;
use serde_json::json;
use tests::rabbit::{Vhost, own_urls};
use tests::{Client, Setup, eventually, scenario, wait_until};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{QUEUE, REPAIRED_WITHIN, occupy};
use crate::SOON;

const SLOTS: usize = 16;

/// All slots are taken for a while, and bells lie in the queue.
async fn fill(client: &Client) -> Result<()> {
    occupy(client, SLOTS, 3_000).await?;
    client.accepted_all(100, |_| json!({"task": "noop"})).await?;
    Ok(())
}

async fn all_succeed_within(client: &Client, bound: Duration, count: usize) -> Result<()> {
    let since = Instant::now();
    client.settled(bound * 3).await?;
    let took = since.elapsed();
    ensure!(took <= bound, "the jobs took {took:?}");
    let done = client.list("status=succeeded&").await?.len();
    ensure!(done == count, "{done} of {count} succeeded");
    Ok(())
}

#[tokio::test]
async fn bells_of_a_purged_queue_are_rung_again() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).slots("8").alone(), async |cluster| {
        fill(cluster.client()).await?;
        vhost.management().purge_queue(vhost.name(), QUEUE).await?;
        all_succeed_within(cluster.client(), REPAIRED_WITHIN, SLOTS + 100).await
    })
    .await
}

#[tokio::test]
async fn deleted_queue_costs_nothing_once_it_is_there_again() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        fill(client).await?;
        vhost.management().delete_queue(vhost.name(), QUEUE).await?;
        client.accepted_all(50, |_| json!({"task": "noop"})).await?;
        vhost.management().import_topology(vhost.name(), &["default"]).await?;
        all_succeed_within(client, REPAIRED_WITHIN, SLOTS + 150).await
    })
    .await
}

/// What was confirmed by a queue that is deleted right after is nowhere; what comes while there is none goes nowhere.
#[tokio::test]
async fn queue_deleted_and_declared_again_and_again_under_load_costs_no_job() -> Result<()> {
    const TIMES: usize = 15;
    /// Around each of the two steps of a replacement, however long it takes: so the jobs to be done within the bound are not more on a slow
    /// machine than on a fast one.
    const JOBS: usize = 100;
    const AT_ONCE: u32 = 20;
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        let due = Semaphore::new(0);
        let submit = async {
            let mut count = 0;
            while let Ok(jobs) = due.acquire_many(AT_ONCE).await {
                jobs.forget();
                count += client.accepted_all(AT_ONCE as usize, |_| json!({"task": "noop"})).await?.len();
            }
            anyhow::Ok(count)
        };
        let replace = async {
            for _ in 0..TIMES {
                due.add_permits(JOBS);
                vhost.management().delete_queue(vhost.name(), QUEUE).await?;
                due.add_permits(JOBS);
                vhost.management().import_topology(vhost.name(), &["default"]).await?;
            }
            wait_until(SOON, "all of them are accepted", async || Ok(due.available_permits() == 0)).await?;
            due.close();
            Ok(())
        };
        let (count, ()) = future::try_join(submit, replace).await?;
        ensure!(count == 2 * JOBS * TIMES, "{count} were accepted");
        all_succeed_within(client, REPAIRED_WITHIN, count).await
    })
    .await
}

#[tokio::test]
async fn hundreds_of_copies_of_a_bell_start_its_job_once() -> Result<()> {
    const COPIES: usize = 300;
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).slots("8"), async |cluster| {
        let client = cluster.client();
        let id = client.accepted(&json!({"task": "work", "payload": {"duration_ms": 2_000}})).await?;
        let job = client.job(&id).await?;
        let bell = json!({"v": 1, "job_id": id, "dispatch": 1, "task": "work", "created_at": job["created_at"]});
        let (management, body) = (vhost.management(), bell.to_string());
        let publish = async |_| management.publish(vhost.name(), "jobs", "default", &body).await;
        let routed: Vec<bool> = stream::iter(0..COPIES).map(publish).buffer_unordered(8).try_collect().await?;
        ensure!(routed.iter().all(|routed| *routed), "some copies went nowhere");
        let job = client.succeeded(&id, SOON).await?;
        ensure!(job["attempt"] == 1 && job["crashes"] == 0 && job["run"] == 1, "{job}");
        wait_until(SOON, "every copy was refused", async || {
            Ok(cluster.sum("worker", "longshore_worker_claims_total", &[]).await? > COPIES as f64)
        })
        .await
    })
    .await
}

/// A quorum queue that was declared less than about a second before the kill may lose what it confirmed, and may stay without a leader for
/// ever, although a passive declare says Ok. Nothing accepted may be lost to that, and once an operator has made the queue anew, all is done.
#[tokio::test]
async fn queue_declared_right_before_the_brokers_kill_loses_no_job() -> Result<()> {
    let mut node = ScratchNode::start().await?;
    scenario(Setup::rabbitmq(own_urls(&node)).slots("8").alone(), async |cluster| {
        let client = cluster.client();
        client.accepted_all(20, |_| json!({"task": "noop"})).await?;
        client.settled(SOON).await?;
        let management = node.management();
        management.delete_queue(VHOST, QUEUE).await?;
        management.import_topology(VHOST, &["default"]).await?;
        client.accepted_all(100, |_| json!({"task": "noop"})).await?;
        node.kill().await?;
        node.start_again().await?;
        node.ctl(&["await_startup"]).await?;
        client.accepted_all(50, |_| json!({"task": "noop"})).await?;
        if client.settled(REPAIRED_WITHIN).await.is_err() {
            let job = client.list("status=queued&").await?.pop().context("what is not done is queued")?;
            ensure!(job["waiting_for"] == "broker", "a queue without a leader must be called by its name: {job}");
            let remove = "rabbit_amqqueue:internal_delete(rabbit_misc:r(<<\"longshore\">>, queue, <<\"jobs.default\">>), <<\"operator\">>).";
            node.ctl(&["eval", remove]).await?;
            // A declare may still find the one that is being removed, and leave none.
            eventually(SOON, "there is a queue again", async || {
                management.import_topology(VHOST, &["default"]).await?;
                management.queue_depth(VHOST, QUEUE).await
            })
            .await?;
        }
        eventually(REPAIRED_WITHIN * 2, "all are done", async || {
            Ok((client.list("status=succeeded&").await?.len() == 170).then_some(()))
        })
        .await
    })
    .await
}
