//! `GET /queues`, `POST /queues/{queue}/pause` and `/resume`.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use protocol::key::QueueName;
use protocol::queue::{Pause, Queues};
use protocol::store_api::{Command, Reply};

use crate::jobs::control::unexpected;
use crate::jobs::list::pass_on;
use crate::openapi::QUEUES;
use crate::openapi::problems::{Any, OfName};
use crate::state::Gateway;

/// What each queue holds, and what came and went lately.
#[utoipa::path(
    get, path = "/queues", tag = QUEUES, operation_id = "listQueues",
    summary = "What each queue holds, and what came and went in the last minute",
    responses(
        (status = 200, description = "By name.", body = Queues, headers(("Cache-Control"))),
        Any,
    ),
)]
pub(crate) async fn list(gateway: Gateway) -> Result<Response, Rejection> {
    pass_on(&gateway, "/queues", None).await
}

/// Nothing new of the queue is run until it is resumed. Pausing a paused queue changes nothing.
#[utoipa::path(
    post, path = "/queues/{queue}/pause", tag = QUEUES, operation_id = "pauseQueue",
    summary = "Nothing new of the queue is run until it is resumed",
    params(("queue" = QueueName, Path, description = "The queue.", example = "default")),
    responses(
        (status = 200, description = "What it is now.", body = Pause),
        Any, OfName,
    ),
)]
pub(crate) async fn pause(gateway: Gateway, Path(queue): Path<QueueName>) -> Result<Response, Rejection> {
    set(&gateway, Command::PauseQueue { queue }).await
}

#[utoipa::path(
    post, path = "/queues/{queue}/resume", tag = QUEUES, operation_id = "resumeQueue",
    summary = "Run what waits in the queue again",
    params(("queue" = QueueName, Path, description = "The queue.", example = "default")),
    responses(
        (status = 200, description = "What it is now.", body = Pause),
        Any, OfName,
    ),
)]
pub(crate) async fn resume(gateway: Gateway, Path(queue): Path<QueueName>) -> Result<Response, Rejection> {
    set(&gateway, Command::ResumeQueue { queue }).await
}

async fn set(gateway: &Gateway, command: Command) -> Result<Response, Rejection> {
    match gateway.store.apply_idempotent(command).await? {
        Reply::Pause(pause) => {
            tracing::info!(queue = pause.queue, paused = pause.paused, "a queue was paused or resumed");
            Ok(Json(pause).into_response())
        }
        other => Err(unexpected(&other)),
    }
}
