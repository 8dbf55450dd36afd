//! `GET /schedules` and `GET /schedules/{name}`: checked here, answered by the store.

use axum::response::Response;
use chassis::http::{Path, Query, Rejection};
use http::Uri;
use protocol::key::ScheduleName;
use protocol::schedule::{SchedulePage, ScheduleView};
use serde::Deserialize;

use crate::jobs::list::{check_limit, pass_on};
use crate::openapi::SCHEDULES;
use crate::openapi::problems::{Any, OfName, OfParameters};
use crate::state::Gateway;

/// Where a page begins; a parameter that is not here is a 422.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// `next_cursor` of the page before.
    #[serde(rename = "cursor")]
    #[param(nullable = false)]
    _cursor: Option<String>,
    /// Schedules on the page, at most; 50 unless it says otherwise.
    #[param(nullable = false, minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// One page, by name.
#[utoipa::path(
    get, path = "/schedules", tag = SCHEDULES, operation_id = "listSchedules",
    summary = "List schedules, by name",
    params(Page),
    responses(
        (status = 200, description = "One page.", body = SchedulePage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn list(gateway: Gateway, Query(page): Query<Page>, uri: Uri) -> Result<Response, Rejection> {
    check_limit(page.limit)?;
    pass_on(&gateway, "/schedules", uri.query()).await
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
