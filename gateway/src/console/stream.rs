//! `GET /console/events`: the overview as server-sent events, about once a second for as long as somebody watches.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use chassis::http::Rejection;
use futures_util::stream;

use crate::jobs::events::too_many;
use crate::state::Gateway;

/// When a client that lost its stream comes back.
const RETRY: Duration = Duration::from_secs(1);

/// Each event is a whole snapshot: a client that reads slowly gets fewer of them, never old ones.
pub(super) async fn events(gateway: Gateway) -> Result<Response, Rejection> {
    let Some(open) = gateway.streams.enter() else { return Err(too_many().into()) };
    let watcher = gateway.overview.watch();
    let events = stream::unfold((watcher, gateway, open), |(mut watcher, gateway, open)| async move {
        let snapshot = tokio::select! {
            snapshot = watcher.next() => snapshot?,
            () = gateway.shutdown.draining() => return None,
        };
        let event = Event::default().event("overview").retry(RETRY).data(&*snapshot);
        Some((Ok::<_, Infallible>(event), (watcher, gateway, open)))
    });
    Ok(Sse::new(events).into_response())
}
