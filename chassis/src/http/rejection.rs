//! Errors of handlers. Who answers with what:
//!
//! - The request is at fault: a [`Problem`] of the catalogue, with its own detail; `?` turns it into a [`Rejection`].
//! - A part behind us is at fault: the typed clients' errors turn into 502, 503 or 504, or pass its problem on.
//! - We are at fault: any `anyhow::Error` is logged here, once, and answered by the fixed text of `internal`.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use protocol::problem::{self, Kind, Problem};

/// A problem on its way out. Boxed, because it is rare and the good way should not carry its size.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection(pub Box<Problem>);

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Rejection {
        Rejection(Box::new(problem))
    }
}

impl From<Kind> for Rejection {
    fn from(kind: Kind) -> Rejection {
        kind.problem().into()
    }
}

impl From<anyhow::Error> for Rejection {
    fn from(error: anyhow::Error) -> Rejection {
        tracing::error!(error = format!("{error:#}"), "internal error");
        Kind::Internal.into()
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let problem = *self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if let Some(seconds) = problem.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rejection: Rejection, status: u16, retry_after: Option<&str>) {
        let response = rejection.into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], problem::CONTENT_TYPE);
        assert_eq!(response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap()), retry_after);
    }

    #[test]
    fn problems_become_answers() {
        check(Kind::NotFound.into(), 404, None);
        check(Kind::Unavailable.into(), 503, Some("1"));
        check(Kind::RateLimited.problem().retry_after_s(9).into(), 429, Some("9"));
        check(anyhow::anyhow!("the inside").into(), 500, None);
    }
}
