//! The connections to RabbitMQ reset, silent, and losing one kind of message.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::amqp_frames::{BASIC_ACK, BASIC_DELIVER, BASIC_PUBLISH};
use protocol::topology;
use serde_json::json;
use tests::proxy::{Direction, Fate, Flow, FrameRule};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, TcpProxy, eventually, scenario, wait_until};

use crate::SOON;

/// A broken connection is noticed, made anew and proven in this time, also one that only went silent (twice the heartbeat).
const RECONNECTED_WITHIN: Duration = Duration::from_secs(30);

/// All programs but those named behind one proxy.
struct Proxied {
    vhost: Vhost,
    proxy: TcpProxy,
    urls: BTreeMap<String, String>,
}

impl Proxied {
    async fn except(direct: &[&str]) -> Result<Self> {
        let vhost = Vhost::fresh().await?;
        let broker = vhost.amqp_address();
        let proxy = TcpProxy::start_before_broker(broker).await?;
        let mut urls = vhost.urls();
        for (program, url) in &mut urls {
            if !direct.contains(&program.as_str()) {
                *url = url.replace(&broker.to_string(), &proxy.address().to_string());
            }
        }
        Ok(Self { vhost, proxy, urls })
    }

    fn setup(&self) -> Setup {
        Setup::rabbitmq(self.urls.clone()).slots("8")
    }
}

#[tokio::test]
async fn resets_in_a_row_neither_stop_the_work_nor_leave_threads_or_files() -> Result<()> {
    const RESETS: usize = 15;
    let proxied = Proxied::except(&[]).await?;
    scenario(proxied.setup().alone(), async |cluster| {
        let before = footprint(cluster)?;
        for round in 0..RESETS {
            proxied.proxy.cut();
            let id = cluster.client().accepted(&json!({"task": "noop", "payload": {"round": round}})).await?;
            cluster.client().succeeded(&id, RECONNECTED_WITHIN).await?;
        }
        eventually(RECONNECTED_WITHIN, "files and threads are what they were", async || {
            let after = footprint(cluster)?;
            for ((name, files, threads), (_, files_now, threads_now)) in before.iter().zip(&after) {
                let is_as_before = *files_now <= files + 12 && *threads_now <= threads + 4;
                ensure!(is_as_before, "{name}: {files} files, {threads} threads, now {files_now}, {threads_now}");
            }
            Ok(Some(()))
        })
        .await
    })
    .await
}

/// Open files and threads of each program.
fn footprint(cluster: &mut Cluster) -> Result<Vec<(String, usize, u64)>> {
    let processes = cluster.processes("");
    processes
        .map(|process| {
            let usage = process.usage()?;
            Ok((process.name().to_owned(), usage.open_files, usage.threads))
        })
        .collect()
}

/// Submits under a rule that breaks publishing or delivering, then heals: what was accepted is done, once.
async fn rule_costs_no_job(rule: FrameRule, direct: &[&str]) -> Result<()> {
    let proxied = Proxied::except(direct).await?;
    scenario(proxied.setup(), async |cluster| {
        let client = cluster.client();
        proxied.proxy.set_rule(rule);
        client.accepted_all(60, |_| json!({"task": "noop"})).await?;
        proxied.proxy.cut();
        proxied.proxy.heal();
        client.settled(RECONNECTED_WITHIN * 2).await?;
        let jobs = client.list("status=succeeded&").await?;
        let again = jobs.iter().filter(|job| job["attempt"] != 1).count();
        ensure!(jobs.len() == 60 && again == 0, "{} succeeded, {again} of them not at once", jobs.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn confirms_lost_on_the_wire_cost_no_job() -> Result<()> {
    rule_costs_no_job(
        FrameRule { direction: Direction::ToClient, method: BASIC_ACK, fate: Fate::Swallowed },
        &["worker", "cache-svc"],
    )
    .await
}

#[tokio::test]
async fn publishes_cut_in_the_middle_cost_no_job() -> Result<()> {
    rule_costs_no_job(
        FrameRule { direction: Direction::ToServer, method: BASIC_PUBLISH, fate: Fate::CutInside },
        &["worker", "cache-svc"],
    )
    .await
}

#[tokio::test]
async fn deliveries_cut_in_the_middle_cost_no_job() -> Result<()> {
    rule_costs_no_job(
        FrameRule { direction: Direction::ToClient, method: BASIC_DELIVER, fate: Fate::CutInside },
        &["gateway", "store-svc", "cache-svc"],
    )
    .await
}

#[tokio::test]
async fn silent_partition_of_the_gateways_from_the_broker_delays_jobs_and_loses_none() -> Result<()> {
    let proxied = Proxied::except(&["worker", "store-svc", "cache-svc"]).await?;
    scenario(proxied.setup(), async |cluster| {
        let client = cluster.client();
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxied.proxy.set_flow(direction, Flow::Held);
            client.accepted_all(40, |_| json!({"task": "noop"})).await?;
            // The store's dispatcher rings what its creator does not vouch for.
            client.settled(RECONNECTED_WITHIN).await?;
            proxied.proxy.heal();
        }
        ensure!(client.list("status=succeeded&").await?.len() == 80);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn programs_started_before_the_broker_accept_and_work_once_it_is_there() -> Result<()> {
    let proxied = Proxied::except(&[]).await?;
    proxied.proxy.refuse();
    let folder = tempfile::tempdir()?;
    let plan = proxied.setup().plan(folder.path())?;
    let mut cluster = Cluster::launch(plan, folder)?;
    let id = eventually(SOON * 2, "a job is accepted", async || {
        Ok(Some(cluster.client().accepted(&json!({"task": "noop"})).await?))
    })
    .await?;
    wait_until(SOON, "the worker says that it lacks the broker", async || {
        Ok(cluster.http("worker-0")?.get("/ready").await?.expect(200)?["status"] == "degraded")
    })
    .await?;
    wait_until(SOON, "it is said what the job waits for", async || {
        let job = cluster.client().job(&id).await?;
        Ok(job["status"] == "queued" && job["waiting_for"] == "broker")
    })
    .await?;
    proxied.proxy.heal();
    cluster.client().succeeded(&id, SOON).await?;
    for process in cluster.processes("") {
        ensure!(process.ended()?.is_none(), "{} gave up", process.name());
    }
    cluster.check_invariants(SOON).await
}

#[tokio::test]
async fn rights_taken_from_the_workers_are_said_and_given_back_without_a_restart() -> Result<()> {
    let proxied = Proxied::except(&[]).await?;
    scenario(proxied.setup(), async |cluster| {
        let (management, vhost) = (proxied.vhost.management(), proxied.vhost.name());
        let path = format!("permissions/{vhost}/worker");
        management.request(http::Method::DELETE, &path, None).await?;
        proxied.proxy.cut();
        let lacking = async |cluster: &Cluster| {
            anyhow::Ok(cluster.http("worker-0")?.get("/ready").await?.expect(200)?["status"] == "degraded")
        };
        wait_until(SOON, "the worker says that it lacks the broker", async || lacking(cluster).await).await?;
        let id = cluster.client().accepted(&json!({"task": "noop"})).await?;
        let users = topology::Topology::new(&[]).users;
        let user = users.iter().find(|user| user.name == "worker").expect("the topology has it");
        let rights = json!({"configure": user.configure, "write": user.write, "read": user.read});
        management.request(http::Method::PUT, &path, Some(&rights)).await?;
        cluster.client().succeeded(&id, RECONNECTED_WITHIN).await?;
        Ok(())
    })
    .await
}
