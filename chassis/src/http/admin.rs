//! What every program answers by itself: is it alive, should it be sent work, what does it count.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::extract::Json;
use crate::health::Health;
use crate::shutdown::Shutdown;
use crate::telemetry;

/// `/live`, `/ready` and `/metrics` besides the routes of `router`.
pub(super) fn with_admin(router: Router, health: &Health, shutdown: &Shutdown) -> Router {
    let (health, shutdown) = (health.clone(), shutdown.clone());
    router
        .route("/live", get(|| async { Json(serde_json::json!({"status": "live"})) }))
        .route("/ready", get(move || async move { ready(&health, &shutdown) }))
        .route("/metrics", get(metrics))
}

fn ready(health: &Health, shutdown: &Shutdown) -> Response {
    let report = health.report(shutdown.is_draining());
    let status = if report.status.is_serving() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics() -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::render_metrics()).into_response()
}
