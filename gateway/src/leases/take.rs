//! `POST /leases`: jobs for a worker, at once or, with `Prefer: wait=N`, as soon as there is one.

use std::time::Duration;

use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use chassis::clock::now_ms;
use chassis::http::{Json, Rejection};
use http::HeaderMap;
use protocol::ids::ClaimId;
use protocol::key::QueueName;
use protocol::lease_api::{LEASE_MS, LIMIT_MAX, Lease, Leases, QUEUES_MAX, TASKS_MAX, Take, claim_of, session_of};
use protocol::problem::{FieldError, Kind, Problem};
use protocol::store_api::{Pull, Pulled};
use tokio::time::Instant;

use crate::admission::Place;
use crate::jobs::idempotency::key_from_headers;
use crate::jobs::prefer::{PREFERENCE_APPLIED, Prefer};
use crate::openapi::problems::{Any, OfJson};
use crate::openapi::{LEASES, headers};
use crate::state::Gateway;

/// The store is asked anew after this: a gateway that drains need not cut off a call that may have taken jobs, and each call renews the
/// worker's session.
const TURN: Duration = Duration::from_secs(3);

/// Takes jobs. A repetition under the same `Idempotency-Key` gets what the first call took.
#[utoipa::path(
    post, path = "/leases", tag = LEASES, operation_id = "takeJobs",
    summary = "Take jobs",
    description = "A lease ends `lease_ms` after the call was sent, plus `waited_ms`. Send an `Idempotency-Key` of its own with each call: repeated under \
                   the same key it gives the same leases again, renewed.",
    params(headers::IdempotencyKey, headers::PreferJob),
    request_body(content = Take, example = json!({"worker": "host-1", "tasks": ["words", "report_*"]})),
    responses(
        (status = 200, description = "None, if no job waits.", body = Leases, headers(("Preference-Applied"))),
        Any, OfJson,
    ),
)]
pub(crate) async fn take(
    gateway: Gateway,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    Json(take): Json<Take>,
) -> Result<Response, Rejection> {
    let came_ms = now_ms();
    place.release();
    check(&take, &gateway.queues)?;
    let claim_id = key_from_headers(&headers)?.map_or_else(ClaimId::generate, |key| claim_of(&take.worker, &key));
    let prefer = Prefer::from_headers(&headers);
    let deadline = Instant::now() + prefer.wait().unwrap_or_default();
    let _waits = match prefer.wait() {
        Some(_) => Some(gateway.pulls.try_acquire().map_err(|_| too_many())?),
        None => None,
    };
    let pull = to_pull(take, claim_id);
    let leases = loop {
        let turn_ms = now_ms().saturating_sub(came_ms);
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = if gateway.shutdown.is_draining() { Duration::ZERO } else { left.min(TURN) };
        let Pulled { waited_ms, jobs } = gateway.store.pull(&pull, wait).await?;
        if !jobs.is_empty() || left <= wait || gateway.shutdown.is_draining() {
            break Leases { waited_ms: turn_ms + waited_ms, leases: jobs.into_iter().map(Lease::from).collect() };
        }
    };
    metrics::counter!("longshore_leases_total", "program" => "gateway", "event" => "taken")
        .increment(leases.leases.len().try_into().unwrap_or(u64::MAX));
    let mut response = Json(leases).into_response();
    if let Some(applied) = prefer.applied(prefer.wait_s.is_some(), false) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

fn to_pull(take: Take, claim_id: ClaimId) -> Pull {
    let Take { worker, queues, tasks, limit, lease_ms } = take;
    Pull { session: session_of(&worker), worker, queues, tasks, limit, lease_ms, claim_id }
}

fn check(take: &Take, known: &[QueueName]) -> Result<(), Problem> {
    let mut errors = Vec::new();
    for (index, queue) in take.queues.iter().enumerate().filter(|(_, queue)| !known.contains(queue)) {
        let known: Vec<&str> = known.iter().map(QueueName::as_str).collect();
        let detail = format!("there is no queue `{queue}`; the queues are {}", known.join(", "));
        errors.push(FieldError::new(format!("/queues/{index}"), detail));
    }
    let mut within = |pointer: &str, value: u64, min: u64, max: u64| {
        if !(min..=max).contains(&value) {
            errors.push(FieldError::new(pointer, format!("is {value}, but must be {min} to {max}")));
        }
    };
    within("/lease_ms", take.lease_ms, *LEASE_MS.start(), *LEASE_MS.end());
    within("/limit", take.limit.into(), 1, LIMIT_MAX.into());
    let mut some = |pointer: &str, count: usize, max: usize| {
        if !(1..=max).contains(&count) {
            errors.push(FieldError::new(pointer, format!("has {count} items, but must have 1 to {max}")));
        }
    };
    some("/queues", take.queues.len(), QUEUES_MAX);
    some("/tasks", take.tasks.len(), TASKS_MAX);
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

fn too_many() -> Problem {
    Kind::RateLimited.detail("Too many workers wait for jobs here; ask without Prefer: wait, or later.")
}
