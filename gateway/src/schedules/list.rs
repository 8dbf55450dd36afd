//! `GET /schedules` and `GET /schedules/{name}`: checked here, answered by the store.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Path, Query, Rejection};
use http::Uri;
use protocol::key::ScheduleName;
use protocol::problem::Problem;
use serde::Deserialize;

use crate::jobs::list::{LIMIT_MAX, pass_on};
use crate::state::Gateway;

/// Where a page begins; a parameter that is not here is a 422.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
    limit: Option<u16>,
}

/// One page, by name.
pub(crate) async fn list(
    State(gateway): State<Gateway>,
    Query(page): Query<Page>,
    uri: Uri,
) -> Result<Response, Rejection> {
    if let Some(limit) = page.limit
        && !(1..=LIMIT_MAX).contains(&limit)
    {
        return Err(Problem::invalid("/limit", format!("is {limit}, but must be 1 to {LIMIT_MAX}")).into());
    }
    pass_on(&gateway, "/schedules", uri.query()).await
}

pub(crate) async fn one(State(gateway): State<Gateway>, Path(name): Path<ScheduleName>) -> Result<Response, Rejection> {
    pass_on(&gateway, &format!("/schedules/{name}"), None).await
}
