//! `GET /queues`, `POST /queues/{queue}/pause` and `/resume`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use protocol::key::QueueName;
use protocol::store_api::{Command, Reply};

use crate::jobs::control::unexpected;
use crate::jobs::list::pass_on;
use crate::state::Gateway;

/// What each queue holds, and what came and went lately.
pub(crate) async fn list(State(gateway): State<Gateway>) -> Result<Response, Rejection> {
    pass_on(&gateway, "/queues", None).await
}

/// Nothing new of the queue is run until it is resumed. Pausing a paused queue changes nothing.
pub(crate) async fn pause(State(gateway): State<Gateway>, Path(queue): Path<QueueName>) -> Result<Response, Rejection> {
    set(&gateway, Command::PauseQueue { queue }).await
}

pub(crate) async fn resume(
    State(gateway): State<Gateway>,
    Path(queue): Path<QueueName>,
) -> Result<Response, Rejection> {
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
