//! The console: pages for people at `/console`. They do everything through the public API; the one route of their own is the overview's stream.

mod assets;
mod figures;
pub(crate) mod overview;
mod stream;

use axum::Router;
use axum::routing::get;

use crate::access::session;
use crate::state::Edge;

/// The pages share one document, which shows what its address says.
pub(crate) fn routes() -> Router<Edge> {
    Router::new()
        .route("/console", get(assets::overview))
        .route("/console/", get(assets::overview))
        .route("/console/{page}", get(assets::page))
        .route("/console/jobs/{id}", get(assets::job))
        .route("/console/assets/{file}", get(assets::file))
        .route("/console/events", get(stream::events))
        .route("/console/session", get(session::who).post(session::begin).delete(session::end))
}
