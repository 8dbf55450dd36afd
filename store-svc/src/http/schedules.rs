//! Reads of schedules.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Path, Query, Rejection};
use protocol::key::ScheduleName;
use protocol::schedule::{SchedulePage, unknown};
use serde::Deserialize;

use super::tenants::For;
use super::{Service, page};
use crate::storage::At;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(service): State<Service>,
    For(tenant): For,
    Query(query): Query<ListQuery>,
) -> Result<Response, Rejection> {
    let limit = page::limit(query.limit)?;
    let after = match query.cursor.map(ScheduleName::try_from) {
        None => String::new(),
        Some(Ok(name)) => name.into(),
        Some(Err(_)) => return Err(page::bad_cursor().into()),
    };
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
