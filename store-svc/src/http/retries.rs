//! Reads of the retries of many jobs: what is known of them, and what one would do.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Rejection};
use protocol::bulk_retry::{BulkRetries, RetryFilter, RetryPreview};

use super::Service;
use super::tenants::For;
use crate::storage::At;

pub(super) async fn list(State(service): State<Service>, For(tenant): For) -> Result<Response, Rejection> {
    let read = service.inner.readers.read(move |reader| reader.bulk_retries(&tenant));
    let At { position, read: retries } = read.await?;
    Ok(service.read(At { position, read: BulkRetries { retries } }))
}

pub(super) async fn preview(
    State(service): State<Service>,
    For(tenant): For,
    Json(filter): Json<RetryFilter>,
) -> Result<Response, Rejection> {
    let read = service.inner.readers.read(move |reader| reader.preview_retry(&tenant, &filter));
    let At { position, read } = read.await?;
    let sample = read.sample.into_iter().map(|job| service.seen(job)).collect();
    Ok(service.read(At { position, read: RetryPreview { sample, ..read } }))
}
