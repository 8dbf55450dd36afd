//! `POST /jobs:retry`: jobs that failed or were cancelled, by filter. Checked here, done by the store in its own time.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use http::header::LOCATION;
use protocol::bulk_retry::{
    BulkRetries, BulkRetry, LIMIT_MAX, RATE_DEFAULT, RATE_MAX, RetryFilter, RetryMany, RetryPreview,
};
use protocol::ids::RetryId;
use protocol::problem::{FieldError, Problem};
use protocol::store_api::{Command, Reply, RetryJobs};

use super::control::unexpected;
use super::list::pass_on;
use crate::openapi::JOBS;
use crate::openapi::problems::{Any, OfJson, OfName};
use crate::state::Gateway;

const PATH: &str = "/jobs:retry";

/// 200 with what a dry run found, 202 with what was begun.
#[utoipa::path(
    post, path = "/jobs:retry", tag = JOBS, operation_id = "retryJobs",
    summary = "Retry many jobs, by filter",
    description = "The oldest first, at a rate, in the store's own time; a restart goes on where it was.",
    request_body(content = RetryMany, examples(
        ("try" = (summary = "What would be retried", value = json!({"status": "failed", "task": "report_1", "dry_run": true}))),
        ("do" = (summary = "Ten a second", value = json!({"status": "failed", "task": "report_1", "rate_per_second": 10}))),
    )),
    responses(
        (status = 200, description = "Of a dry run: what would be retried.", body = RetryPreview),
        (status = 202, description = "It is begun.", body = BulkRetry, headers(("Location"))),
        Any, OfJson,
    ),
)]
pub(crate) async fn post(gateway: Gateway, Json(asked): Json<RetryMany>) -> Result<Response, Rejection> {
    let is_dry_run = asked.dry_run;
    let jobs = checked(asked, RetryId::generate())?;
    if is_dry_run {
        let preview = gateway.store.preview_retry(&jobs.filter).await?;
        return Ok(Json(preview).into_response());
    }
    match gateway.store.apply_idempotent(Command::RetryJobs(Box::new(jobs))).await? {
        Reply::BulkRetry(retry) => {
            tracing::info!(retry = %retry.retry_id, "a retry of many jobs was begun");
            Ok((StatusCode::ACCEPTED, [(LOCATION, PATH)], Json(*retry)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

/// Those that run, and the last ones that have ended.
#[utoipa::path(
    get, path = "/jobs:retry", tag = JOBS, operation_id = "listRetries",
    summary = "Retries of many jobs: those that run, and the last 20 that have ended",
    responses(
        (status = 200, description = "Newest first.", body = BulkRetries, headers(("Cache-Control"))),
        Any,
    ),
)]
pub(crate) async fn list(gateway: Gateway) -> Result<Response, Rejection> {
    pass_on(&gateway, "/retries", None).await
}

/// Ends one; what it has retried stays retried.
#[utoipa::path(
    delete, path = "/jobs:retry/{id}", tag = JOBS, operation_id = "stopRetry",
    summary = "Stop a retry of many jobs",
    params(("id" = RetryId, Path, description = "The retry.")),
    responses(
        (status = 200, description = "It has ended; what it has retried stays retried.", body = BulkRetry),
        Any, OfName,
    ),
)]
pub(crate) async fn stop(gateway: Gateway, Path(id): Path<RetryId>) -> Result<Response, Rejection> {
    match gateway.store.apply_idempotent(Command::StopRetry { retry_id: id }).await? {
        Reply::BulkRetry(retry) => Ok(Json(*retry).into_response()),
        other => Err(unexpected(&other)),
    }
}

fn checked(asked: RetryMany, retry_id: RetryId) -> Result<RetryJobs, Problem> {
    let mut errors = Vec::new();
    let rate_per_second = asked.rate_per_second.unwrap_or(RATE_DEFAULT);
    if !(1..=RATE_MAX).contains(&rate_per_second) {
        let detail = format!("is {rate_per_second}, but must be 1 to {RATE_MAX}");
        errors.push(FieldError::new("/rate_per_second", detail));
    }
    let limit = asked.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        errors.push(FieldError::new("/limit", format!("is {limit}, but must be 1 to {LIMIT_MAX}")));
    }
    if let (Some(after), Some(before)) = (asked.after, asked.before)
        && before <= after
    {
        errors.push(FieldError::new("/before", "must be later than after"));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    let RetryMany { status, queue, task, error_kind, after, before, .. } = asked;
    let filter = RetryFilter { status, queue, task, error_kind, after, before };
    Ok(RetryJobs { retry_id, filter, rate_per_second, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_named() {
        let check = |body: &str, expected: &[&str]| {
            let asked = serde_json::from_str(body).expect("a request");
            let errors = checked(asked, RetryId::generate()).err().map(|problem| problem.errors).unwrap_or_default();
            let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(pointers, expected, "{body}");
        };
        check(r#"{"status":"failed"}"#, &[]);
        check(r#"{"status":"failed","rate_per_second":10000,"limit":10000000}"#, &[]);
        check(r#"{"status":"failed","rate_per_second":0,"limit":0}"#, &["/rate_per_second", "/limit"]);
        check(r#"{"status":"failed","rate_per_second":10001,"limit":10000001}"#, &["/rate_per_second", "/limit"]);
        let same = r#"{"status":"failed","after":"2026-01-01T00:00:00Z","before":"2026-01-01T00:00:00Z"}"#;
        check(same, &["/before"]);
    }
}
