//! `GET /read/{key}`: a gateway's read through the shared cache.

use axum::extract::State;
use chassis::clock;
use chassis::http::{Json, Path, Rejection};
use protocol::cache_api::{ReadAnswer, key_of_path};
use serde_json::value::RawValue;

use super::Service;

pub(super) async fn read(
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<Json<ReadAnswer>, Rejection> {
    let key = key_of_path(key)?;
    let (entry, source) = service.loader.read(key.as_str()).await?;
    let now_ms = clock::now_ms();
    Ok(Json(ReadAnswer {
        source,
        found: entry.value.is_some(),
        data: entry.value.clone().unwrap_or_else(|| RawValue::NULL.to_owned()),
        version: entry.version,
        tags: Vec::new(),
        age_ms: now_ms.saturating_sub(entry.loaded_ms),
        ttl_ms: entry.expires_ms.saturating_sub(entry.loaded_ms),
    }))
}
