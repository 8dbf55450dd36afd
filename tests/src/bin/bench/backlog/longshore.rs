//! A Longshore whose queue is paused until it is drained: every program a process of its own, every accepted job remembered.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::broker::{self, Broker, ConnectOptions, Program};
use chassis::testing::rabbit::ScratchNode;
use futures_util::{StreamExt, TryStreamExt, stream};
use protocol::api::{Accepted, Batch, BatchItem, JobPage, Status};
use protocol::ids::JobId;
use protocol::queue::{QueueView, Queues};
use protocol::topology::jobs_queue;
use serde_json::{Value, json};
use tests::http::Http;
use tests::rabbit::urls;
use tests::usage::Usage;
use tests::{Cluster, Setup};
use tokio::time::{Instant, interval};

use crate::jobs::{SLOTS, pid, quiet};

const QUEUE: &str = "default";
/// The most that a batch may have.
const BATCH: usize = 1_000;
const BATCHES_AT_ONCE: usize = 4;
/// A look costs the store less than a job.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A million jobs at a fifth of what two cores can do.
const DRAINED_WITHIN: Duration = Duration::from_secs(1_000);
/// Large and odd: the numbers of requests are spread over all jobs.
const SPREAD: usize = 2_654_435_761;

pub(super) struct Longshore {
    http: Http,
    broker: Broker,
    pids: BTreeMap<String, u32>,
    accepted: RefCell<Vec<JobId>>,
    #[expect(dead_code, reason = "its processes, which end with it")]
    cluster: Cluster,
}

/// How a queue was emptied.
pub(super) struct Drained {
    pub(super) jobs: usize,
    pub(super) took: Duration,
    /// The most bells that were out at one look, by the store, and that were ready in the broker's queue.
    pub(super) bells: u64,
    pub(super) ready: u64,
    pub(super) window: u64,
}

fn job() -> Value {
    json!({"task": "noop", "payload": {"customer": "c-1029384756", "report": "monthly", "pages": [1, 2, 3]}})
}

impl Longshore {
    /// On a virtual host of its own. `jobs` says how many ended jobs the store must keep.
    pub(super) async fn start(node: &ScratchNode, vhost: &str, jobs: usize) -> Result<Self> {
        node.management().make_vhost(vhost, &[QUEUE]).await?;
        let setup = Setup::rabbitmq(urls(node, vhost)).workers(1).worker_program("noop-worker").slots(SLOTS);
        let mut cluster =
            Cluster::start(&quiet(setup).set("store-svc", "LONGSHORE_RETENTION_JOBS", jobs.to_string())).await?;
        let mut pids: BTreeMap<String, u32> =
            cluster.processes("").map(|process| (process.name().to_owned(), process.pid())).collect();
        pids.insert("RabbitMQ".to_owned(), pid(node)?);
        let source = broker::Source::url(&node.amqp_url_for("up", vhost))?;
        let broker = broker::connect(&source, ConnectOptions::new(Program::Up, Vec::new()))?;
        let longshore = Self { http: cluster.http("lb")?, broker, pids, accepted: RefCell::default(), cluster };
        longshore.http.post(&format!("/queues/{QUEUE}/pause"), &json!({})).await?.expect(200)?;
        Ok(longshore)
    }

    pub(super) async fn submit(&self) -> Result<()> {
        let answer = self.http.post("/longtask", &job()).await?.expect(202)?;
        let accepted: Accepted = serde_json::from_value(answer)?;
        self.accepted.borrow_mut().push(accepted.job_id);
        Ok(())
    }

    /// The status of one of the accepted jobs, another one for each `n`, anywhere among them.
    pub(super) async fn status(&self, n: usize) -> Result<()> {
        let job_id = {
            let accepted = self.accepted.borrow();
            *accepted.get(n.wrapping_mul(SPREAD) % accepted.len().max(1)).context("nothing was accepted yet")?
        };
        let job = self.http.get(&format!("/jobs/{job_id}")).await?.expect(200)?;
        ensure!(job["status"] == "queued", "the queue is paused, but a job is {job}");
        Ok(())
    }

    /// Gives the time that it took.
    pub(super) async fn fill(&self, jobs: usize) -> Result<Duration> {
        let begun_at = Instant::now();
        let batches = (0..jobs).step_by(BATCH).map(|first| BATCH.min(jobs - first));
        let mut filling = stream::iter(batches).map(|count| self.batch(count)).buffer_unordered(BATCHES_AT_ONCE);
        while filling.try_next().await?.is_some() {}
        Ok(begun_at.elapsed())
    }

    async fn batch(&self, count: usize) -> Result<()> {
        let answer = self.http.post("/jobs:batch", &Value::Array(vec![job(); count])).await?.expect(200)?;
        let batch: Batch = serde_json::from_value(answer)?;
        ensure!(batch.items.len() == count, "{} answers to {count} submits", batch.items.len());
        for item in batch.items {
            match item {
                BatchItem::Accepted { status: 202, job, replayed: false } => {
                    self.accepted.borrow_mut().push(job.job_id);
                }
                other => anyhow::bail!("a submit of a batch was answered {}", serde_json::to_string(&other)?),
            }
        }
        Ok(())
    }

    async fn queue(&self) -> Result<QueueView> {
        let answer: Queues = serde_json::from_value(self.http.get("/queues").await?.expect(200)?)?;
        answer.queues.into_iter().find(|queue| queue.queue == QUEUE).context("the queue is listed")
    }

    /// Resumes the queue and waits until nothing of it is open.
    pub(super) async fn drain(&self) -> Result<Drained> {
        let jobs = self.accepted.borrow().len();
        let queue = self.queue().await?;
        ensure!(queue.depth.queued == jobs as u64, "{jobs} jobs were accepted, {} wait", queue.depth.queued);
        let mut drained = Drained { jobs, took: Duration::ZERO, bells: queue.bells, ready: 0, window: queue.window };
        let begun_at = Instant::now();
        self.http.post(&format!("/queues/{QUEUE}/resume"), &json!({})).await?.expect(200)?;
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let queue = self.queue().await?;
            let ready = self.broker.depth(&jobs_queue(QUEUE)).await.context("the broker does not say its depth")?;
            drained.bells = drained.bells.max(queue.bells);
            drained.ready = drained.ready.max(ready);
            drained.took = begun_at.elapsed();
            let open = queue.depth.open();
            if open == 0 {
                break;
            }
            ensure!(drained.took < DRAINED_WITHIN, "{open} of {jobs} jobs are open after {:?}", drained.took);
        }
        let most = drained.bells.max(drained.ready);
        ensure!(most <= drained.window, "{most} bells were out, of a window of {}", drained.window);
        Ok(drained)
    }

    /// Every accepted job is listed once, as succeeded, and nothing else is.
    pub(super) async fn reconcile(&self) -> Result<()> {
        let mut missing: HashSet<JobId> = self.accepted.borrow().iter().copied().collect();
        let mut cursor = String::new();
        loop {
            let page = self.http.get(&format!("/jobs?limit=500{cursor}")).await?;
            ensure!(page.status == 200, "{page}");
            let page: JobPage = serde_json::from_slice(&page.body)?;
            for job in page.jobs {
                ensure!(missing.remove(&job.job_id), "{} is listed twice, or nobody submitted it", job.job_id);
                ensure!(job.status == Status::Succeeded, "{} is {:?}", job.job_id, job.status);
            }
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        let lost = missing.len();
        ensure!(lost == 0, "{lost} jobs were lost, such as {:?}", missing.iter().next());
        Ok(())
    }

    /// What each program and RabbitMQ use now.
    pub(super) fn usage(&self) -> Result<BTreeMap<String, Usage>> {
        let usage = |(name, pid): (&String, &u32)| {
            let usage = Usage::of(*pid).with_context(|| format!("{name} has ended"))?;
            Ok((name.clone(), usage))
        };
        self.pids.iter().map(usage).collect()
    }
}
