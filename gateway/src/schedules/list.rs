//! `GET /schedules` and `GET /schedules/{name}`: checked here, answered by the store.

use axum::response::Response;
use chassis::http::{Path, Query, Rejection};
use http::Uri;
use protocol::key::ScheduleName;
use protocol::schedule::{SchedulePage, ScheduleView};

use crate::jobs::list::{ByName, pass_on};
use crate::openapi::SCHEDULES;
use crate::openapi::problems::{Any, OfName, OfParameters};
use crate::state::Gateway;

/// One page, by name.
#[utoipa::path(
    get, path = "/schedules", tag = SCHEDULES, operation_id = "listSchedules",
    summary = "List schedules, by name",
    params(ByName),
    responses(
        (status = 200, description = "One page.", body = SchedulePage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn list(gateway: Gateway, Query(page): Query<ByName>, uri: Uri) -> Result<Response, Rejection> {
    page.pass_on(&gateway, &uri).await
}

#[utoipa::path(
    get, path = "/schedules/{name}", tag = SCHEDULES, operation_id = "getSchedule",
    summary = "A schedule, when it is due, and what became of its last tick",
    params(("name" = ScheduleName, Path, description = "The schedule.", example = "nightly")),
    responses(
        (status = 200, description = "As it is now.", body = ScheduleView, headers(("Cache-Control"))),
        Any, OfName,
    ),
)]
pub(crate) async fn one(gateway: Gateway, Path(name): Path<ScheduleName>) -> Result<Response, Rejection> {
    pass_on(&gateway, &format!("/schedules/{name}"), None).await
}
