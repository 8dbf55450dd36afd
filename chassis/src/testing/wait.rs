//! Waiting for a condition instead of sleeping and hoping.

use std::time::Duration;

use tokio::time::Instant;

/// Waits until `condition` holds, looking every few milliseconds.
///
/// # Panics
/// At the deadline, naming what was waited for.
pub async fn wait_until<F: Future<Output = bool>>(deadline: Duration, what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
