//! `POST /longtask` and `PUT /jobs/{id}`: checked, on disk in the store, then answered. The broker is not waited for.

use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use chassis::clock;
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::http::{Context, Json, Path, Rejection};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use protocol::api::{Accepted, JobView, Links, Submit};
use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Create, Created};
use protocol::time::Timestamp;

use super::body::{Origin, refuse_names, to_create};
use super::idempotency::{self, IDEMPOTENT_REPLAYED};
use super::prefer::{PREFERENCE_APPLIED, Prefer};
use super::seen::{Seen, retry_after_s};
use super::status::found;
use super::waiting::{Waited, until_ended};
use crate::access::Caller;
use crate::admission::Place;
use crate::openapi::problems::{Any, OfJson, OfName, OfReopening, OfSubmit};
use crate::openapi::{JOBS, headers};
use crate::state::Gateway;

/// How the client named the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// Not at all, or by an idempotency key.
    ByUs,
    /// By its id, in the path.
    ByClient,
}

/// What the request says besides its body.
struct Request {
    named: Named,
    prefer: Prefer,
    /// The body's.
    place: Place,
}

/// `POST /longtask`
#[utoipa::path(
    post, path = "/longtask", tag = JOBS, operation_id = "submitJob",
    summary = "Submit a job",
    description = "It is on disk when the answer comes. Send an `Idempotency-Key` whenever you would retry.",
    params(headers::IdempotencyKey, headers::Prefer),
    request_body(content = Submit, examples(
        ("brief" = (summary = "Only a task", value = json!({"task": "report_1"}))),
        ("later" = (summary = "In an hour, once, before others", value = json!({
            "task": "report_2", "payload": {"month": "2026-10"}, "priority": "high", "delay_ms": 3_600_000, "max_attempts": 1,
        }))),
        ("unique" = (summary = "One at a time, and it changes data", value = json!({
            "task": "noop", "unique_key": "prices", "invalidates": ["price"], "timeout_ms": 60_000, "start_deadline_ms": 600_000,
        }))),
    )),
    responses(
        (status = 202, description = "Accepted, or its repeat.", body = Accepted,
            headers(("Location"), ("Retry-After"), ("Idempotent-Replayed"), ("Preference-Applied")),
            example = json!({
                "job_id": "01a20a59-5fde-7768-b4a1-84f689f0b1a6", "task": "report_1", "status": "queued",
                "links": {
                    "self": "/jobs/01a20a59-5fde-7768-b4a1-84f689f0b1a6",
                    "result": "/jobs/01a20a59-5fde-7768-b4a1-84f689f0b1a6/result",
                    "cancel": "/jobs/01a20a59-5fde-7768-b4a1-84f689f0b1a6/cancel",
                },
            })),
        (status = 200, description = "It ended while the answer was held (`Prefer: wait`).", body = JobView,
            headers(("Location"), ("ETag"), ("Cache-Control"), ("Vary"), ("Idempotent-Replayed"), ("Preference-Applied"))),
        Any, OfJson, OfSubmit,
    ),
)]
pub(crate) async fn post(
    gateway: Gateway,
    Extension(place): Extension<Place>,
    context: Context,
    headers: HeaderMap,
    Json(submit): Json<Submit>,
) -> Result<Response, Rejection> {
    refuse_names(&submit)?;
    let key = idempotency::key_from_headers(&headers)?;
    let origin = origin(&gateway, &context, Named::ByUs, JobId::generate(), key);
    let request = Request { named: Named::ByUs, prefer: Prefer::from_headers(&headers), place };
    accept(&gateway, request, submit, origin).await
}

/// `PUT /jobs/{id}`: the id names the job, as an idempotency key would.
#[utoipa::path(
    put, path = "/jobs/{id}", tag = JOBS, operation_id = "submitJobUnderId",
    summary = "Submit a job under your own id",
    description = "The id is a UUID that the client chose; repeating the request changes nothing. `Idempotency-Key` is refused here (400).",
    params(("id" = JobId, Path, description = "Chosen by the client."), headers::Prefer),
    request_body(content = Submit, example = json!({"task": "noop"})),
    responses(
        (status = 202, description = "Accepted.", body = Accepted, headers(("Location"), ("Retry-After"), ("Preference-Applied"))),
        (status = 200, description = "A repeat, or it ended while the answer was held (`Prefer: wait`).", body = JobView,
            headers(("Location"), ("ETag"), ("Cache-Control"), ("Vary"), ("Retry-After"), ("Preference-Applied"))),
        Any, OfJson, OfName, OfReopening,
    ),
)]
pub(crate) async fn put(
    gateway: Gateway,
    Path(job_id): Path<JobId>,
    Extension(place): Extension<Place>,
    context: Context,
    headers: HeaderMap,
    Json(submit): Json<Submit>,
) -> Result<Response, Rejection> {
    if idempotency::is_stated(&headers) {
        let detail = "The id of a PUT names the job already; Idempotency-Key is for POST /longtask.";
        return Err(Kind::BadRequest.detail(detail).into());
    }
    refuse_names(&submit)?;
    let origin = origin(&gateway, &context, Named::ByClient, job_id, None);
    let request = Request { named: Named::ByClient, prefer: Prefer::from_headers(&headers), place };
    accept(&gateway, request, submit, origin).await
}

pub(super) fn origin(
    gateway: &Gateway,
    context: &Context,
    named: Named,
    job_id: JobId,
    idempotency_key: Option<String>,
) -> Origin {
    Origin {
        job_id,
        idempotency_key,
        is_own_id: named == Named::ByClient,
        trace: Some(context.trace().to_string()),
        key_id: gateway.caller.principal().key_id(),
        wants_bell: gateway.bells.wanted(),
        now_ms: clock::wall_ms(),
    }
}

async fn accept(gateway: &Gateway, request: Request, submit: Submit, origin: Origin) -> Result<Response, Rejection> {
    let Request { named, prefer, place } = request;
    let proposed = origin.job_id;
    let task = submit.task.to_string();
    let create = kept(&gateway.caller, to_create(submit, &gateway.queues, origin)?)?;
    // As far as this clock knows: only for a client that asks when to look again.
    let delayed_to = create.delay_ms.map(|ms| Timestamp::from_unix_ms(clock::wall_ms().saturating_add_unsigned(ms)));
    let run_at = create.run_at.or(delayed_to);
    fault_point(FaultPoint::GatewayBeforeCreate);
    let created = gateway.store.create(create).await?;
    fault_point(FaultPoint::GatewayBeforeAnswer);
    place.release();
    let job_id = created.job_id;
    // A create that was sent twice because its answer was lost finds its own job: that is no replay.
    let is_replay = created.replayed.is_some() && (named == Named::ByClient || job_id != proposed);
    count(if named == Named::ByClient { "PUT" } else { "POST" }, is_replay);
    tracing::info!(%job_id, task, replay = is_replay, "accepted");
    let wait = wait_for_end(gateway, job_id, prefer).await;
    let applied = prefer.applied(!matches!(wait, Wait::No), !matches!(wait, Wait::Ended(_)));
    let mut response = match wait {
        Wait::Ended(seen) => found(seen, job_id),
        Wait::TimeOver | Wait::No if is_replay && named == Named::ByClient => {
            found(Seen::read(&gateway.store, job_id).await?, job_id)
        }
        Wait::TimeOver | Wait::No => accepted(&created, task, run_at),
    };
    if let Some(applied) = applied {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    if is_replay && named == Named::ByUs {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The job, with the names of its data as they are kept for the caller.
///
/// # Errors
/// 422 for a name that no client may give.
pub(crate) fn kept(caller: &Caller, mut create: Create) -> Result<Create, Problem> {
    create.invalidates = caller.keys(create.invalidates, "/invalidates")?;
    Ok(create)
}

enum Wait {
    /// The client did not ask to wait, or that was not possible.
    No,
    TimeOver,
    Ended(Seen),
}

/// The job is accepted whatever happens here, so a wait that fails is only a wait that was not held.
async fn wait_for_end(gateway: &Gateway, job_id: JobId, prefer: Prefer) -> Wait {
    let Some(wait) = prefer.wait() else { return Wait::No };
    match until_ended(gateway, job_id, wait).await {
        Ok(Waited::Seen(seen)) if seen.is_terminal() => Wait::Ended(seen),
        Ok(Waited::Seen(_)) => Wait::TimeOver,
        Ok(Waited::Full) => Wait::No,
        Err(error) => {
            tracing::warn!(%job_id, %error, "the end of an accepted job could not be awaited");
            Wait::No
        }
    }
}

fn accepted(created: &Created, task: String, run_at: Option<Timestamp>) -> Response {
    let job_id = created.job_id;
    let links = Links::of(job_id);
    let location = HeaderValue::try_from(links.this.clone()).ok();
    let (status, run_at) = match created.replayed {
        Some(job) => (job.status, job.run_at),
        None => (created.status, run_at),
    };
    let mut response = (StatusCode::ACCEPTED, Json(Accepted { job_id, task, status, links })).into_response();
    let headers = response.headers_mut();
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    if let Some(seconds) = retry_after_s(status, run_at, clock::wall_ms()) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(super) fn count(method: &'static str, is_replay: bool) {
    let outcome = if is_replay { "replayed" } else { "created" };
    metrics::counter!("longshore_submits_total", "program" => "gateway", "method" => method, "outcome" => outcome)
        .increment(1);
}
