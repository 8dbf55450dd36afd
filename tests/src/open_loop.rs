//! Open loop: a request is due at its instant whether or not those before were answered, and its latency counts from that instant.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use harness::pacer::Pacer;
use tokio::time::Instant;

/// The first request is due after this, so that it finds everything prepared.
const LEAD: Duration = Duration::from_millis(100);
/// Requests may be without an answer for so many seconds of the rate; a further one waits, and its latency goes on counting.
const IN_SIGHT_SECONDS: usize = 2;

/// Sends `per_second` requests for so long, each made from its number, and gives the time that each took, sorted. One that fails is an error.
pub async fn at_rate<F>(per_second: u32, length: Duration, request: impl Fn(usize) -> F) -> Result<Vec<Duration>>
where
    F: Future<Output = Result<()>>,
{
    let start = Instant::now() + LEAD;
    let total = per_second * u32::try_from(length.as_secs())?;
    let in_sight = per_second as usize * IN_SIGHT_SECONDS;
    let (mut pacer, mut running, mut took) = (Pacer::new()?, FuturesUnordered::new(), Vec::new());
    for n in 0..total {
        let due = start + Duration::from_secs(1) * n / per_second;
        loop {
            tokio::select! {
                // Those under way first: a generator that is late sends in between, not all at once.
                biased;
                Some(answered) = running.next() => took.push(answered?),
                reached = pacer.until(due), if running.len() < in_sight => break reached?,
            }
        }
        let request = request(n as usize);
        running.push(async move {
            request.await?;
            anyhow::Ok(due.elapsed())
        });
    }
    while let Some(answered) = running.next().await {
        took.push(answered?);
    }
    took.sort_unstable();
    Ok(took)
}
