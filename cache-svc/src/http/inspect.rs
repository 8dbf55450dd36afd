//! What each tier holds of a key: for gateways that are asked, and for operators.

use std::time::Duration;

use axum::extract::State;
use chassis::clock;
use chassis::http::{Json, Path, Rejection};
use protocol::cache_api::key_of_path;
use protocol::inspection::{CacheDebug, INSPECTION_WAIT_MS_MAX, InspectionAnswer, InspectionRequest, SharedHeld};
use protocol::problem::Kind;
use tokio::time::Instant;

use super::Service;
use crate::entry::Entry;

/// `POST /inspections`: answered when there is something to look at, else after the stated wait.
pub(super) async fn inspections(
    State(service): State<Service>,
    Json(request): Json<InspectionRequest>,
) -> Json<InspectionAnswer> {
    let InspectionRequest { holder, answers, wait_ms } = request;
    let until = Instant::now() + Duration::from_millis(wait_ms.min(INSPECTION_WAIT_MS_MAX));
    service.inspections.answered(holder, answers);
    let mut changes = service.inspections.changes();
    let looking = changes.wait_for(|_| !service.inspections.for_holder(holder).is_empty());
    tokio::select! {
        _ = looking => {}
        () = tokio::time::sleep_until(until) => {}
        () = service.shutdown.draining() => {}
    }
    Json(InspectionAnswer { questions: service.inspections.for_holder(holder) })
}

/// `GET /cache/debug/{key}`
pub(super) async fn debug(
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<Json<CacheDebug>, Rejection> {
    let key = key_of_path(key)?;
    let (term, seq, fenced) = service.seat.standing().ok_or(Kind::NotSequencer)?;
    let shared = service.seat.shared.peek(key.as_str()).map(|entry| shown(&entry));
    let answers = service.inspections.ask(key.as_str(), service.seat.holders()).await?;
    let (gateways, silent) = (answers.views, answers.silent);
    Ok(Json(CacheDebug { key: key.into(), term, seq, fenced, shared, gateways, silent }))
}

fn shown(entry: &Entry) -> SharedHeld {
    SharedHeld {
        absent: entry.value.is_none(),
        is_override: entry.is_override(),
        version: entry.version,
        read_at: entry.read_at,
        mark: Some(entry.mark),
        tags: entry.tags.clone(),
        age_ms: clock::now_ms().saturating_sub(entry.loaded_ms),
        ttl_ms: entry.expires_ms.saturating_sub(entry.loaded_ms),
    }
}
