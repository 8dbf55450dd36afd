//! `GET /jobs/{id}`, its payload, its result and its logs: what the store says, passed on byte by byte.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chassis::clock;
use chassis::http::{Path, Rejection};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use protocol::api::Links;
use protocol::etag::entity_tag;
use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};

use super::list::pass_on;
use super::prefer::{PREFERENCE_APPLIED, Prefer};
use super::seen::{Seen, retry_after_s};
use super::waiting::{Waited, until_ended};
use crate::conditional::{is_known, kept};
use crate::state::Gateway;

/// `GET /jobs/{id}`, at once or, with `Prefer: wait=N`, when the job has ended.
pub(crate) async fn job(
    State(gateway): State<Gateway>,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let prefer = Prefer::from_headers(&headers);
    let headers = kept(headers);
    let seen = match prefer.wait() {
        None => Seen::read(&gateway.store, job_id).await?,
        Some(wait) => match until_ended(&gateway, job_id, wait).await? {
            Waited::Seen(seen) => seen,
            Waited::Full => return Err(too_many_wait().into()),
        },
    };
    let applied = prefer.applied(prefer.wait_s.is_some(), !seen.is_terminal());
    let mut response = answer(seen, &headers);
    if let Some(applied) = applied {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// `GET /jobs/{id}/result`: what the handler gave, as it gave it.
pub(crate) async fn result(
    State(gateway): State<Gateway>,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    part(&gateway, job_id, "result", &headers).await
}

/// `GET /jobs/{id}/payload`: what it was submitted with.
pub(crate) async fn payload(
    State(gateway): State<Gateway>,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    part(&gateway, job_id, "payload", &headers).await
}

/// `GET /jobs/{id}/explain`: why it does not run.
pub(crate) async fn explain(State(gateway): State<Gateway>, Path(job_id): Path<JobId>) -> Result<Response, Rejection> {
    pass_on(&gateway, &format!("/jobs/{job_id}/explain"), None).await
}

/// `GET /jobs/{id}/logs`: what its last attempts wrote.
pub(crate) async fn logs(
    State(gateway): State<Gateway>,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    part(&gateway, job_id, "logs", &headers).await
}

async fn part(gateway: &Gateway, job_id: JobId, name: &str, headers: &HeaderMap) -> Result<Response, Rejection> {
    let answer = gateway.store.get(format!("/jobs/{job_id}/{name}")).await?;
    Ok(json_with_etag(answer.body, headers))
}

/// 200 with a job as it was seen, or 304.
fn answer(seen: Seen, headers: &HeaderMap) -> Response {
    let Seen { json, state, .. } = seen;
    let mut response = json_with_etag(json, headers);
    let answered = response.headers_mut();
    answered.insert(VARY, HeaderValue::from_static("prefer"));
    if let Some(seconds) = retry_after_s(state.status, state.run_at, clock::wall_ms()) {
        answered.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// 200 to a submit whose job has ended meanwhile.
pub(super) fn found(seen: Seen, job_id: JobId) -> Response {
    let mut response = answer(seen, &HeaderMap::new());
    if let Ok(location) = HeaderValue::try_from(Links::of(job_id).this) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The tag is a hash of the bytes, so it changes with whatever changes them.
fn json_with_etag(json: Bytes, headers: &HeaderMap) -> Response {
    let tag = entity_tag(&json);
    let fixed = [(CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let mut response = if is_known(tag.as_bytes(), headers) {
        (StatusCode::NOT_MODIFIED, fixed).into_response()
    } else {
        let json_type = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (StatusCode::OK, fixed, json_type, json).into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn too_many_wait() -> Problem {
    Kind::RateLimited.detail("Too many requests wait for the end of a job; ask without Prefer: wait, or later.")
}
