//! `GET /read/{key}`: a gateway's read through the shared cache.

use axum::extract::State;
use chassis::clock;
use chassis::http::{Json, Path, Rejection};
use protocol::cache_api::ReadAnswer;
use protocol::key::DataKey;
use protocol::problem::Problem;
use serde_json::value::RawValue;

use super::Service;

pub(super) async fn read(
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<Json<ReadAnswer>, Rejection> {
    let key = checked(key)?;
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

/// A key from a path.
///
/// # Errors
/// 422 with the rule that it breaks.
pub(super) fn checked(key: String) -> Result<DataKey, Problem> {
    DataKey::try_from(key).map_err(|error| Problem::invalid("/key", format!("The key {error}.")))
}
