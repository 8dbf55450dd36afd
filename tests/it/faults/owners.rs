//! One owner at a time, measured by the handlers themselves: workers are killed and stopped under programs that say when they live.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tests::owners::{Owners, payload, task};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario, wait_until};

use crate::SOON;

const LEASE_MS: u64 = 2_000;
const SECONDS: f64 = 4.0;
/// As many as two workers have slots, so that each of them runs some.
const JOBS: usize = 4;

async fn on_rabbitmq(steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let urls = Vhost::fresh().await?.urls();
    scenario(Setup::rabbitmq(urls).workers(2).slots("2").tasks(task(LEASE_MS)).alone(), steps).await
}

async fn embedded(steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    scenario(Setup::embedded().tasks(task(LEASE_MS)).alone(), steps).await
}

/// Submits the jobs and waits until one runs in a child of this process. Their programs leave processes behind in sessions of their own.
async fn running_in(cluster: &mut Cluster, process: &str) -> Result<Vec<String>> {
    let body = |_| json!({"task": "owned", "payload": payload(SECONDS, true)});
    let ids = cluster.client().accepted_all(JOBS, body).await?;
    let parent = cluster.process(process)?.pid();
    let folder = cluster.folder().to_owned();
    wait_until(SOON, "a program of the worker runs", async || {
        let owners = Owners::read(&folder)?;
        Ok(ids.iter().flat_map(|id| owners.of(id)).any(|owner| parent_of(owner.pid) == Some(parent)))
    })
    .await?;
    Ok(ids)
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// The guard of a worker.
fn guard_of(worker: u32) -> Result<Pid> {
    let pids = std::fs::read_dir("/proc")?.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    let is_guard = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"\0guard\0") && parent_of(*pid) == Some(worker)
    };
    let pid = pids.into_iter().find(is_guard).context("the worker has no guard")?;
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("a pid above zero")
}

/// All jobs end well; their owners' own book has no two at a time, and shows that the fault did hit some.
async fn one_at_a_time(cluster: &Cluster, ids: &[String]) -> Result<()> {
    let client = cluster.client();
    client.settled(SOON * 3).await?;
    for id in ids {
        client.succeeded(id, SOON).await?;
    }
    let owners = Owners::read(cluster.folder())?;
    let overlaps = owners.overlaps();
    ensure!(overlaps.is_empty(), "{overlaps:#?}");
    ensure!(owners.taken_over() > 0, "no job had a second owner: the fault came too late");
    Ok(())
}

#[tokio::test]
async fn killed_worker_leaves_no_second_owner_on_rabbitmq() -> Result<()> {
    on_rabbitmq(async |cluster| {
        let ids = running_in(cluster, "worker-0").await?;
        cluster.process("worker-0")?.kill_9()?;
        one_at_a_time(cluster, &ids).await
    })
    .await
}

#[tokio::test]
async fn killed_worker_leaves_no_second_owner_on_the_embedded_broker() -> Result<()> {
    embedded(async |cluster| {
        let ids = running_in(cluster, "up").await?;
        cluster.process("up")?.kill_9()?;
        cluster.restart("up").await?;
        one_at_a_time(cluster, &ids).await
    })
    .await
}

#[tokio::test]
async fn stopped_worker_leaves_no_second_owner_on_rabbitmq() -> Result<()> {
    on_rabbitmq(async |cluster| {
        let ids = running_in(cluster, "worker-0").await?;
        cluster.process("worker-0")?.pause()?;
        cluster.client().settled(SOON * 3).await?;
        cluster.process("worker-0")?.resume()?;
        one_at_a_time(cluster, &ids).await
    })
    .await
}

#[tokio::test]
async fn stopped_worker_leaves_no_second_owner_on_the_embedded_broker() -> Result<()> {
    embedded(async |cluster| {
        let ids = running_in(cluster, "up").await?;
        let folder = cluster.folder().to_owned();
        cluster.process("up")?.pause()?;
        // The store stands still with the worker; the guard does not.
        wait_until(SOON, "their programs are ended", async || {
            let owners = Owners::read(&folder)?;
            Ok(ids
                .iter()
                .flat_map(|id| owners.of(id))
                .all(|owner| parent_of(owner.pid).is_none() || is_dead(owner.pid)))
        })
        .await?;
        cluster.process("up")?.resume()?;
        one_at_a_time(cluster, &ids).await
    })
    .await
}

/// A process that its stopped parent has not reaped.
fn is_dead(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:\tZ")
}

#[tokio::test]
async fn worker_killed_after_its_guard_leaves_no_second_owner() -> Result<()> {
    on_rabbitmq(async |cluster| {
        let ids = running_in(cluster, "worker-0").await?;
        let worker = cluster.process("worker-0")?.pid();
        let first = guard_of(worker)?;
        kill_process(first, Signal::KILL)?;
        wait_until(SOON, "another guard has taken over", async || Ok(guard_of(worker)? != first)).await?;
        cluster.process("worker-0")?.kill_9()?;
        one_at_a_time(cluster, &ids).await
    })
    .await
}

#[tokio::test]
async fn program_whose_worker_and_guard_are_stopped_ends_when_the_guard_goes_on() -> Result<()> {
    on_rabbitmq(async |cluster| {
        let ids = running_in(cluster, "worker-0").await?;
        let worker = cluster.process("worker-0")?.pid();
        let guard = guard_of(worker)?;
        let folder = cluster.folder().to_owned();
        kill_process(guard, Signal::STOP)?;
        cluster.process("worker-0")?.pause()?;
        // Nobody is left to end the program: it overlaps with its successor, which the documentation says.
        wait_until(SOON, "a job has a second owner", async || Ok(Owners::read(&folder)?.taken_over() > 0)).await?;
        kill_process(guard, Signal::CONT)?;
        wait_until(SOON, "the programs of the stopped worker are ended", async || {
            let owners = Owners::read(&folder)?;
            let of_worker =
                ids.iter().flat_map(|id| owners.of(id)).filter(|owner| parent_of(owner.pid) == Some(worker));
            Ok(of_worker.map(|owner| owner.pid).all(is_dead))
        })
        .await?;
        cluster.client().settled(SOON * 3).await?;
        cluster.process("worker-0")?.resume()
    })
    .await
}
