//! Closes fences: looks after each change and at each end of a lease how far everything is fenced, and posts it to the store.

use std::sync::Arc;
use std::time::Duration;

use chassis::shutdown::Shutdown;
use futures_util::future::OptionFuture;
use protocol::ids::Position;
use protocol::invalidation::Term;

use crate::seat::Seat;
use crate::store::Store;

/// Between tries to post while the store is away.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until the shutdown drains.
pub(crate) async fn close(seat: Arc<Seat>, store: Store, shutdown: Shutdown) {
    let closing = async {
        let mut changes = seat.changes();
        let mut posting: Option<(Term, Position)> = None;
        loop {
            changes.mark_unchanged();
            let closing = seat.close();
            posting = closing.post.or(posting);
            gauge(seat.open_fences());
            if let Some((term, through)) = posting {
                match store.post_fenced(term, through).await {
                    Ok(()) => posting = None,
                    Err(error) => {
                        tracing::debug!(%error, through = through.0, "a closed fence was not posted yet");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                continue;
            }
            let again: OptionFuture<_> = closing.again_ms.map(Duration::from_millis).map(tokio::time::sleep).into();
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                Some(()) = again => {}
            }
        }
    };
    tokio::select! {
        () = closing => {}
        () = shutdown.draining() => {}
    }
}

fn gauge(open_fences: u64) {
    let open = u32::try_from(open_fences).unwrap_or(u32::MAX);
    metrics::gauge!("longshore_open_fences", "program" => "cache-svc").set(f64::from(open));
}
