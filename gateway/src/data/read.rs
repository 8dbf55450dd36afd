//! `GET /data`, `GET /data/{key}` and `GET /bytes/{key}`: the answer to a read, with what HTTP's caches are told about it.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chassis::clock;
use chassis::http::{AtOnce, Path, Rejection};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::Full;
use protocol::access::Scope;
use protocol::cache_api::{Source, key_of_path};
use protocol::key::DataKey;
use protocol::problem::Kind;

use super::demand::{Demand, at_least};
use super::entry::DataRead;
use super::load::{Answered, Tier};
use super::{DEFAULT_KEY, Data};
use crate::access::Access;
use crate::conditional::is_known;
use crate::openapi::problems::{Any, OfName, OfParameters};
use crate::openapi::{DATA, headers};
use crate::state::Gateway;

const ABSENT: &str = "There is no data under this key.";
/// Fields of an answer, so that their map is made once.
const FIELDS: usize = 8;
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
#[utoipa::path(
    get, path = "/data", tag = DATA, operation_id = "getDefaultData",
    summary = "Read the key my_data",
    params(headers::IfNoneMatch, headers::Token, headers::StaleIfError),
    responses(
        (status = 200, description = "The value, and whether it came from a cache.", body = DataRead,
            headers(("ETag"), ("Cache-Control"), ("Cache-Status"), ("Age")),
            example = json!({"cached": false, "data": "Fetched fresh data from DB"})),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"), ("Cache-Status"), ("Age"))),
        Any, OfName,
    ),
)]
pub(crate) async fn default_key(gateway: Gateway, headers: HeaderMap) -> Result<Response, Rejection> {
    get(&gateway, DEFAULT_KEY.to_owned(), &headers, Shape::Enveloped).await
}

/// `GET /data/{key}`
#[utoipa::path(
    get, path = "/data/{key}", tag = DATA, operation_id = "getData",
    summary = "Read data",
    params(
        ("key" = DataKey, Path, description = "Percent-encoded.", example = "my_data"),
        headers::IfNoneMatch, headers::Token, headers::StaleIfError,
    ),
    responses(
        (status = 200, description = "The value, and whether it came from a cache.", body = DataRead,
            headers(("ETag"), ("Cache-Control"), ("Cache-Status"), ("Age")),
            example = json!({"cached": false, "data": "Fetched fresh data from DB"})),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"), ("Cache-Status"), ("Age"))),
        Any, OfName, OfParameters,
    ),
)]
pub(crate) async fn key(gateway: Gateway, Path(key): Path<String>, headers: HeaderMap) -> Result<Response, Rejection> {
    get(&gateway, key, &headers, Shape::Enveloped).await
}

/// `GET /bytes/{key}`
#[utoipa::path(
    get, path = "/bytes/{key}", tag = DATA, operation_id = "getBytes",
    summary = "Read data as they are, with their media type",
    params(
        ("key" = DataKey, Path, description = "Percent-encoded.", example = "label"),
        headers::IfNoneMatch, headers::Token, headers::StaleIfError,
    ),
    responses(
        (status = 200, description = "The bytes; of JSON data, the bare JSON.", content_type = "*/*", body = Value,
            headers(("ETag"), ("Cache-Control"), ("Cache-Status"), ("Age"))),
        (status = 304, description = "They are what the client has.", headers(("ETag"), ("Cache-Control"), ("Cache-Status"), ("Age"))),
        Any, OfName, OfParameters,
    ),
)]
pub(crate) async fn bytes(
    gateway: Gateway,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    get(&gateway, key, &headers, Shape::Bare).await
}

async fn get(gateway: &Gateway, key: String, headers: &HeaderMap, shape: Shape) -> Result<Response, Rejection> {
    let key = gateway.caller.key(key_of_path(key)?, "/key")?;
    let answered = gateway.data.answer(key.as_str(), Demand::of(headers)?).await?;
    let response = shown(&answered, headers, shape).ok_or_else(|| Kind::NotFound.detail(ABSENT))?;
    Ok(response.map(Body::from))
}

/// What is answered before it is routed: most reads are near hits, which need neither a route nor a wait. Who calls must be known all the same: whom
/// nobody has heard of lately, the router asks.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) data: Data,
    pub(crate) access: Access,
}

impl AtOnce for Front {
    fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<(&'static str, http::Response<Full<Bytes>>)> {
        let (route, key, shape) = target(method, uri)?;
        let principal = self.access.at_once(headers, Scope::Read)?;
        let answered = self.data.hit(&principal.kept(key), at_least(headers).ok()?)?;
        Some((route, shown(&answered, headers, shape)?.map(Full::new)))
    }
}

/// The route of a read of data, its key, and the shape of the answer. A key that is encoded is left to the router.
fn target<'a>(method: &Method, uri: &'a Uri) -> Option<(&'static str, &'a str, Shape)> {
    if method != Method::GET || uri.query().is_some() {
        return None;
    }
    let path = uri.path();
    let (route, key, shape) = match (path.strip_prefix("/data"), path.strip_prefix("/bytes/")) {
        (Some(""), _) => ("/data", DEFAULT_KEY, Shape::Enveloped),
        (Some(rest), _) => ("/data/{key}", rest.strip_prefix('/')?, Shape::Enveloped),
        (None, Some(key)) => ("/bytes/{key}", key, Shape::Bare),
        (None, None) => return None,
    };
    (!key.is_empty() && !key.contains(['/', '%'])).then_some((route, key, shape))
}

/// `None`: there is nothing under the key.
fn shown(answered: &Answered, headers: &HeaderMap, shape: Shape) -> Option<http::Response<Bytes>> {
    let Answered { entry, tier } = answered;
    let value = entry.value.as_ref()?;
    let mut response = http::Response::new(Bytes::new());
    let mut fields = HeaderMap::with_capacity(FIELDS);
    if is_known(value.tag.as_bytes(), headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let (media_type, body) = match shape {
            Shape::Bare => value.bare(),
            Shape::Enveloped => {
                let stale = matches!(tier, Tier::Stale { .. });
                let cached = stale || *tier == Tier::Near || entry.source == Source::Shared;
                (HeaderValue::from_static("application/json"), value.enveloped(cached, stale))
            }
        };
        fields.insert(CONTENT_TYPE, media_type);
        *response.body_mut() = body;
    }
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.insert(CACHE_STATUS, cache_status(*tier, entry.source));
    fields.insert(ETAG, value.tag.clone());
    fields.insert(AGE, age(clock::now_ms().saturating_sub(entry.read_ms) / 1_000));
    *response.headers_mut() = fields;
    Some(response)
}

/// Made once for the ages that most answers have.
fn age(seconds: u64) -> HeaderValue {
    static AGES: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| (0..600).map(|age: u64| age.into()).collect());
    let known = usize::try_from(seconds).ok().and_then(|seconds| AGES.get(seconds).cloned());
    known.unwrap_or_else(|| seconds.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_recognized_before_they_are_routed() {
        let check = |method: Method, uri: &str, expected: Option<(&str, &str)>| {
            let uri: Uri = uri.parse().expect("a target");
            assert_eq!(target(&method, &uri).map(|(route, key, _)| (route, key)), expected, "{method} {uri}");
        };
        check(Method::GET, "/data", Some(("/data", "my_data")));
        check(Method::GET, "/data/a:b", Some(("/data/{key}", "a:b")));
        check(Method::GET, "/bytes/a", Some(("/bytes/{key}", "a")));
        for other in ["/data/", "/data/a/b", "/data/a%20b", "/data?x=1", "/database", "/bytes", "/bytes/", "/jobs/a"] {
            check(Method::GET, other, None);
        }
        check(Method::PUT, "/data/a", None);
        check(Method::HEAD, "/data/a", None);
    }
}
