//! Closes fences: looks after each change and at each end of a lease how far everything is fenced, and posts it to the store. A post under
//! way, or a store that is away, holds up no fence of an invalidation over HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chassis::client::Error;
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::shutdown::Shutdown;
use futures_util::future::OptionFuture;
use protocol::ids::Position;
use protocol::invalidation::Term;

use crate::seat::Seat;
use crate::store::Store;

/// Between tries to post while the store is away.
const PAUSE: Duration = Duration::from_millis(100);

/// What everything in the log is fenced through, in a term.
type Fenced = (Term, Position);

/// Runs until the shutdown drains.
pub(crate) async fn close(seat: Arc<Seat>, store: Store, shutdown: Shutdown) {
    tokio::select! {
        () = close_and_post(&seat, &store) => {}
        () = shutdown.draining() => {}
    }
}

async fn close_and_post(seat: &Seat, store: &Store) {
    let mut changes = seat.changes();
    let mut due: Option<Fenced> = None;
    let mut posting: OptionFuture<Pin<Box<_>>> = None.into();
    let mut is_posting = false;
    loop {
        changes.mark_unchanged();
        let closing = seat.close();
        gauge(seat.open_fences());
        due = closing.post.or(due);
        if !is_posting && let Some(fenced) = due.take() {
            posting = Some(Box::pin(post(store, fenced))).into();
            is_posting = true;
        }
        let again: OptionFuture<_> = closing.again_ms.map(Duration::from_millis).map(tokio::time::sleep).into();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(()) = again => {}
            Some(posted) = &mut posting, if is_posting => {
                is_posting = false;
                due = due.or(posted.err());
            }
        }
    }
}

/// # Errors
/// What was not posted, after a pause: to be posted again unless there is something later.
async fn post(store: &Store, (term, through): Fenced) -> Result<(), Fenced> {
    fault_point(FaultPoint::CacheBeforePost);
    let posted: Result<(), Error> = store.post_fenced(term, through).await;
    fault_point(FaultPoint::CacheAfterPost);
    let Err(error) = posted else { return Ok(()) };
    tracing::debug!(%error, through = through.0, "a closed fence was not posted yet");
    tokio::time::sleep(PAUSE).await;
    Err((term, through))
}

fn gauge(open_fences: u64) {
    let open = u32::try_from(open_fences).unwrap_or(u32::MAX);
    metrics::gauge!("longshore_open_fences", "program" => "cache-svc").set(f64::from(open));
}
