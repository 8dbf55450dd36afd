//! The loop that retries many jobs at the rate that was asked for. How far each has come is in the store, so it goes on after a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::clock;
use protocol::bulk_retry::{BulkRetry, Pace};
use protocol::ids::RetryId;

use crate::hub::Hub;
use crate::readers::Readers;
use crate::writer::Writer;

const STEP_EVERY: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Steps in a row that may find nothing to retry, before others get their turn.
const SEARCHES_MAX: usize = 10;
/// Jobs retried in one transaction.
const JOBS_MAX: u32 = 256;

/// Works while there are any; else it waits.
pub(crate) async fn work(readers: Readers, writer: Writer, hub: Arc<Hub>) {
    let mut worker = Worker { readers, writer, paces: HashMap::new() };
    loop {
        match worker.round().await {
            Ok(true) => tokio::time::sleep(STEP_EVERY).await,
            Ok(false) => hub.retries.notified().await,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "jobs could not be retried");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

struct Worker {
    readers: Readers,
    writer: Writer,
    paces: HashMap<RetryId, Pace>,
}

impl Worker {
    /// One step of each; `false`: there are none.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let running = self.readers.read(|reader| reader.running_retries()).await?;
        self.paces.retain(|id, _| running.iter().any(|retry| retry.retry_id == *id));
        for retry in &running {
            self.step(retry).await?;
        }
        Ok(!running.is_empty())
    }

    async fn step(&mut self, retry: &BulkRetry) -> anyhow::Result<()> {
        let id = retry.retry_id;
        let now_ms = clock::now_ms();
        let pace = self.paces.entry(id).or_insert_with(|| Pace::new(retry.rate_per_second, retry.retried, now_ms));
        pace.hear(retry.retried, now_ms);
        for _ in 0..SEARCHES_MAX {
            let jobs = pace.allows(clock::now_ms()).min(JOBS_MAX);
            if jobs == 0 {
                return Ok(());
            }
            let step = self.writer.step(move |transitions| transitions.retry_some(id, jobs)).await?;
            pace.took(step.retried);
            if step.ended {
                tracing::info!(retry = %id, "a retry of many jobs has ended");
            }
            if step.ended || step.blocked {
                return Ok(());
            }
        }
        Ok(())
    }
}
