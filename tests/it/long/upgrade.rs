//! A rolling upgrade and its way back, under load: program after program is exchanged for that of the other version, so that each of them works
//! with older and with newer ones, and nothing is lost. `tests/earlier` has built the programs of the earlier version, and says which that is.
//!
//! The store is exchanged where both versions have the same schema. Not covered: the migration of a database, PostgreSQL, RabbitMQ's own upgrade.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::{try_join, try_join_all};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tests::binaries::binary;
use tests::cluster::program_of;
use tests::ledger::is_terminal;
use tests::rabbit::Vhost;
use tests::{Cluster, Http, Setup, eventually, scenario, wait_until};

use crate::SOON;

/// Where `tests/earlier` puts its programs, beside those of this version.
const EARLIER: &str = "earlier";
const PRESENT: &str = ".";
/// As docs/operations.md says. On the way back, too, the store goes first: then older ones serve newer programs.
const ORDER: [&str; 8] =
    ["store-svc", "cache-svc", "gateway-0", "gateway-1", "gateway-2", "worker-0", "worker-1", "lb"];
const TASKS: &str = "[task.brief]\nkind = \"simulate\"\n\n[task.shell]\nkind = \"command\"\nprogram = \"/bin/cat\"\n";
/// Each follows its job to the end before it submits the next one.
const SUBMITTERS: usize = 16;
/// Of each worker: no job waits for long.
const SLOTS: usize = SUBMITTERS;
/// So many jobs are accepted, and reads and writes go on meanwhile, before the next program is exchanged.
const JOBS_BETWEEN: usize = 60;
const EXCHANGED_WITHIN: Duration = Duration::from_secs(60);

/// Clients that go on until they are told to end. What they are told is held against what follows.
struct Load {
    http: Http,
    ended: Cell<bool>,
    /// A program is exchanged without which GETs cannot be answered.
    interrupted: Cell<bool>,
    accepted: RefCell<Vec<String>>,
}

/// Something of every sort.
fn job(n: usize) -> Value {
    match n % 6 {
        0 => json!({"task": "brief"}),
        1 => json!({"task": "shell", "payload": {"n": n}}),
        2 => json!({"task": "brief", "payload": {"duration_ms": 700}}),
        3 => json!({"task": "brief", "delay_ms": 50}),
        4 => json!({"task": "brief", "payload": {"fail_attempts": 1}}),
        _ => json!({"task": "brief", "invalidates": ["k0"]}),
    }
}

impl Load {
    fn new(http: Http) -> Self {
        Self { http, ended: Cell::new(false), interrupted: Cell::new(false), accepted: RefCell::default() }
    }

    async fn run(&self) -> Result<()> {
        let submitters = try_join_all((0..SUBMITTERS).map(|lane| self.submits(lane)));
        try_join(submitters, self.writes()).await.map(drop)
    }

    async fn submits(&self, lane: usize) -> Result<()> {
        for n in (lane..).step_by(SUBMITTERS).take_while(|_| !self.ended.get()) {
            let id = self.submit(n).await?;
            self.accepted.borrow_mut().push(id.clone());
            ensure!(self.submit(n).await? == id, "the key of {id} made a second job");
            self.follow(&id).await?;
        }
        Ok(())
    }

    async fn follow(&self, id: &str) -> Result<()> {
        eventually(EXCHANGED_WITHIN, &format!("job {id} ends"), async || {
            let job = match self.get(&format!("/jobs/{id}")).await {
                Ok(Some(job)) => job,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(Err(error))),
            };
            let outcome = if job["job_id"] == *id { Ok(()) } else { Err(anyhow::anyhow!("another job: {job}")) };
            Ok((outcome.is_err() || is_terminal(&job)).then_some(outcome))
        })
        .await?
    }

    async fn submit(&self, n: usize) -> Result<String> {
        self.http.submit_under(&format!("job-{n}"), &job(n), EXCHANGED_WITHIN).await
    }

    /// `None`: it could not be answered, and need not.
    async fn get(&self, path: &str) -> Result<Option<Value>> {
        let interrupted = self.interrupted.get();
        match self.http.send(Method::GET, path, &[("prefer", "wait=2")], None).await {
            Ok(answer) if answer.status.is_success() => answer.json().map(Some),
            Ok(answer) if answer.is_passing() && (interrupted || self.interrupted.get()) => Ok(None),
            Err(_) if interrupted || self.interrupted.get() => Ok(None),
            Ok(answer) => anyhow::bail!("GET {path}: {answer}"),
            Err(error) => Err(error),
        }
    }

    /// One value after the other: no read is older than what was acknowledged before it. A write without an answer may still come to be, so
    /// another key is written after it.
    async fn writes(&self) -> Result<()> {
        let mut key = 0;
        for n in (1_u64..).take_while(|_| !self.ended.get()) {
            let path = format!("/data/k{key}");
            match self.http.put(&path, &json!({"data": n})).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    if let Some(read) = self.get(&path).await? {
                        ensure!(read["data"] == n, "{n} was acknowledged, then read: {read}");
                    }
                }
                Ok(answer) if !answer.is_passing() => anyhow::bail!("PUT {path}: {answer}"),
                _ => key += 1,
            }
        }
        Ok(())
    }

    async fn goes_on(&self) -> Result<()> {
        let enough = self.accepted.borrow().len() + JOBS_BETWEEN;
        wait_until(EXCHANGED_WITHIN, "the load goes on", async || Ok(self.accepted.borrow().len() >= enough)).await
    }
}

/// What an operator does: SIGTERM, then the other version in its place.
async fn exchange(cluster: &mut Cluster, load: &Load, member: &str, build: &str) -> Result<()> {
    let other = binary(&format!("{build}/{}", program_of(member)))?;
    load.interrupted.set(matches!(member, "store-svc" | "lb"));
    let process = cluster.process(member)?;
    let spec = process.spec().clone().running(other);
    process.term()?;
    let status = process.exited(EXCHANGED_WITHIN).await?;
    ensure!(status.success(), "it ended with {status}");
    process.start_next_as(spec);
    cluster.restart(member).await?;
    load.goes_on().await?;
    load.interrupted.set(false);
    Ok(())
}

#[tokio::test]
async fn programs_of_two_versions_are_exchanged_one_by_one_under_load_and_lose_nothing() -> Result<()> {
    binary(&format!("{EARLIER}/lb")).context("tests/earlier builds the programs of an earlier version")?;
    let store_too = binary(&format!("{EARLIER}/store-svc")).is_ok();
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).slots(SLOTS.to_string()).tasks(TASKS).build(EARLIER);
    scenario(setup.alone(), async |cluster| {
        let load = Load::new(cluster.http("lb")?);
        let exchanges = async {
            load.goes_on().await?;
            for build in [PRESENT, EARLIER] {
                for member in ORDER.into_iter().filter(|member| store_too || *member != "store-svc") {
                    let doing = || format!("{member} is exchanged for the one in {build}");
                    exchange(cluster, &load, member, build).await.with_context(doing)?;
                }
            }
            load.ended.set(true);
            anyhow::Ok(())
        };
        try_join(exchanges, load.run()).await?;
        let accepted = load.accepted.into_inner();
        accepted.iter().for_each(|id| cluster.client().adopt(id));
        cluster.client().settled(SOON * 3).await?;
        for job in cluster.client().list("").await? {
            // Who is asked to end gives back what it cannot finish: nothing of this is a crash.
            ensure!(job["status"] == "succeeded" && job["crashes"] == 0, "{job}");
        }
        Ok(())
    })
    .await
}
