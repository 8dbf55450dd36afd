//! The client of the tests: it submits and asks like anybody else, writes down everything that it was told, and at the end holds the system
//! to it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use serde_json::Value;

use crate::http::{Answer, Http};
use crate::ledger::{Ledger, is_terminal, job_id};
use crate::wait::eventually;

/// So many open jobs can be looked through again and again.
const FEW: usize = 100;
/// How many requests `submit_all` has open at a time.
const CONCURRENT_SUBMITS: usize = 32;

#[derive(Debug)]
pub struct Client {
    http: Http,
    ledger: Mutex<Ledger>,
}

impl Client {
    pub fn new(http: Http) -> Self {
        Self { http, ledger: Mutex::default() }
    }

    /// For requests that neither submit nor show jobs.
    pub fn http(&self) -> &Http {
        &self.http
    }

    fn note<T>(&self, write: impl FnOnce(&mut Ledger) -> T) -> T {
        write(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request that may create a job: whatever comes back is written down.
    pub async fn submit_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer> {
        let answer = self.http.send(method, path, headers, Some(body)).await;
        self.note(|ledger| match &answer {
            Ok(told) if told.status.is_success() => {
                if let Ok(job) = told.json() {
                    ledger.accept(job_id(&job));
                }
            }
            Ok(told) if told.status.is_client_error() => {}
            Ok(_) | Err(_) => ledger.fate_unknown(),
        });
        answer
    }

    pub async fn submit(&self, body: &Value) -> Result<Answer> {
        self.submit_with(Method::POST, "/longtask", &[], body).await
    }

    /// Submits a job that must be accepted, and gives its id.
    pub async fn accepted(&self, body: &Value) -> Result<String> {
        let answer = self.submit(body).await?;
        let id = job_id(&answer.expect(202)?).to_owned();
        ensure!(!id.is_empty(), "accepted without an id: {answer}");
        Ok(id)
    }

    /// Submits `count` jobs, several at a time; all must be accepted. The ids come in the order of the numbers.
    pub async fn accepted_all(&self, count: usize, body: impl Fn(usize) -> Value) -> Result<Vec<String>> {
        let bodies: Vec<Value> = (0..count).map(body).collect();
        stream::iter(&bodies).map(|body| self.accepted(body)).buffered(CONCURRENT_SUBMITS).try_collect().await
    }

    pub async fn job(&self, id: &str) -> Result<Value> {
        self.look(id, &[]).await
    }

    async fn look(&self, id: &str, headers: &[(&str, &str)]) -> Result<Value> {
        let began = self.note(Ledger::begin);
        let job = self.http.send(Method::GET, &format!("/jobs/{id}"), headers, None).await?.expect(200)?;
        self.note(|ledger| ledger.see(began, &job));
        Ok(job)
    }

    /// Waits until the job has ended, whatever its outcome.
    pub async fn ended(&self, id: &str, within: Duration) -> Result<Value> {
        eventually(within, &format!("job {id} ends"), async || {
            let job = self.look(id, &[("prefer", "wait=2")]).await?;
            if is_terminal(&job) { Ok(Some(job)) } else { Err(anyhow::anyhow!("it is {job}")) }
        })
        .await
    }

    /// Waits until the job has ended well.
    pub async fn succeeded(&self, id: &str, within: Duration) -> Result<Value> {
        let job = self.ended(id, within).await?;
        ensure!(job["status"] == "succeeded", "job {id} should have succeeded: {job}");
        Ok(job)
    }

    /// All jobs that answer `query` (such as "status=queued"), over all pages.
    pub async fn list(&self, query: &str) -> Result<Vec<Value>> {
        let mut jobs = Vec::new();
        let mut cursor = String::new();
        loop {
            let began = self.note(Ledger::begin);
            let page = self.http.get(&format!("/jobs?limit=100&{query}{cursor}")).await?.expect(200)?;
            let listed = page["jobs"].as_array().with_context(|| format!("no jobs in {page}"))?;
            self.note(|ledger| listed.iter().for_each(|job| ledger.see(began, job)));
            jobs.extend(listed.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(jobs),
            }
        }
    }

    /// Somebody else submitted this job, and the test knows of it.
    pub fn adopt(&self, id: &str) {
        self.note(|ledger| ledger.accept(id));
    }

    /// The test says that this job will not have ended when the test does.
    pub fn leave(&self, id: &str) {
        self.note(|ledger| ledger.leave(id));
    }

    /// Drops an ended job, after which only its having been there is known.
    pub async fn purge(&self, id: &str) -> Result<()> {
        self.http.delete(&format!("/jobs/{id}")).await?.expect(204)?;
        self.note(|ledger| ledger.purged(id));
        self.http.get(&format!("/jobs/{id}")).await?.problem(410).map(drop)
    }

    /// Waits until every job in the system has ended, but for those that the test leaves.
    pub async fn settled(&self, within: Duration) -> Result<()> {
        eventually(within, "all jobs end", async || {
            let (open, left) = (self.open().await?, self.note(|ledger| ledger.left()));
            ensure!(open <= left + FEW, "{open} have not ended, and {left} are left");
            // In the list of all, which is by age: one of a single state misses a job that goes to another one while it is read.
            let jobs = if open > 0 { self.list("").await? } else { Vec::new() };
            let is_awaited = |job: &&Value| !is_terminal(job) && !self.note(|ledger| ledger.is_left(job_id(job)));
            match jobs.iter().find(is_awaited) {
                None => Ok(Some(())),
                Some(job) => Err(anyhow::anyhow!("{open} have not ended, and {left} are left, but not {job}")),
            }
        })
        .await
    }

    /// How many jobs have not ended.
    async fn open(&self) -> Result<usize> {
        let queues = self.http.get("/queues").await?.expect(200)?;
        let depths = queues["queues"].as_array().with_context(|| format!("no queues in {queues}"))?;
        let jobs =
            depths.iter().flat_map(|queue| ["scheduled", "queued", "running"].map(|state| &queue["depth"][state]));
        let jobs: Option<Vec<u64>> = jobs.map(Value::as_u64).collect();
        let jobs = jobs.with_context(|| format!("no depths in {queues}"))?;
        Ok(usize::try_from(jobs.iter().sum::<u64>())?)
    }

    /// Waits until everything has ended, then compares what the system shows with what it told.
    pub async fn reconcile(&self, within: Duration) -> Result<()> {
        self.settled(within).await?;
        let listed = self.list("").await?;
        let broken = self.note(|ledger| ledger.audit(&listed));
        let shown: Vec<_> = broken.iter().take(10).map(String::as_str).collect();
        ensure!(broken.is_empty(), "{} promises broken:\n{}", broken.len(), shown.join("\n"));
        Ok(())
    }
}
