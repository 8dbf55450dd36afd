//! Reads of jobs and workers.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Path, Query, Rejection};
use http::HeaderValue;
use protocol::api::{JobPage, Status};
use protocol::explain::reason;
use protocol::ids::JobId;
use protocol::logs::JobLogs;
use protocol::problem::{Kind, Problem};
use protocol::store_api::CHANGED_HEADER;
use serde::Deserialize;

use super::tenants::For;
use super::{Service, page};
use crate::storage::{At, AttemptsRead, JobRead, JobsQuery, PayloadRead, ResultRead};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    status: Option<Status>,
    queue: Option<String>,
    task: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(service): State<Service>,
    For(tenant): For,
    Query(query): Query<ListQuery>,
) -> Result<Response, Rejection> {
    let query = checked(query)?;
    let page = service.inner.readers.read(move |reader| reader.jobs(&tenant, &query)).await?;
    let jobs = page.read.jobs.into_iter().map(|job| service.seen(job)).collect();
    let next_cursor = page.read.before.map(|before| before.to_string());
    Ok(service.read(At { position: page.position, read: JobPage { jobs, next_cursor } }))
}

fn checked(query: ListQuery) -> Result<JobsQuery, Problem> {
    let limit = page::limit(query.limit)?;
    let before = match query.cursor.as_deref().map(str::parse::<i64>) {
        None => None,
        Some(Ok(before)) if before >= 0 => Some(before),
        Some(_) => return Err(page::bad_cursor()),
    };
    Ok(JobsQuery { status: query.status, queue: query.queue, task: query.task, before, limit })
}

pub(super) async fn job(
    State(service): State<Service>,
    For(tenant): For,
    Path(id): Path<JobId>,
) -> Result<Response, Rejection> {
    let found = service.inner.readers.read(move |reader| reader.job(&tenant, id)).await?;
    Ok(match found.read {
        JobRead::Unknown => service.at(found.position, Rejection::from(Kind::NotFound)),
        JobRead::Expired => service.at(found.position, Rejection::from(Kind::JobExpired)),
        JobRead::Job(job, changed) => {
            let changed = [(CHANGED_HEADER, HeaderValue::from(changed.0))];
            service.at(found.position, (changed, Json(service.seen(*job))))
        }
    })
}

pub(super) async fn explain(
    State(service): State<Service>,
    For(tenant): For,
    Path(id): Path<JobId>,
) -> Result<Response, Rejection> {
    let found = service.inner.readers.read(move |reader| reader.explain(&tenant, id)).await?;
    Ok(match found.read {
        Some(mut job) => {
            job.waiting_for = service.waits_for(job.waiting_for);
            job.reason = reason(&job);
            service.at(found.position, Json(job))
        }
        None => service.at(found.position, Rejection::from(Kind::NotFound)),
    })
}

pub(super) async fn result(
    State(service): State<Service>,
    For(tenant): For,
    Path(id): Path<JobId>,
) -> Result<Response, Rejection> {
    let found = service.inner.readers.read(move |reader| reader.result(&tenant, id)).await?;
    let refused = |kind: Kind| service.at(found.position, Rejection::from(kind));
    Ok(match found.read {
        ResultRead::Unknown => refused(Kind::NotFound),
        ResultRead::Expired => refused(Kind::JobExpired),
        ResultRead::NotFinished => refused(Kind::NotFinished),
        ResultRead::NoResult => refused(Kind::NoResult),
        ResultRead::Result(result) => service.at(found.position, Json(result)),
    })
}

pub(super) async fn payload(
    State(service): State<Service>,
    For(tenant): For,
    Path(id): Path<JobId>,
) -> Result<Response, Rejection> {
    let found = service.inner.readers.read(move |reader| reader.payload(&tenant, id)).await?;
    Ok(match found.read {
        PayloadRead::Unknown => service.at(found.position, Rejection::from(Kind::NotFound)),
        PayloadRead::Expired => service.at(found.position, Rejection::from(Kind::JobExpired)),
        PayloadRead::Payload(payload) => service.at(found.position, Json(payload)),
    })
}

pub(super) async fn logs(
    State(service): State<Service>,
    For(tenant): For,
    Path(id): Path<JobId>,
) -> Result<Response, Rejection> {
    let found = service.inner.readers.read(move |reader| reader.logs(&tenant, id)).await?;
    Ok(match found.read {
        AttemptsRead::Unknown => service.at(found.position, Rejection::from(Kind::NotFound)),
        AttemptsRead::Expired => service.at(found.position, Rejection::from(Kind::JobExpired)),
        AttemptsRead::Logs(attempts) => service.at(found.position, Json(JobLogs { job_id: id, attempts })),
    })
}

pub(super) async fn workers(State(service): State<Service>) -> Result<Response, Rejection> {
    let workers = service.inner.readers.read(|reader| reader.workers()).await?;
    Ok(service.read(workers))
}
