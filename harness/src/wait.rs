//! Waiting for the thing itself, with a deadline: the only way in which tests let time pass.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

const POLL_EVERY: Duration = Duration::from_millis(20);

/// Polls `probe` until it yields a value. An error of the probe is no failure yet (a restarting program refuses connections); the last one
/// is shown when the deadline passes.
pub async fn eventually<T>(
    within: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut last_error = None;
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => last_error = None,
            Ok(Err(error)) => last_error = Some(error),
            Err(_) => last_error = last_error.or_else(|| Some(anyhow::anyhow!("the probe itself did not return"))),
        }
        if Instant::now() >= deadline {
            match last_error {
                Some(error) => bail!("not within {within:?}: {what} (last error: {error:#})"),
                None => bail!("not within {within:?}: {what}"),
            }
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// `eventually` for a plain condition.
pub async fn wait_until(within: Duration, what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    eventually(within, what, async || Ok(condition().await?.then_some(()))).await
}

/// The work's outcome, or an error at SIGINT or SIGTERM; then the work is dropped, and with it what it has started.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
