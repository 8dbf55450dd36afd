//! `POST /renewals`: answered on news, else after the stated wait.

use std::time::Duration;

use axum::extract::State;
use chassis::clock;
use chassis::http::{Json, Rejection};
use protocol::cache_api::{RENEWAL_WAIT_MS_MAX, RenewalAnswer, RenewalRequest};
use tokio::time::Instant;

use super::{Service, refused};

pub(super) async fn renew(
    State(service): State<Service>,
    Json(request): Json<RenewalRequest>,
) -> Result<Json<RenewalAnswer>, Rejection> {
    let received_ms = clock::now_ms();
    let until = Instant::now() + Duration::from_millis(request.wait_ms.min(RENEWAL_WAIT_MS_MAX));
    let mut changes = service.seat.changes();
    service.seat.report(&request);
    while !service.seat.has_news(&request) {
        changes.mark_unchanged();
        // Once more after marking, so that a change in between is not waited for.
        if service.seat.has_news(&request) {
            break;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = tokio::time::sleep_until(until) => break,
            () = service.shutdown.draining() => break,
        }
    }
    service.seat.answer(&request, received_ms).map(Json).map_err(refused)
}
