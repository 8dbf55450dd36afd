//! What the balancer answers itself, on the port of its clients: `/live`, `/ready`, `/metrics`.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, request};
use protocol::problem::Kind;

use crate::answer;
use crate::report;
use crate::shared::Shared;

/// The answer, if the request is for us.
pub(crate) fn answer(shared: &Shared, head: &request::Parts) -> Option<Response<Bytes>> {
    let answer = match head.uri.path() {
        "/live" => live,
        "/ready" => ready,
        "/metrics" => metrics,
        _ => return None,
    };
    if matches!(head.method, Method::GET | Method::HEAD) {
        return Some(answer(shared));
    }
    let mut refused = answer::problem(&Kind::MethodNotAllowed.problem(), false);
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(refused)
}

fn live(_: &Shared) -> Response<Bytes> {
    json(Bytes::from_static(b"{\"status\":\"live\"}"))
}

fn ready(shared: &Shared) -> Response<Bytes> {
    let report = shared.health.report(shared.shutdown.is_draining());
    let mut answer = json(Bytes::from(serde_json::to_vec(&report).unwrap_or_default()));
    if !report.status.is_serving() {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    answer
}

fn metrics(shared: &Shared) -> Response<Bytes> {
    // Also sets the recorder up, if nobody has: what is counted before that is lost.
    chassis::telemetry::fold_metrics();
    report::publish(shared);
    let mut answer = Response::new(Bytes::from(chassis::telemetry::render_metrics()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn json(body: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
