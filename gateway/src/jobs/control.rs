//! `POST /jobs/{id}/cancel` and `/retry`, and `DELETE /jobs/{id}`.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use http::header::{LOCATION, RETRY_AFTER};
use protocol::api::JobView;
use protocol::ids::JobId;
use protocol::job::Cancelled;
use protocol::problem::Kind;
use protocol::store_api::{Command, Reply};

use crate::openapi::JOBS;
use crate::openapi::problems::{Any, OfJob, OfReopening, OfState};
use crate::state::Gateway;

/// 200 if it was ended at once, 202 if its owner was told, 409 if its outcome is recorded already.
#[utoipa::path(
    post, path = "/jobs/{id}/cancel", tag = JOBS, operation_id = "cancelJob",
    summary = "Cancel a job",
    params(("id" = JobId, Path, description = "The job.")),
    responses(
        (status = 200, description = "It waited, and is cancelled.", body = JobView),
        (status = 202, description = "It runs, and was asked to stop. The first recorded outcome wins.", body = JobView,
            headers(("Location"), ("Retry-After"))),
        Any, OfJob, OfState,
    ),
)]
pub(crate) async fn cancel(gateway: Gateway, Path(job_id): Path<JobId>) -> Result<Response, Rejection> {
    match gateway.store.apply_idempotent(Command::Cancel { job_id }).await? {
        Reply::Cancelled { cancelled: Cancelled::Now, job } => Ok(Json(*job).into_response()),
        Reply::Cancelled { cancelled: Cancelled::Requested, job } => Ok(under_way(*job)),
        Reply::Cancelled { cancelled: Cancelled::Conflict, job } => {
            let status = serde_json::to_value(job.status).unwrap_or_default();
            let said = if job.status.is_terminal() { "has ended" } else { "has its outcome, which is being published" };
            Err(Kind::Conflict
                .detail(format!("The job {said}, so it cannot be cancelled."))
                .with("job_status", status)
                .into())
        }
        other => Err(unexpected(&other)),
    }
}

/// 202 with the next run of a failed or cancelled job, else 409.
#[utoipa::path(
    post, path = "/jobs/{id}/retry", tag = JOBS, operation_id = "retryJob",
    summary = "Run a job again that failed or was cancelled",
    params(("id" = JobId, Path, description = "The job.")),
    responses(
        (status = 202, description = "Its next run.", body = JobView, headers(("Location"), ("Retry-After"))),
        Any, OfJob, OfReopening,
    ),
)]
pub(crate) async fn retry(gateway: Gateway, Path(job_id): Path<JobId>) -> Result<Response, Rejection> {
    // Sent twice, it would find its own run open and be refused.
    match gateway.store.apply(Command::Retry { job_id }).await? {
        Reply::Retried { job: Some(job) } => Ok(under_way(*job)),
        Reply::Retried { job: None } => {
            Err(Kind::Conflict.detail("Only a job that failed or was cancelled can be retried.").into())
        }
        other => Err(unexpected(&other)),
    }
}

/// 204 when the ended job and all that belongs to it is gone, 409 if it has not ended.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = JOBS, operation_id = "dropJob",
    summary = "Drop a job that has ended",
    description = "Payload, result and logs are gone at once; the id answers 410 from then on.",
    params(("id" = JobId, Path, description = "The job.")),
    responses(
        (status = 204, description = "It is gone."),
        Any, OfJob, OfState,
    ),
)]
pub(crate) async fn purge(gateway: Gateway, Path(job_id): Path<JobId>) -> Result<Response, Rejection> {
    match gateway.store.apply(Command::Purge { job_id }).await? {
        Reply::Purged { purged: true } => {
            tracing::info!(%job_id, "purged");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Reply::Purged { purged: false } => {
            Err(Kind::Conflict.detail("The job has not ended, so it cannot be purged; cancel it first.").into())
        }
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn under_way(job: JobView) -> Response {
    let headers = [(LOCATION, job.links.this.clone()), (RETRY_AFTER, "1".to_owned())];
    (StatusCode::ACCEPTED, headers, Json(job)).into_response()
}

pub(crate) fn unexpected(reply: &Reply) -> Rejection {
    tracing::error!(reply = reply.name(), "the store's reply does not belong to the command");
    Kind::BadGateway.into()
}
