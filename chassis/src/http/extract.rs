//! Extractors whose refusals are problems: not JSON 400, wrong media type 415, too large 413, not what was asked for 422.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use protocol::problem::{Kind, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::TooLarge;
use super::rejection::Rejection;

mod fault;
mod query;

pub use query::Query;

/// A body must have arrived by then; a held connection costs memory.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A JSON body, in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A path parameter. One that does not parse is an id that does not exist: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

/// A body of any type, as bytes within the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl<T> Json<T>
where
    T: DeserializeOwned,
{
    /// The value of a JSON text, for bodies that are read in another way.
    ///
    /// # Errors
    /// 400 if it is not JSON, 422 with a pointer if it is not what was asked for.
    pub fn from_bytes(bytes: &[u8]) -> Result<T, Problem> {
        if fault::is_array(bytes) && fault::wants_object::<T>() {
            return Err(fault::of_json::<T>(bytes));
        }
        serde_json::from_slice(bytes).map_err(|_| fault::of_json::<T>(bytes))
    }
}

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, _state: &S) -> Result<Json<T>, Rejection> {
        if !is_json(request.headers()) {
            return Err(Kind::UnsupportedMediaType.into());
        }
        let bytes = read(request).await?;
        Ok(Json(Json::from_bytes(&bytes)?))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
            Err(error) => Rejection::from(anyhow::Error::from(error)).into_response(),
        }
    }
}

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Rejection> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(error) if error.status().is_server_error() => Err(anyhow::Error::from(error).into()),
            Err(_) => Err(Kind::NotFound.into()),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Rejection;

    async fn from_request(request: Request, _state: &S) -> Result<Body, Rejection> {
        Ok(Body(read(request).await?))
    }
}

/// The whole body. Its limit was set where the connection was accepted.
async fn read(request: Request) -> Result<Bytes, Problem> {
    let body = tokio::time::timeout(BODY_DEADLINE, request.into_body().collect()).await;
    match body {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_too_large(&error) => Err(Kind::PayloadTooLarge.problem()),
        // Nobody reads this answer: the client went away or broke its own framing.
        Ok(Err(_)) => Err(Kind::BadRequest.detail("The body ended too early or is not framed correctly.")),
        Err(_) => Err(Kind::RequestTimeout.problem()),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<TooLarge>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(stated)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let essence = stated.split(';').next().unwrap_or_default().trim();
    let is_suffixed = || {
        let suffix = essence.len().checked_sub("+json".len()).and_then(|start| essence.get(start..));
        suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
    };
    essence.eq_ignore_ascii_case("application/json") || is_suffixed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str, expected: bool) {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())]);
        assert_eq!(is_json(&headers), expected, "{content_type}");
    }

    #[test]
    fn json_goes_by_several_names() {
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/merge-patch+json", true);
        for other in ["text/plain", "", "application/jsonlines", "json", "application/x-www-form-urlencoded", "+jso"] {
            check(other, false);
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
