//! Reads of API keys and of the audit log, for gateways.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Path, Query, Rejection};
use protocol::access::{AuditPage, KeyId, KeyPage, unknown_key};
use protocol::tenant::Tenant;
use serde::Deserialize;

use super::{Service, page};
use crate::storage::{At, KeyCursor};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only of this tenant.
    of: Option<Tenant>,
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn keys(
    State(service): State<Service>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Rejection> {
    let limit = page::limit(query.limit)?;
    let after = query.cursor.as_deref().map(KeyCursor::parse).map(|cursor| cursor.ok_or_else(page::bad_cursor));
    let after = after.transpose()?;
    let read = move |reader: &mut dyn crate::storage::Reader| reader.keys(query.of.as_ref(), after.as_ref(), limit);
    let At { position, read } = service.inner.readers.read(read).await?;
    let read = KeyPage { keys: read.keys, next_cursor: read.after.map(|after| after.to_string()) };
    Ok(service.read(At { position, read }))
}

pub(super) async fn key(State(service): State<Service>, Path(key_id): Path<KeyId>) -> Result<Response, Rejection> {
    let asked = key_id.clone();
    let found = service.inner.readers.read(move |reader| reader.key(&asked)).await?;
    Ok(match found.read {
        Some(record) => service.at(found.position, Json(record)),
        None => service.at(found.position, Rejection::from(unknown_key(&key_id))),
    })
}

pub(super) async fn audit(
    State(service): State<Service>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Rejection> {
    let limit = page::limit(query.limit)?;
    let before = query.cursor.map(|cursor| cursor.parse::<i64>().map_err(|_| page::bad_cursor())).transpose()?;
    let read = move |reader: &mut dyn crate::storage::Reader| reader.audit(query.of.as_ref(), before, limit);
    let At { position, read } = service.inner.readers.read(read).await?;
    let read = AuditPage { entries: read.entries, next_cursor: read.before.map(|before| before.to_string()) };
    Ok(service.read(At { position, read }))
}
