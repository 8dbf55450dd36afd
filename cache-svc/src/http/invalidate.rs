//! Invalidations: sequenced at once, acknowledged when the fence has closed.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Query, Rejection};
use http::StatusCode;
use protocol::cache_api::{
    Deleted, FENCE_WAIT_MS_MAX, FenceQuery, Invalidate, InvalidationAnswer, InvalidationRequest, key_of_path,
};
use protocol::envelope::{Covered, Rejection as Unacceptable};
use protocol::problem::{Kind, Problem};

use super::{Service, refused};
use crate::seat::Issued;

pub(super) const FENCE_DEADLINE: Duration = Duration::from_millis(FENCE_WAIT_MS_MAX);

/// `POST /invalidations`: a gateway's.
pub(super) async fn invalidations(
    State(service): State<Service>,
    Json(request): Json<InvalidationRequest>,
) -> Result<Response, Rejection> {
    request.covered.check().map_err(|reason| unacceptable(&reason))?;
    let within = request.within_ms.map_or(FENCE_DEADLINE, Duration::from_millis).min(FENCE_DEADLINE);
    invalidate(&service, request.covered, request.wait.then_some(within)).await
}

/// `POST /cache:invalidate`
pub(super) async fn many(
    State(service): State<Service>,
    Query(query): Query<FenceQuery>,
    Json(form): Json<Invalidate>,
) -> Result<Response, Rejection> {
    let waits = query.waits()?;
    let covered = Covered::try_from(form).map_err(|reason| unacceptable(&reason))?;
    invalidate(&service, covered, waits.then_some(FENCE_DEADLINE)).await
}

/// `DELETE /cache/{key}`
pub(super) async fn key(
    State(service): State<Service>,
    Path(key): Path<String>,
    Query(query): Query<FenceQuery>,
) -> Result<Response, Rejection> {
    let key = key_of_path(key)?;
    invalidate(&service, Covered::key(key.as_str()), query.waits()?.then_some(FENCE_DEADLINE)).await
}

fn unacceptable(reason: &Unacceptable) -> Problem {
    Problem::invalid("", reason.to_string())
}

/// Waits for the fence for as long as is said, or not at all.
async fn invalidate(service: &Service, covered: Covered, waits: Option<Duration>) -> Result<Response, Rejection> {
    let issued = service.seat.issue(covered).map_err(refused)?;
    service.announcer.announce(&issued);
    let answer = |fenced| InvalidationAnswer { status: Deleted::Deleted, seq: issued.entry.seq, fenced };
    let Some(within) = waits else {
        return Ok((StatusCode::ACCEPTED, Json(answer(false))).into_response());
    };
    fenced(service, &issued, within).await?;
    Ok(Json(answer(true)).into_response())
}

/// Waits until nobody is answered with an older value.
///
/// # Errors
/// 503: `fence-timeout` when it takes longer, `not-sequencer` if the term ended meanwhile, `unavailable` if too many wait.
pub(super) async fn fenced(service: &Service, issued: &Issued, within: Duration) -> Result<(), Rejection> {
    let Ok(_place) = service.fences.try_acquire() else {
        return Err(Kind::Unavailable.into());
    };
    let closed = service.seat.until_fenced(issued.term, issued.entry.seq);
    tokio::select! {
        closed = tokio::time::timeout(within, closed) => match closed {
            Ok(true) => Ok(()),
            Ok(false) => Err(Kind::NotSequencer.into()),
            Err(_) => Err(Kind::FenceTimeout.problem().with("seq", issued.entry.seq.0).into()),
        },
        () = service.shutdown.ended() => Err(Kind::Unavailable.into()),
    }
}
