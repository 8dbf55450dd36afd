//! `GET /jobs` and `GET /workers`: checked here, answered by the store.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::http::{Query, Rejection};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Uri};
use protocol::api::Status;
use protocol::key::{QueueName, TaskName};
use protocol::problem::Problem;
use serde::Deserialize;

use crate::state::Gateway;

/// Most jobs on one page.
pub(crate) const LIMIT_MAX: u16 = 500;

/// The filters of `GET /jobs`; a parameter that is not here is a 422.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filters {
    #[serde(rename = "status")]
    _status: Option<Status>,
    #[serde(rename = "queue")]
    _queue: Option<QueueName>,
    #[serde(rename = "task")]
    _task: Option<TaskName>,
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
    limit: Option<u16>,
}

/// One page, newest first.
pub(crate) async fn jobs(
    State(gateway): State<Gateway>,
    Query(filters): Query<Filters>,
    uri: Uri,
) -> Result<Response, Rejection> {
    if let Some(limit) = filters.limit
        && !(1..=LIMIT_MAX).contains(&limit)
    {
        return Err(Problem::invalid("/limit", format!("is {limit}, but must be 1 to {LIMIT_MAX}")).into());
    }
    pass_on(&gateway, "/jobs", uri.query()).await
}

/// The workers that are there now.
pub(crate) async fn workers(State(gateway): State<Gateway>) -> Result<Response, Rejection> {
    pass_on(&gateway, "/workers", None).await
}

/// What the store says to this, byte by byte.
pub(crate) async fn pass_on(gateway: &Gateway, path: &str, query: Option<&str>) -> Result<Response, Rejection> {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let answer = gateway.store.get(target).await?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, answer.body).into_response())
}
