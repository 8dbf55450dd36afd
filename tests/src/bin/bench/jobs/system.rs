//! A system that runs jobs: where they are submitted, what it is made of, and how one sees from outside that they are done.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::http::Http;
use tests::wait_until;
use tokio::time::Instant;

use super::load;
use crate::meter::Meter;
use crate::record::{Contender, Run};
use crate::redis;

/// The last job must have ended by then, after the last submit.
const DONE_WITHIN: Duration = Duration::from_secs(180);

pub(crate) struct System {
    pub(crate) contender: Contender,
    pub(crate) address: SocketAddr,
    pub(crate) meter: Meter,
    pub(crate) done: Done,
    #[expect(dead_code, reason = "its processes, which end with it")]
    pub(crate) held: Vec<Box<dyn Any>>,
}

/// How to see how many jobs are done without work for the system.
pub(crate) enum Done {
    /// Nothing is open in the listing, nothing has failed, and the store counts the completions.
    Listing { edge: Box<Http>, store: Box<Http> },
    /// A number that Redis knows without counting.
    Redis { address: SocketAddr, database: u8, command: &'static str },
}

impl System {
    /// Submits `total` jobs and waits for the last of them. All must be done, and none more than once.
    pub(crate) async fn run(&self, total: u64) -> Result<Run> {
        let name = &self.contender.name;
        let done_before = self.done.count().await?;
        let before = self.meter.read()?;
        let begun_at = Instant::now();
        let took = load::submit(self.address, total).await.with_context(|| format!("submitting to {name}"))?;
        wait_until(DONE_WITHIN, &format!("{name}: all jobs are done"), async || {
            self.done.all(done_before + total).await
        })
        .await?;
        let seconds = begun_at.elapsed().as_secs_f64();
        let done = self.done.count().await?.saturating_sub(done_before);
        ensure!(done == total, "{name}: {total} jobs were accepted, {done} done");
        let (p50_ms, p99_ms) = (load::percentile_ms(&took, 50), load::percentile_ms(&took, 99));
        self.meter.charge(&before, Run { operations: total, seconds, p50_ms, p99_ms, ..Run::default() })
    }
}

impl Done {
    async fn all(&self, expected: u64) -> Result<bool> {
        match self {
            Self::Listing { edge, .. } => {
                for status in ["scheduled", "queued", "running"] {
                    if any(edge, status).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Redis { .. } => Ok(self.count().await? >= expected),
        }
    }

    async fn count(&self) -> Result<u64> {
        match self {
            Self::Listing { edge, store } => {
                for status in ["failed", "cancelled"] {
                    ensure!(!any(edge, status).await?, "a job is {status}");
                }
                let text = store.get("/metrics").await?.body;
                let metrics = tests::cluster::Metrics::parse(&String::from_utf8_lossy(&text));
                let completed = metrics.sum("longshore_store_transitions_total", &["transition=\"settled\""]);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of whole jobs")]
                Ok(completed as u64)
            }
            Self::Redis { address, database, command } => redis::count(*address, *database, command).await,
        }
    }
}

async fn any(edge: &Http, status: &str) -> Result<bool> {
    let page: Value = edge.get(&format!("/jobs?limit=1&status={status}")).await?.expect(200)?;
    Ok(!page["jobs"].as_array().context("a page of jobs")?.is_empty())
}
