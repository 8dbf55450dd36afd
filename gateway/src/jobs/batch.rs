//! `POST /jobs:batch`: many submits, on disk in one commit; each has its own answer, and none fails its neighbours.

use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use chassis::http::{Context, Json, Rejection};
use http::StatusCode;
use protocol::api::{Accepted, BATCH_ITEMS_MAX, Batch, BatchItem, Links, Submit};
use protocol::ids::JobId;
use protocol::problem::Problem;
use protocol::store_api::{Create, Created};
use serde_json::value::RawValue;

use super::body::{Origin, take_names, to_create};
use super::submit::{Named, count, kept, origin};
use crate::admission::Place;
use crate::openapi::JOBS;
use crate::openapi::problems::{Any, OfJson};
use crate::state::Gateway;

/// What is remembered of a submit while the store has it.
struct Asked {
    /// The id that it gets if it is new.
    job_id: JobId,
    task: String,
    /// Its id is the client's.
    by_id: bool,
}

/// 200 with one answer for each item, in order. The same id or key twice in a batch is a repeat, as if it came later.
#[utoipa::path(
    post, path = "/jobs:batch", tag = JOBS, operation_id = "submitBatch",
    summary = "Submit many jobs at once",
    description = "Up to 1,000, within 1 MiB; those that are good are on disk in one commit. Each has an answer of its own, as to a single submit, \
                   in order. An item may carry its `job_id` or `idempotency_key`.",
    request_body(content = Vec<Submit>, example = json!([
        {"task": "noop"}, {"task": "report_1", "idempotency_key": "monday"},
    ])),
    responses(
        (status = 200, description = "One answer for each item.", body = Batch),
        Any, OfJson,
    ),
)]
pub(crate) async fn post(
    gateway: Gateway,
    Extension(place): Extension<Place>,
    context: Context,
    Json(items): Json<Vec<Box<RawValue>>>,
) -> Result<Response, Rejection> {
    if items.len() > BATCH_ITEMS_MAX {
        let detail = format!("has {} items, at most {BATCH_ITEMS_MAX} are allowed", items.len());
        return Err(Problem::invalid("", detail).into());
    }
    let origin = origin(&gateway, &context, Named::ByUs, JobId::generate(), None);
    let mut creates = Vec::with_capacity(items.len());
    let read = |item: &RawValue| {
        let (asked, create) = read(item, &gateway, &origin)?;
        creates.push(create);
        Ok(asked)
    };
    let asked: Vec<Result<Asked, Problem>> = items.iter().map(AsRef::as_ref).map(read).collect();
    drop(items);
    let mut answers = match creates.as_slice() {
        [] => Vec::new(),
        _ => gateway.store.create_batch(creates).await?,
    }
    .into_iter();
    place.release();
    let mut answer = |asked: Result<Asked, Problem>| match asked {
        Ok(asked) => match answers.next()? {
            Ok(created) => Some(accepted(asked, &created)),
            Err(error) => Some(refused(*Rejection::from(error).0)),
        },
        Err(problem) => Some(refused(problem)),
    };
    let items: Vec<BatchItem> = asked.into_iter().map_while(&mut answer).collect();
    let refused = items.iter().filter(|item| matches!(item, BatchItem::Refused { .. })).count();
    tracing::info!(items = items.len(), refused, "accepted a batch");
    Ok(Json(Batch { items }).into_response())
}

/// One item, with its faults pointed at within it.
fn read(item: &RawValue, gateway: &Gateway, origin: &Origin) -> Result<(Asked, Create), Problem> {
    let mut submit: Submit = Json::from_bytes(item.get().as_bytes())?;
    let (job_id, idempotency_key) = take_names(&mut submit)?;
    let by_id = job_id.is_some();
    let job_id = job_id.unwrap_or_else(JobId::generate);
    let task = submit.task.to_string();
    let origin = Origin { job_id, idempotency_key, is_own_id: by_id, ..origin.clone() };
    let create = kept(&gateway.caller, to_create(submit, &gateway.queues, origin)?)?;
    Ok((Asked { job_id, task, by_id }, create))
}

fn accepted(asked: Asked, created: &Created) -> BatchItem {
    let Asked { job_id: proposed, task, by_id } = asked;
    let job_id = created.job_id;
    // As for a single submit: a batch that was sent twice finds its own jobs, which is no replay.
    let replayed = created.replayed.is_some() && (by_id || job_id != proposed);
    count("batch", replayed);
    let status = created.replayed.map_or(created.status, |job| job.status);
    let job = Accepted { job_id, task, status, links: Links::of(job_id) };
    let code = if replayed && by_id { StatusCode::OK } else { StatusCode::ACCEPTED };
    BatchItem::Accepted { status: code.as_u16(), job, replayed }
}

fn refused(problem: Problem) -> BatchItem {
    BatchItem::Refused { status: problem.status, error: Box::new(problem) }
}
