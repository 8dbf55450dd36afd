//! `GET /jobs` and `GET /workers`: checked here, answered by the store.

use axum::response::{IntoResponse, Response};
use chassis::http::{Query, Rejection};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Uri};
use protocol::api::{JobPage, Status, Workers};
use protocol::key::{QueueName, TaskName};
use protocol::problem::Problem;
use serde::Deserialize;

use crate::openapi::problems::{Any, OfParameters};
use crate::openapi::{JOBS, QUEUES};
use crate::state::Gateway;

/// Most jobs on one page.
const LIMIT_MAX: u16 = 500;

/// The filters of `GET /jobs`; a parameter that is not here is a 422.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filters {
    /// Only jobs that are so now.
    #[serde(rename = "status")]
    #[param(nullable = false)]
    _status: Option<Status>,
    #[serde(rename = "queue")]
    #[param(nullable = false)]
    _queue: Option<QueueName>,
    #[serde(rename = "task")]
    #[param(nullable = false)]
    _task: Option<TaskName>,
    /// `next_cursor` of the page before.
    #[serde(rename = "cursor")]
    #[param(nullable = false)]
    _cursor: Option<String>,
    /// Jobs on the page, at most; 50 unless it says otherwise.
    #[param(nullable = false, minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// One page, newest first.
#[utoipa::path(
    get, path = "/jobs", tag = JOBS, operation_id = "listJobs",
    summary = "List jobs, newest first",
    description = "Pages have neither gaps nor repeats while jobs are added and dropped. Where few of many are wanted a page may be short, or \
                   empty, and still have a next one.",
    params(Filters),
    responses(
        (status = 200, description = "One page.", body = JobPage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn jobs(gateway: Gateway, Query(filters): Query<Filters>, uri: Uri) -> Result<Response, Rejection> {
    check_limit(filters.limit)?;
    pass_on(&gateway, "/jobs", uri.query()).await
}

/// Where a page of a list by name begins; a parameter that is not here is a 422.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByName {
    /// `next_cursor` of the page before.
    #[serde(rename = "cursor")]
    #[param(nullable = false)]
    _cursor: Option<String>,
    /// On the page, at most; 50 unless it says otherwise.
    #[param(nullable = false, minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

impl ByName {
    /// The page, as the store says it.
    pub(crate) async fn pass_on(&self, gateway: &Gateway, uri: &Uri) -> Result<Response, Rejection> {
        check_limit(self.limit)?;
        pass_on(gateway, uri.path(), uri.query()).await
    }
}

/// Of a page.
///
/// # Errors
/// When it may not have so many.
pub(crate) fn check_limit(limit: Option<u16>) -> Result<(), Problem> {
    match limit {
        Some(limit) if !(1..=LIMIT_MAX).contains(&limit) => {
            Err(Problem::invalid("/limit", format!("is {limit}, but must be 1 to {LIMIT_MAX}")))
        }
        _ => Ok(()),
    }
}

/// The workers that are there now.
#[utoipa::path(
    get, path = "/workers", tag = QUEUES, operation_id = "listWorkers",
    summary = "The workers that are there now",
    responses(
        (status = 200, description = "What each can do, and how busy it is.", body = Workers, headers(("Cache-Control"))),
        Any,
    ),
)]
pub(crate) async fn workers(gateway: Gateway) -> Result<Response, Rejection> {
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
