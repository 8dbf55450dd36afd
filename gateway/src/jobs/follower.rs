//! Follows the store's log while somebody waits, and tells the waiters what it says. Nobody waiting: no call.

use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::client::{Call, Error, StoreClient};
use chassis::shutdown::Shutdown;
use protocol::ids::Place;
use protocol::problem::Kind;
use protocol::store_api::LogPage;
use tokio::time::Instant;

use super::waiters::Waiters;

/// How long the store may hold the answer while nothing happens.
const HOLD: Duration = Duration::from_secs(5);
/// Over the hold, before the call counts as lost.
const GRACE: Duration = Duration::from_secs(2);

/// Runs until the shutdown begins: whoever still waits then is answered with what is.
pub(crate) async fn follow(waiters: Waiters, store: StoreClient, shutdown: Shutdown) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(2));
    let follow = async {
        loop {
            let after = waiters.place().await;
            let asked_at = Instant::now();
            match page(&store, after).await {
                Ok(page) if !page.entries.is_empty() || asked_at.elapsed() >= HOLD / 2 => {
                    backoff.reset();
                    waiters.told(after, &page);
                }
                Ok(page) => {
                    // A store that drains holds nothing: do not ask it as fast as it answers.
                    waiters.told(after, &page);
                    tokio::time::sleep(backoff.next_random()).await;
                }
                Err(error) if error.kind() == Some(Kind::LogTrimmed) => waiters.lost(after),
                Err(error) => {
                    tracing::debug!(%error, "the log cannot be followed");
                    tokio::time::sleep(backoff.next_random()).await;
                }
            }
        }
    };
    tokio::select! {
        () = follow => {}
        () = shutdown.draining() => {}
    }
}

async fn page(store: &StoreClient, after: Place) -> Result<LogPage, Error> {
    let path = format!("/log?after={}&kinds=job&wait_ms={}", after.position, HOLD.as_millis());
    let answer = store.peer().call(&Call::get(path).within(HOLD + GRACE)).await?;
    Ok(answer.json()?.body)
}
