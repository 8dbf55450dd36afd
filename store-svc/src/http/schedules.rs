//! Reads of schedules.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Path, Query, Rejection};
use protocol::key::ScheduleName;
use protocol::schedule::{SchedulePage, unknown};

use super::Service;
use super::page::ByName;
use super::tenants::For;
use crate::storage::At;

pub(super) async fn list(
    State(service): State<Service>,
    For(tenant): For,
    Query(query): Query<ByName>,
) -> Result<Response, Rejection> {
    let (after, limit) = query.read::<ScheduleName>()?;
    let read = service.inner.readers.read(move |reader| reader.schedules(&tenant, &after, limit));
    let At { position, read } = read.await?;
    let read = SchedulePage { schedules: read.schedules, next_cursor: read.after };
    Ok(service.read(At { position, read }))
}

pub(super) async fn one(
    State(service): State<Service>,
    For(tenant): For,
    Path(name): Path<ScheduleName>,
) -> Result<Response, Rejection> {
    let asked = name.clone();
    let found = service.inner.readers.read(move |reader| reader.schedule(&tenant, &asked)).await?;
    Ok(match found.read {
        Some(schedule) => service.at(found.position, Json(schedule)),
        None => service.at(found.position, Rejection::from(unknown(&name))),
    })
}
