//! The cache's own routes: look at what is held, override it.

use axum::extract::State;
use chassis::clock;
use chassis::http::{Json, Path, Rejection};
use protocol::cache_api::{CacheHeld, CacheOverridden, CacheOverride, Okay, key_of_path};
use protocol::problem::Kind;

use super::invalidate::{FENCE_DEADLINE, fenced};
use super::{Service, refused};

/// `GET /cache/{key}`: what is held, without loading anything.
pub(super) async fn held(
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<Json<CacheHeld>, Rejection> {
    let key = key_of_path(key)?;
    if !service.seat.holds() {
        return Err(Kind::NotSequencer.into());
    }
    let entry = service.seat.shared.get(key.as_str(), clock::now_ms());
    Ok(Json(CacheHeld { value: entry.and_then(|entry| entry.value.clone()) }))
}

/// `POST /cache/{key}`: an explicit value, sequenced and fenced like an invalidation, then held until the next one or its TTL.
pub(super) async fn put(
    State(service): State<Service>,
    Path(key): Path<String>,
    Json(body): Json<CacheOverride>,
) -> Result<Json<CacheOverridden>, Rejection> {
    let key = key_of_path(key)?;
    let issued = service.seat.put(key.as_str(), body.value, service.loader.override_ttl_ms()).map_err(refused)?;
    service.announcer.announce(&issued);
    fenced(&service, &issued, FENCE_DEADLINE).await?;
    Ok(Json(CacheOverridden { status: Okay::Ok, seq: issued.entry.seq, fenced: true }))
}
