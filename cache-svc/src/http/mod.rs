//! The HTTP face: renewals and reads for gateways, invalidations, and the cache's own routes.

mod cache;
mod inspect;
mod invalidate;
mod read;
mod renewals;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use chassis::http::Rejection;
use chassis::shutdown::Shutdown;
use protocol::invalidation::sequencer::Refusal;
use protocol::problem::Kind;
use tokio::sync::Semaphore;

use crate::announce::Announcer;
use crate::inspections::Inspections;
use crate::load::Loader;
use crate::seat::Seat;

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) seat: Arc<Seat>,
    pub(crate) loader: Loader,
    pub(crate) announcer: Announcer,
    pub(crate) inspections: Arc<Inspections>,
    /// Places for those who wait for a fence. Renewals take none: a waiting fence must never hold up what closes it.
    pub(crate) fences: Arc<Semaphore>,
    pub(crate) shutdown: Shutdown,
}

pub(crate) fn router(service: Service) -> Router {
    Router::new()
        .route("/renewals", post(renewals::renew))
        .route("/read/{key}", get(read::read))
        .route("/invalidations", post(invalidate::invalidations))
        .route("/cache:invalidate", post(invalidate::many))
        .route("/inspections", post(inspect::inspections))
        .route("/cache/debug/{key}", get(inspect::debug))
        .route("/cache/{key}", get(cache::held).post(cache::put).delete(invalidate::key))
        .with_state(service)
}

/// The problem of a refusal.
pub(crate) fn refused(refusal: Refusal) -> Rejection {
    match refusal {
        Refusal::NotSequencer => Kind::NotSequencer.into(),
        Refusal::TooManyHolders => {
            tracing::warn!("a gateway was refused a near lease: too many hold one");
            Kind::Unavailable.into()
        }
    }
}
