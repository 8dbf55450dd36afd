//! `POST /leases/{id}/…`: keeping a lease and ending it. Each may be repeated; whoever has lost the lease is told 410.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use protocol::api::{ERROR_BYTES_MAX, ErrorKind, JobError, Progress, RESULT_BYTES_MAX};
use protocol::job::Settled;
use protocol::lease_api::{
    Beat, BeatProgress, Completion, FailedAttempt, LeaseEnded, LeaseId, PROGRESS_MESSAGE_BYTES_MAX, Renewed,
};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, Complete, HeartbeatReply, Held, JobFence, Outcome, Release, Reply};
use serde_json::Value;

use crate::jobs::control::unexpected;
use crate::openapi::LEASES;
use crate::openapi::problems::{Any, OfJson, OfLease};
use crate::state::Gateway;

/// Renews the lease for its whole length.
#[utoipa::path(
    post, path = "/leases/{id}/heartbeat", tag = LEASES, operation_id = "renewLease",
    summary = "Keep a lease",
    description = "Three times per lease. It then ends `lease_ms` after this call was sent.",
    params(("id" = LeaseId, Path, description = "The lease.")),
    request_body(content = Beat, examples(
        ("alive" = (value = json!({}))),
        ("progress" = (value = json!({"progress": {"fraction": 0.5, "message": "half way"}}))),
    )),
    responses(
        (status = 200, description = "It is renewed.", body = Renewed),
        Any, OfJson, OfLease,
    ),
)]
pub(crate) async fn heartbeat(
    gateway: Gateway,
    Path(LeaseId(lease)): Path<LeaseId>,
    Json(beat): Json<Beat>,
) -> Result<Response, Rejection> {
    let progress = beat.progress.map(checked_progress).transpose()?;
    let held = Held { job_id: lease.job_id, fence: lease.fence, progress };
    match gateway.store.apply_idempotent(Command::Renew(held)).await? {
        Reply::Heartbeat(HeartbeatReply { lost, cancelled, .. }) if lost.is_empty() => {
            count("renewed");
            Ok(Json(Renewed { cancel_requested: !cancelled.is_empty() }).into_response())
        }
        Reply::Heartbeat(_) => Err(lost()),
        other => Err(unexpected(&other)),
    }
}

/// The job succeeded, with this result.
#[utoipa::path(
    post, path = "/leases/{id}/complete", tag = LEASES, operation_id = "completeJob",
    summary = "The job succeeded",
    params(("id" = LeaseId, Path, description = "The lease.")),
    request_body(content = Completion, example = json!({"result": {"words": 6}})),
    responses(
        (status = 200, description = "It is recorded.", body = LeaseEnded),
        Any, OfJson, OfLease,
    ),
)]
pub(crate) async fn complete(
    gateway: Gateway,
    Path(LeaseId(lease)): Path<LeaseId>,
    Json(completion): Json<Completion>,
) -> Result<Response, Rejection> {
    let result = completion.result.filter(|result| result.get() != "null");
    if let Some(result) = &result {
        let bytes = result.get().len();
        if bytes > RESULT_BYTES_MAX {
            return Err(
                Problem::invalid("/result", format!("has {bytes} bytes, at most {RESULT_BYTES_MAX} are kept")).into()
            );
        }
        // It was JSON when it came, but may be nested too deep for anyone to read.
        serde_json::from_str::<Value>(result.get())
            .map_err(|error| Problem::invalid("/result", format!("cannot be read: {error}")))?;
    }
    let outcome = Outcome::Succeeded { result };
    end(
        &gateway,
        lease,
        Command::Complete(Complete { job_id: lease.job_id, fence: lease.fence, outcome, output: None, next: None }),
    )
    .await
}

/// The attempt failed.
#[utoipa::path(
    post, path = "/leases/{id}/fail", tag = LEASES, operation_id = "failJob",
    summary = "The attempt failed",
    params(("id" = LeaseId, Path, description = "The lease.")),
    request_body(content = FailedAttempt, example = json!({"error": "the disk is full", "retry": true})),
    responses(
        (status = 200, description = "It is recorded.", body = LeaseEnded),
        Any, OfJson, OfLease,
    ),
)]
pub(crate) async fn fail(
    gateway: Gateway,
    Path(LeaseId(lease)): Path<LeaseId>,
    Json(failed): Json<FailedAttempt>,
) -> Result<Response, Rejection> {
    let bytes = failed.error.len();
    if bytes > ERROR_BYTES_MAX {
        return Err(Problem::invalid("/error", format!("has {bytes} bytes, at most {ERROR_BYTES_MAX} are kept")).into());
    }
    let error = JobError { kind: ErrorKind::Failed, message: failed.error };
    let outcome = Outcome::Failed { error, may_retry: failed.retry, retry_after_ms: None };
    end(
        &gateway,
        lease,
        Command::Complete(Complete { job_id: lease.job_id, fence: lease.fence, outcome, output: None, next: None }),
    )
    .await
}

/// The job is given back; the attempt is not counted.
#[utoipa::path(
    post, path = "/leases/{id}/release", tag = LEASES, operation_id = "releaseJob",
    summary = "Give the job back; the attempt is not counted",
    params(("id" = LeaseId, Path, description = "The lease.")),
    responses(
        (status = 200, description = "It waits again.", body = LeaseEnded),
        Any, OfLease,
    ),
)]
pub(crate) async fn release(gateway: Gateway, Path(LeaseId(lease)): Path<LeaseId>) -> Result<Response, Rejection> {
    end(&gateway, lease, Command::Release(Release { job_id: lease.job_id, fence: lease.fence, output: None })).await
}

async fn end(gateway: &Gateway, lease: JobFence, word: Command) -> Result<Response, Rejection> {
    match gateway.store.apply_idempotent(word).await? {
        Reply::Settled { settled: Settled::Refused, .. } => Err(lost()),
        Reply::Settled { status: Some(status), .. } => {
            count("ended");
            Ok(Json(LeaseEnded { job_id: lease.job_id, status }).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

fn checked_progress(progress: BeatProgress) -> Result<Progress, Problem> {
    let BeatProgress { fraction, message } = progress;
    if fraction.is_some_and(|fraction| !(0.0..=1.0).contains(&fraction)) {
        return Err(Problem::invalid("/progress/fraction", "must be 0 to 1"));
    }
    if let Some(message) = &message
        && message.len() > PROGRESS_MESSAGE_BYTES_MAX
    {
        let detail = format!("has {} bytes, at most {PROGRESS_MESSAGE_BYTES_MAX} are allowed", message.len());
        return Err(Problem::invalid("/progress/message", detail));
    }
    Ok(Progress { fraction, message })
}

fn lost() -> Rejection {
    count("lost");
    Kind::LeaseLost.into()
}

fn count(event: &'static str) {
    metrics::counter!("longshore_leases_total", "program" => "gateway", "event" => event).increment(1);
}
