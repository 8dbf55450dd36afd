//! `GET /data`, `GET /data/{key}` and `GET /bytes/{key}`: the answer to a read, with what HTTP's caches are told about it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::clock;
use chassis::http::{Path, Rejection};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::cache_api::{Source, key_of_path};
use protocol::problem::Kind;

use super::demand::Demand;
use super::load::{Answered, Tier};
use super::{DEFAULT_KEY, Data};
use crate::conditional::is_known;
use crate::state::Gateway;

/// RFC 9211; the first member is the tier closest to the store.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `{"cached":…,"data":…}`
    Enveloped,
    /// As it was put, with its media type.
    Bare,
}

/// `GET /data`
pub(crate) async fn default_key(State(gateway): State<Gateway>, headers: HeaderMap) -> Result<Response, Rejection> {
    get(&gateway.data, DEFAULT_KEY, &headers, Shape::Enveloped).await
}

/// `GET /data/{key}`
pub(crate) async fn key(
    State(gateway): State<Gateway>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    get(&gateway.data, key_of_path(key)?.as_str(), &headers, Shape::Enveloped).await
}

/// `GET /bytes/{key}`
pub(crate) async fn bytes(
    State(gateway): State<Gateway>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    get(&gateway.data, key_of_path(key)?.as_str(), &headers, Shape::Bare).await
}

async fn get(data: &Data, key: &str, headers: &HeaderMap, shape: Shape) -> Result<Response, Rejection> {
    let Answered { entry, tier } = data.answer(key, Demand::of(headers)?).await?;
    let Some(value) = &entry.value else {
        return Err(Kind::NotFound.detail("There is no data under this key.").into());
    };
    let age_s = clock::now_ms().saturating_sub(entry.read_ms) / 1_000;
    let fixed = [
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CACHE_STATUS, cache_status(tier, entry.source)),
        (ETAG, value.tag.clone()),
        (AGE, HeaderValue::from(age_s)),
    ];
    if is_known(value.tag.as_bytes(), headers) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let (media_type, body) = match shape {
        Shape::Bare => value.bare(),
        Shape::Enveloped => {
            let stale = matches!(tier, Tier::Stale { .. });
            let cached = stale || tier == Tier::Near || entry.source == Source::Shared;
            (HeaderValue::from_static("application/json"), value.enveloped(cached, stale))
        }
    };
    Ok((StatusCode::OK, fixed, [(CONTENT_TYPE, media_type)], body).into_response())
}

fn cache_status(tier: Tier, source: Source) -> HeaderValue {
    HeaderValue::from_static(match (tier, source) {
        (Tier::Near, _) => "longshore-near; hit",
        (Tier::Loaded { joined: false }, Source::Shared) => "longshore-shared; hit, longshore-near; fwd=miss",
        (Tier::Loaded { joined: true }, Source::Shared) => "longshore-shared; hit, longshore-near; fwd=miss; collapsed",
        (Tier::Loaded { joined: false }, Source::Store) => "longshore-shared; fwd=miss, longshore-near; fwd=miss",
        (Tier::Loaded { joined: true }, Source::Store) => {
            "longshore-shared; fwd=miss, longshore-near; fwd=miss; collapsed"
        }
        (Tier::Past, _) => "longshore-near; fwd=bypass",
        (Tier::Stale { seconds }, _) => {
            let status = format!("longshore-near; hit; ttl=-{seconds}; detail=stale-if-error");
            return HeaderValue::try_from(status).expect("it has digits and letters only");
        }
    })
}
