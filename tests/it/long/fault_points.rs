//! A program aborts between two durable actions, at each such place in turn, under work of every sort; it is started again, and nothing is
//! lost, nothing recorded twice. The programs that can abort are built by `tests/run --all`, beside the others.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::fault_points::FaultPoint;
use serde_json::json;
use tests::binaries::binary;
use tests::rabbit::Vhost;
use tests::{Client, Cluster, Setup, eventually, scenario};

/// Leases short enough to be waited for; a job that is handed over, a program, and jobs that are done at once.
const TASKS: &str = r#"
[task.brief]
kind = "simulate"
lease_ms = 5_000

[task.shell]
kind = "command"
program = "/bin/cat"
lease_ms = 5_000
"#;
const HAND_OVER_MS: &str = "300";
const LONGER_THAN_HAND_OVER_MS: u64 = 900;
/// The first pass is spared, so that it dies in the middle of its work.
const ABORTS: &str = "1*off->return";
const DIES_WITHIN: Duration = Duration::from_secs(40);
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
const SIGABRT: i32 = 6;

/// Something of every sort. What becomes of a request while the program dies is not asked: the client's book has it.
async fn work(client: &Client, round: u64) {
    for job in [
        json!({"task": "brief"}),
        json!({"task": "shell", "payload": {"round": round}}),
        json!({"task": "brief", "payload": {"duration_ms": LONGER_THAN_HAND_OVER_MS}}),
        json!({"task": "brief", "delay_ms": 50}),
        json!({"task": "brief", "payload": {"fail_attempts": 1}}),
        json!({"task": "brief", "invalidates": ["k"]}),
    ] {
        drop(client.submit(&job).await);
    }
    drop(client.http().put("/data/k", &json!({"data": round})).await);
}

async fn aborts_and_loses_nothing(cluster: &mut Cluster, member: &str, point: FaultPoint) -> Result<()> {
    let (name, setting) = ("LONGSHORE_FAULT_POINT", format!("{}={ABORTS}", point.name()));
    let aborting = binary(&format!("fault-points/{}", point.program()))
        .context("tests/run --all builds the programs with the feature fault-points")?;
    let process = cluster.process(member)?;
    let spec = process.spec().clone();
    process.kill_9()?;
    process.start_next_as(spec.clone().with(name, setting).running(aborting));
    process.restart()?;
    let mut round = 0;
    let status = eventually(DIES_WITHIN, "it aborts", async || {
        round += 1;
        work(cluster.client(), round).await;
        cluster.process(member)?.ended()
    })
    .await?;
    ensure!(status.signal() == Some(SIGABRT), "it should have aborted: {status}");
    cluster.process(member)?.start_next_as(spec);
    cluster.restart(member).await?;
    cluster.client().settled(SETTLES_WITHIN).await?;
    for outcome in ["failed", "cancelled"] {
        let jobs = cluster.client().list(&format!("status={outcome}&")).await?;
        ensure!(jobs.is_empty(), "{} are {outcome}, such as {}", jobs.len(), jobs[0]);
    }
    Ok(())
}

async fn at_each_point_of(program: &str, member: &str) -> Result<()> {
    let vhost = Vhost::fresh().await?;
    let setup = Setup::rabbitmq(vhost.urls()).tasks(TASKS).set("worker", "LONGSHORE_HAND_OVER_MS", HAND_OVER_MS);
    scenario(setup.alone(), async |cluster| {
        for point in FaultPoint::ALL.into_iter().filter(|point| point.program() == program) {
            aborts_and_loses_nothing(cluster, member, point).await.with_context(|| format!("{point:?}"))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn store_aborted_between_any_two_durable_actions_loses_nothing() -> Result<()> {
    at_each_point_of("store-svc", "store-svc").await
}

#[tokio::test]
async fn gateway_aborted_between_any_two_durable_actions_loses_nothing() -> Result<()> {
    at_each_point_of("gateway", "gateway-0").await
}

#[tokio::test]
async fn cache_aborted_between_any_two_durable_actions_loses_nothing() -> Result<()> {
    at_each_point_of("cache-svc", "cache-svc").await
}

#[tokio::test]
async fn worker_aborted_between_any_two_durable_actions_loses_nothing() -> Result<()> {
    at_each_point_of("worker", "worker-0").await
}
