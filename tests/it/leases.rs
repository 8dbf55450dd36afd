//! The shipped worker in Python: it pulls jobs over HTTP, and is killed, stopped and asked to stop like any other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::process::Spec;
use tests::{Cluster, Process, eventually, wait_until};
use tokio::time::Instant;

use crate::{SOON, embedded, rabbitmq};

/// As the script says.
const LEASE: Duration = Duration::from_secs(3);
const LINES_MAX: usize = 40;

fn script() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is above this crate")?;
    Ok(root.join("examples/worker.py"))
}

fn python(cluster: &Cluster, name: &str) -> Result<Process> {
    let arguments = ["-I", "-S"].map(str::to_owned).into_iter();
    Process::start(Spec {
        name: name.to_owned(),
        binary: PathBuf::from("/usr/bin/python3"),
        arguments: arguments
            .chain([script()?.display().to_string(), format!("http://{}", cluster.address("lb")?)])
            .collect(),
        environment: BTreeMap::new(),
        folder: cluster.folder().to_owned(),
    })
}

/// The worker's name for people ends in its process id.
fn is_by(job: &serde_json::Value, worker: &Process) -> bool {
    job["result"]["worker"].as_str().is_some_and(|name| name.ends_with(&format!("-{}", worker.pid())))
}

async fn runs(cluster: &Cluster, id: &str, crashes: u64) -> Result<()> {
    wait_until(SOON, "it runs", async || {
        let job = cluster.client().job(id).await?;
        Ok(job["status"] == "running" && job["crashes"] == crashes)
    })
    .await
}

/// So many workers that pull are there.
async fn there(cluster: &Cluster, count: usize) -> Result<()> {
    wait_until(SOON, "the workers are there", async || {
        let told = cluster.client().http().get("/workers").await?.expect(200)?;
        let workers = told["workers"].as_array().context("a list")?;
        Ok(workers.iter().filter(|worker| worker["tasks"] == json!(["countdown"])).count() == count)
    })
    .await
}

async fn countdown(cluster: &Cluster, seconds: f64) -> Result<String> {
    cluster.client().accepted(&json!({"task": "countdown", "payload": {"seconds": seconds}})).await
}

async fn jobs_are_pulled(cluster: &mut Cluster) -> Result<()> {
    let early = countdown(cluster, 0.2).await?;
    let waits = cluster.client().job(&early).await?;
    ensure!(waits["status"] == "queued" && waits["waiting_for"] == "worker", "{waits}");
    let worker = python(cluster, "python-0")?;
    ensure!(is_by(&cluster.client().succeeded(&early, SOON).await?, &worker));
    // While it waits for one, a job is there at once; those of the other workers are none of its business.
    there(cluster, 1).await?;
    let begun = Instant::now();
    let job = cluster.client().succeeded(&countdown(cluster, 0.1).await?, SOON).await?;
    ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    ensure!(job["attempt"] == 1 && job["crashes"] == 0, "{job}");
    cluster.client().accepted_all(20, |_| json!({"task": "noop"})).await?;
    cluster.client().settled(SOON).await?;
    let bad = cluster.client().accepted(&json!({"task": "countdown", "payload": [1]})).await?;
    let job = cluster.client().ended(&bad, SOON).await?;
    ensure!(job["status"] == "failed" && job["attempt"] == 1, "{job}");
    let long = countdown(cluster, 60.0).await?;
    runs(cluster, &long, 0).await?;
    eventually(SOON, "its progress is shown", async || {
        let job = cluster.client().job(&long).await?;
        Ok(job["progress"]["fraction"].as_f64().filter(|fraction| *fraction > 0.0))
    })
    .await?;
    cluster.client().http().post(&format!("/jobs/{long}/cancel"), &json!({})).await?.expect(202)?;
    let job = cluster.client().ended(&long, SOON).await?;
    ensure!(job["status"] == "cancelled", "{job}");
    Ok(())
}

async fn jobs_go_elsewhere(cluster: &mut Cluster) -> Result<()> {
    let mut killed = python(cluster, "python-0")?;
    there(cluster, 1).await?;
    let id = countdown(cluster, 4.0).await?;
    runs(cluster, &id, 0).await?;
    let heir = python(cluster, "python-1")?;
    there(cluster, 2).await?;
    killed.kill_9()?;
    let begun = Instant::now();
    runs(cluster, &id, 1).await?;
    let took = begun.elapsed();
    ensure!(took <= LEASE + Duration::from_secs(5), "it took {took:?} from the kill until it ran elsewhere");
    let job = cluster.client().succeeded(&id, SOON).await?;
    ensure!(is_by(&job, &heir) && job["attempt"] == 1 && job["crashes"] == 1, "{job}");

    let id = countdown(cluster, 4.0).await?;
    runs(cluster, &id, 0).await?;
    heir.pause()?;
    let next = python(cluster, "python-2")?;
    let job = cluster.client().succeeded(&id, SOON).await?;
    ensure!(is_by(&job, &next) && job["crashes"] == 1, "{job}");
    heir.resume()?;
    wait_until(SOON, "it is told that the lease is lost", async || Ok(heir.log().contains("lease-lost"))).await
}

#[tokio::test]
async fn jobs_are_pulled_on_the_embedded_broker() -> Result<()> {
    embedded(jobs_are_pulled).await
}

#[tokio::test]
async fn jobs_are_pulled_on_rabbitmq() -> Result<()> {
    rabbitmq(jobs_are_pulled).await
}

#[tokio::test]
async fn jobs_of_a_worker_that_died_or_froze_are_pulled_by_another_on_the_embedded_broker() -> Result<()> {
    embedded(jobs_go_elsewhere).await
}

#[tokio::test]
async fn jobs_of_a_worker_that_died_or_froze_are_pulled_by_another_on_rabbitmq() -> Result<()> {
    rabbitmq(jobs_go_elsewhere).await
}

#[test]
fn the_shipped_worker_is_short_and_needs_nothing() -> Result<()> {
    let text = std::fs::read_to_string(script()?)?;
    let lines = text.lines().count();
    ensure!(lines <= LINES_MAX, "examples/worker.py has {lines} lines, at most {LINES_MAX} are promised");
    Ok(())
}
