//! `DELETE /schedules/{name}`, and `POST` of `/pause`, `/resume` and `/run` below it.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use protocol::api::JobView;
use protocol::ids::JobId;
use protocol::key::ScheduleName;
use protocol::schedule::{ScheduleCommand, ScheduleView, unknown};
use protocol::store_api::{Command, Reply};

use crate::jobs::control::{under_way, unexpected};
use crate::openapi::SCHEDULES;
use crate::openapi::problems::{Any, OfName, OfRun};
use crate::state::Gateway;

/// 204 when there is no such schedule any more, 404 if there was none; the jobs that it has made stay.
#[utoipa::path(
    delete, path = "/schedules/{name}", tag = SCHEDULES, operation_id = "deleteSchedule",
    summary = "Delete a schedule; the jobs that it has made stay",
    params(("name" = ScheduleName, Path, description = "The schedule.", example = "nightly")),
    responses(
        (status = 204, description = "It is gone."),
        Any, OfName,
    ),
)]
pub(crate) async fn delete(gateway: Gateway, Path(name): Path<ScheduleName>) -> Result<Response, Rejection> {
    let command = ScheduleCommand::Delete { name: name.clone() };
    // Sent twice, it would not find what it has deleted.
    match gateway.store.apply(Command::Schedule(command)).await? {
        Reply::ScheduleDeleted { deleted: true } => {
            tracing::info!(schedule = %name, "a schedule was deleted");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Reply::ScheduleDeleted { deleted: false } => Err(unknown(&name).into()),
        other => Err(unexpected(&other)),
    }
}

/// Its ticks pass without jobs until it is resumed. Pausing a paused schedule changes nothing.
#[utoipa::path(
    post, path = "/schedules/{name}/pause", tag = SCHEDULES, operation_id = "pauseSchedule",
    summary = "Let its ticks pass without jobs until it is resumed",
    params(("name" = ScheduleName, Path, description = "The schedule.", example = "nightly")),
    responses(
        (status = 200, description = "What it is now.", body = ScheduleView),
        Any, OfName,
    ),
)]
pub(crate) async fn pause(gateway: Gateway, Path(name): Path<ScheduleName>) -> Result<Response, Rejection> {
    set(&gateway, ScheduleCommand::Pause { name }).await
}

#[utoipa::path(
    post, path = "/schedules/{name}/resume", tag = SCHEDULES, operation_id = "resumeSchedule",
    summary = "Go on from its next tick",
    params(("name" = ScheduleName, Path, description = "The schedule.", example = "nightly")),
    responses(
        (status = 200, description = "What it is now.", body = ScheduleView),
        Any, OfName,
    ),
)]
pub(crate) async fn resume(gateway: Gateway, Path(name): Path<ScheduleName>) -> Result<Response, Rejection> {
    set(&gateway, ScheduleCommand::Resume { name }).await
}

async fn set(gateway: &Gateway, command: ScheduleCommand) -> Result<Response, Rejection> {
    match gateway.store.apply_idempotent(Command::Schedule(command)).await? {
        Reply::Schedule { schedule, .. } => {
            tracing::info!(schedule = %schedule.name, paused = schedule.paused, "a schedule was paused or resumed");
            Ok(Json(*schedule).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

/// One job now, besides those of its ticks, also of a paused schedule: 202 with it.
#[utoipa::path(
    post, path = "/schedules/{name}/run", tag = SCHEDULES, operation_id = "runSchedule",
    summary = "Make one job of it now, besides those of its ticks",
    params(("name" = ScheduleName, Path, description = "The schedule.", example = "nightly")),
    responses(
        (status = 202, description = "The job.", body = JobView, headers(("Location"), ("Retry-After"))),
        Any, OfName, OfRun,
    ),
)]
pub(crate) async fn run(gateway: Gateway, Path(name): Path<ScheduleName>) -> Result<Response, Rejection> {
    let command = ScheduleCommand::Run { name: name.clone(), job_id: JobId::generate() };
    match gateway.store.apply_idempotent(Command::Schedule(command)).await? {
        Reply::ScheduleRun { job } => {
            tracing::info!(schedule = %name, job_id = %job.job_id, "a schedule was run by hand");
            Ok(under_way(*job))
        }
        other => Err(unexpected(&other)),
    }
}
