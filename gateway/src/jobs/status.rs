//! `GET /jobs/{id}`, its payload, its result and its logs: what the store says, passed on byte by byte.

use axum::response::Response;
use chassis::clock;
use chassis::http::{Path, Rejection};
use http::header::{LOCATION, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue};
use protocol::api::{JobView, Links};
use protocol::explain::Explanation;
use protocol::ids::JobId;
use protocol::logs::JobLogs;
use protocol::problem::{Kind, Problem};

use super::list::pass_on;
use super::prefer::{PREFERENCE_APPLIED, Prefer};
use super::seen::{Seen, retry_after_s};
use super::waiting::{Waited, until_ended};
use crate::conditional::{kept, with_etag};
use crate::openapi::problems::{Any, OfJob, OfResult};
use crate::openapi::{JOBS, headers};
use crate::state::Gateway;

const JSON: &str = "application/json";

/// `GET /jobs/{id}`, at once or, with `Prefer: wait=N`, when the job has ended.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = JOBS, operation_id = "getJob",
    summary = "Look at a job, or wait for its end",
    params(("id" = JobId, Path, description = "The job."), headers::Prefer, headers::IfNoneMatch),
    responses(
        (status = 200, description = "The job. `Retry-After` is missing once it has ended.", body = JobView,
            headers(("ETag"), ("Cache-Control"), ("Vary"), ("Retry-After"), ("Preference-Applied")),
            example = json!({
                "job_id": "01a20a59-5fec-74eb-a10c-46db8b4b689d", "task": "report_2", "queue": "default", "priority": "normal",
                "status": "running", "run": 1, "attempt": 1, "max_attempts": 5, "crashes": 0, "progress": {"fraction": 0.4},
                "created_at": "2026-11-23T21:39:19.150Z", "started_at": "2026-11-23T21:39:19.151Z",
                "links": {
                    "self": "/jobs/01a20a59-5fec-74eb-a10c-46db8b4b689d",
                    "result": "/jobs/01a20a59-5fec-74eb-a10c-46db8b4b689d/result",
                    "cancel": "/jobs/01a20a59-5fec-74eb-a10c-46db8b4b689d/cancel",
                },
            })),
        (status = 304, description = "It is as the client knows it.",
            headers(("ETag"), ("Cache-Control"), ("Vary"), ("Retry-After"), ("Preference-Applied"))),
        Any, OfJob,
    ),
)]
pub(crate) async fn job(
    gateway: Gateway,
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
#[utoipa::path(
    get, path = "/jobs/{id}/result", tag = JOBS, operation_id = "getJobResult",
    summary = "The result alone, as the task gave it",
    params(("id" = JobId, Path, description = "The job."), headers::IfNoneMatch),
    responses(
        (status = 200, description = "Any JSON.", body = Value, content_type = "application/json", headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"))),
        Any, OfResult,
    ),
)]
pub(crate) async fn result(
    gateway: Gateway,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    part(&gateway, job_id, "result", &headers).await
}

/// `GET /jobs/{id}/payload`: what it was submitted with.
#[utoipa::path(
    get, path = "/jobs/{id}/payload", tag = JOBS, operation_id = "getJobPayload",
    summary = "A job's payload, as it was submitted",
    params(("id" = JobId, Path, description = "The job."), headers::IfNoneMatch),
    responses(
        (status = 200, description = "Any JSON.", body = Value, content_type = "application/json", headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"))),
        Any, OfJob,
    ),
)]
pub(crate) async fn payload(
    gateway: Gateway,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    part(&gateway, job_id, "payload", &headers).await
}

/// `GET /jobs/{id}/explain`: why it does not run.
#[utoipa::path(
    get, path = "/jobs/{id}/explain", tag = JOBS, operation_id = "explainJob",
    summary = "Why it does not run",
    params(("id" = JobId, Path, description = "The job.")),
    responses(
        (status = 200, description = "In one sentence, and in parts.", body = Explanation, headers(("Cache-Control"))),
        Any, OfJob,
    ),
)]
pub(crate) async fn explain(gateway: Gateway, Path(job_id): Path<JobId>) -> Result<Response, Rejection> {
    pass_on(&gateway, &format!("/jobs/{job_id}/explain"), None).await
}

/// `GET /jobs/{id}/logs`: what its last attempts wrote.
#[utoipa::path(
    get, path = "/jobs/{id}/logs", tag = JOBS, operation_id = "getJobLogs",
    summary = "What its last attempts wrote to stdout and stderr",
    params(("id" = JobId, Path, description = "The job."), headers::IfNoneMatch),
    responses(
        (status = 200, description = "The last 64 KiB of each of the last 5 attempts that wrote anything.", body = JobLogs,
            headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "They are what the client has.", headers(("ETag"), ("Cache-Control"))),
        Any, OfJob,
    ),
)]
pub(crate) async fn logs(
    gateway: Gateway,
    Path(job_id): Path<JobId>,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    part(&gateway, job_id, "logs", &headers).await
}

async fn part(gateway: &Gateway, job_id: JobId, name: &str, headers: &HeaderMap) -> Result<Response, Rejection> {
    let answer = gateway.store.get(format!("/jobs/{job_id}/{name}")).await?;
    Ok(with_etag(JSON, answer.body, headers))
}

/// 200 with a job as it was seen, or 304.
fn answer(seen: Seen, headers: &HeaderMap) -> Response {
    let Seen { json, state, .. } = seen;
    let mut response = with_etag(JSON, json, headers);
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

fn too_many_wait() -> Problem {
    Kind::RateLimited.detail("Too many requests wait for the end of a job; ask without Prefer: wait, or later.")
}
