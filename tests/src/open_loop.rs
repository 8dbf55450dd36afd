//! Open loop: a request is due at its instant whether or not those before were answered, and its latency counts from that instant.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep_until};

/// The first request is due after this, so that it finds everything prepared.
const LEAD: Duration = Duration::from_millis(100);

/// Sends `per_second` requests for so long, each made from its number, and gives the time that each took, sorted. One that fails is an error.
pub async fn at_rate<F>(per_second: u32, length: Duration, request: impl Fn(usize) -> F) -> Result<Vec<Duration>>
where
    F: Future<Output = Result<()>>,
{
    let start = Instant::now() + LEAD;
    let total = per_second * u32::try_from(length.as_secs())?;
    let requests = stream::iter(0..total).map(|n| {
        let due = start + Duration::from_secs(1) * n / per_second;
        let request = request(n as usize);
        async move {
            sleep_until(due).await;
            request.await?;
            anyhow::Ok(due.elapsed())
        }
    });
    let in_sight = per_second as usize * 2;
    let mut took: Vec<Duration> = requests.buffered(in_sight).try_collect().await?;
    took.sort_unstable();
    Ok(took)
}
