//! `GET /read/{key}`: a gateway's read through the shared cache.

use axum::extract::State;
use chassis::clock;
use chassis::http::{Json, Path, Query, Rejection};
use protocol::cache_api::{AtLeast, ReadAnswer, ReadQuery, key_of_path};
use serde_json::value::RawValue;

use super::Service;

pub(super) async fn read(
    State(service): State<Service>,
    Path(key): Path<String>,
    Query(ReadQuery { at_least }): Query<ReadQuery>,
) -> Result<Json<ReadAnswer>, Rejection> {
    let key = key_of_path(key)?;
    let (entry, source) = service.loader.read(key.as_str(), AtLeast(at_least)).await?;
    let now_ms = clock::now_ms();
    Ok(Json(ReadAnswer {
        source,
        found: entry.value.is_some(),
        data: entry.value.clone().unwrap_or_else(|| RawValue::NULL.to_owned()),
        version: entry.version,
        tags: entry.tags.clone(),
        media_type: entry.media_type.clone(),
        read_at: entry.read_at,
        mark: Some(entry.mark),
        age_ms: now_ms.saturating_sub(entry.loaded_ms),
        ttl_ms: entry.expires_ms.saturating_sub(entry.loaded_ms),
    }))
}
