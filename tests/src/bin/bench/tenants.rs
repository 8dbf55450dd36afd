//! Tenants: how long a job of one waits for its start while another keeps all slots busy, without a backlog and with one, and while a limit leaves
//! that one a slot short of all, beside the same system where nobody else is; in turn.
//!
//! The job's handler says when it began, on the clock by which the request was sent. The jobs of the other tenant go to the store itself, for that
//! tenant; nobody waits for them.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use http::Method;
use protocol::ids::JobId;
use protocol::tenant::HEADER;
use serde_json::{Value, json};
use tests::http::Http;
use tests::open_loop::at_rate;
use tests::rabbit::urls;
use tests::{Cluster, Setup};
use tokio::time::{Instant, interval};

use crate::jobs::{percentile_ms, quiet};
use crate::plan::Plan;
use crate::record::{Contender, Run, Section};
use crate::report::say;

pub(crate) const ALONE: &str = "nobody else is there";
pub(crate) const BUSY: &str = "beside a tenant that keeps the slots busy";
pub(crate) const BEHIND: &str = "behind a backlog of that tenant";
pub(crate) const LIMITED: &str = "behind that backlog, a limit leaves one slot free";

const SECTION: &str = "tenants";
const QUEUE: &str = "default";
const OTHER: &str = "acme";
const SLOTS: u32 = 16;
/// What a job of the other tenant takes: as many slots are free again each second as `SLOTS` / 20 ms.
const WORK_MS: u64 = 20;
/// Jobs per second whose start is waited for: a fortieth of all starts.
const RATE: u32 = 20;
/// Jobs that the busy tenant has open: those that run, and one for each slot that becomes free.
const OPEN: u64 = 2 * SLOTS as u64;
const BACKLOG: u64 = 100_000;
const BATCH: u64 = 1_000;
const TOP_UP_EVERY: Duration = Duration::from_millis(5);

struct Longshore {
    http: Http,
    store: Http,
    #[expect(dead_code, reason = "its processes, which end with it")]
    cluster: Cluster,
}

pub(crate) async fn run(plan: &Plan, node: &ScratchNode) -> Result<Section> {
    let longshore = Longshore::start(node).await?;
    let mut contenders = [ALONE, BUSY, BEHIND, LIMITED].map(contender);
    longshore.measure(Duration::from_secs(1)).await?;
    for _ in 0..plan.rounds {
        let [alone, busy, behind, limited] = &mut contenders;
        ensure!(longshore.open().await? == 0, "nobody else is there");
        measured(alone, &longshore.measure(plan.length).await?, plan.length);
        let took = longshore.beside(OPEN, plan.length).await?;
        measured(busy, &took, plan.length);
        longshore.fill(BACKLOG).await?;
        measured(behind, &longshore.behind(plan.length).await?, plan.length);
        longshore.limit(json!({"running_max": SLOTS - 1})).await?;
        measured(limited, &longshore.behind(plan.length).await?, plan.length);
        longshore.limit(json!({})).await?;
        longshore.empty().await?;
    }
    say(&table(&contenders));
    Ok(Section { name: SECTION.to_owned(), contenders: contenders.to_vec() })
}

fn contender(name: &str) -> Contender {
    let what = format!(
        "{RATE} submits per second, open loop, from a submit to the start of its job; {SLOTS} slots, and jobs of {WORK_MS} ms of the other tenant"
    );
    Contender { name: name.to_owned(), what, runs: Vec::new() }
}

fn measured(contender: &mut Contender, took: &[Duration], length: Duration) {
    let (p50_ms, p99_ms) = (percentile_ms(took, 50), percentile_ms(took, 99));
    say(&format!("{:<44} p50 {p50_ms:>7.2} ms  p99 {p99_ms:>7.2} ms", contender.name));
    let operations = took.len() as u64;
    contender.runs.push(Run { operations, seconds: length.as_secs_f64(), p50_ms, p99_ms, ..Run::default() });
}

fn table(contenders: &[Contender]) -> String {
    let of_alone = |value: fn(&Run) -> f64| contenders.first().map_or(1.0, |alone| alone.median(value));
    let mut text = "\n| submit to start | p50 ms | p99 ms | of the first |\n|---|---|---|---|\n".to_owned();
    for contender in contenders {
        let (p50, p99) = (contender.median(|run| run.p50_ms), contender.median(|run| run.p99_ms));
        let (by50, by99) = (p50 / of_alone(|run| run.p50_ms), p99 / of_alone(|run| run.p99_ms));
        text += &format!("| {} | {p50:.2} | {p99:.2} | {by50:.2} ×, {by99:.2} × |\n", contender.name);
    }
    text
}

fn now_us() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_micros())?)
}

impl Longshore {
    async fn start(node: &ScratchNode) -> Result<Self> {
        node.management().make_vhost(SECTION, &[QUEUE]).await?;
        let setup =
            Setup::rabbitmq(urls(node, SECTION)).workers(1).worker_program("noop-worker").slots(SLOTS.to_string());
        let cluster = Cluster::start(&quiet(setup)).await?;
        Ok(Self { http: cluster.http("lb")?, store: cluster.http("store-svc")?, cluster })
    }

    /// How long each job waited for its start, sorted.
    async fn measure(&self, length: Duration) -> Result<Vec<Duration>> {
        let waited = RefCell::new(Vec::new());
        at_rate(RATE, length, async |_| {
            let sent_us = now_us()?;
            let headers = [("prefer", "wait=20")];
            let answer = self.http.send(Method::POST, "/longtask", &headers, Some(&json!({"task": "stamp"}))).await?;
            let job = answer.expect(200)?;
            let began_us = job["result"].as_u64().with_context(|| format!("it says when it began: {job}"))?;
            waited.borrow_mut().push(Duration::from_micros(began_us.saturating_sub(sent_us)));
            Ok(())
        })
        .await?;
        let mut waited = waited.into_inner();
        waited.sort_unstable();
        Ok(waited)
    }

    /// The same while the other tenant has so many jobs open, and no more.
    async fn beside(&self, open: u64, length: Duration) -> Result<Vec<Duration>> {
        let top_up = async {
            let mut looks = interval(TOP_UP_EVERY);
            let failed: Result<Infallible> = loop {
                looks.tick().await;
                if let Err(error) = self.top_up(open).await {
                    break Err(error);
                }
            };
            failed
        };
        let took = tokio::select! {
            took = self.measure(length) => took?,
            Err(error) = top_up => return Err(error),
        };
        self.empty().await?;
        Ok(took)
    }

    /// The same behind the other tenant's backlog.
    async fn behind(&self, length: Duration) -> Result<Vec<Duration>> {
        let took = self.measure(length).await?;
        let left = self.open().await?;
        ensure!(left > BACKLOG / 10, "{left} jobs are left of the backlog: it did not last");
        Ok(took)
    }

    /// What the other tenant may have.
    async fn limit(&self, limits: Value) -> Result<()> {
        self.http.put(&format!("/tenants/{OTHER}"), &limits).await?.expect(200)?;
        Ok(())
    }

    async fn top_up(&self, open: u64) -> Result<()> {
        self.fill(open.saturating_sub(self.open().await?)).await
    }

    /// Jobs of the other tenant that have not ended.
    async fn open(&self) -> Result<u64> {
        let answer = self.store.get("/tenants").await?.expect(200)?;
        let all = answer["tenants"].as_array().context("a list")?;
        let Some(other) = all.iter().find(|tenant| tenant["tenant"] == OTHER) else { return Ok(0) };
        let count = |state: &str| other["depth"][state].as_u64().unwrap_or(0);
        Ok(count("queued") + count("running"))
    }

    async fn fill(&self, jobs: u64) -> Result<()> {
        for first in (0..jobs).step_by(usize::try_from(BATCH)?) {
            let items: Vec<Value> = (first..jobs.min(first + BATCH)).map(|_| create()).collect();
            let headers = [(HEADER, OTHER)];
            let applied = self.store.send(Method::POST, "/apply", &headers, Some(&json!({"items": items}))).await?;
            let applied = applied.expect(200)?;
            let answers = applied["items"].as_array().context("answers")?;
            ensure!(answers.iter().all(|answer| answer.get("ok").is_some()), "a job was refused: {applied}");
        }
        Ok(())
    }

    /// Cancels what is left of the other tenant's jobs, so that the next run begins with none.
    async fn empty(&self) -> Result<()> {
        let headers = [(HEADER, OTHER)];
        let begun = Instant::now();
        while self.open().await? > 0 {
            let page =
                self.store.send(Method::GET, "/jobs?status=queued&limit=500", &headers, None).await?.expect(200)?;
            let jobs = page["jobs"].as_array().context("a page")?;
            let items: Vec<Value> = jobs.iter().map(|job| json!({"cancel": {"job_id": job["job_id"]}})).collect();
            self.store.send(Method::POST, "/apply", &headers, Some(&json!({"items": items}))).await?.expect(200)?;
            ensure!(begun.elapsed() < Duration::from_secs(300), "jobs of {OTHER} are still open");
        }
        Ok(())
    }
}

/// What the store is told, as by a gateway.
fn create() -> Value {
    json!({"create": {
        "job_id": JobId::generate(), "task": "work", "payload": {"duration_ms": WORK_MS}, "queue": QUEUE, "priority": "normal",
        "run_at": null, "max_attempts": 5, "timeout_ms": null, "invalidates": [], "idempotency_key": null, "fingerprint": "",
        "trace": null, "wants_bell": false,
    }})
}
