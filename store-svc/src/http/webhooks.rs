//! Reads of webhooks and of what became of their events.

use axum::extract::State;
use axum::response::Response;
use chassis::clock::wall_ms;
use chassis::http::{Json, Path, Query, Rejection};
use protocol::key::WebhookName;
use protocol::webhook::{DeliveryPage, DeliveryStatus, WebhookPage, unknown};
use serde::Deserialize;

use super::page::ByName;
use super::{Service, page};
use crate::storage::{At, DeliveriesQuery};

pub(super) async fn list(State(service): State<Service>, Query(query): Query<ByName>) -> Result<Response, Rejection> {
    let (after, limit) = query.read::<WebhookName>()?;
    let now_ms = wall_ms();
    let read = service.inner.readers.read(move |reader| reader.webhooks(&after, limit, now_ms)).await?;
    let At { position, read } = read;
    let read = WebhookPage { webhooks: read.webhooks, next_cursor: read.after };
    Ok(service.read(At { position, read }))
}

pub(super) async fn one(State(service): State<Service>, Path(name): Path<WebhookName>) -> Result<Response, Rejection> {
    let (asked, now_ms) = (name.clone(), wall_ms());
    let found = service.inner.readers.read(move |reader| reader.webhook(&asked, now_ms)).await?;
    Ok(match found.read {
        Some(webhook) => service.at(found.position, Json(webhook)),
        None => service.at(found.position, Rejection::from(unknown(&name))),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesOf {
    status: Option<DeliveryStatus>,
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn deliveries(
    State(service): State<Service>,
    Path(name): Path<WebhookName>,
    Query(query): Query<DeliveriesOf>,
) -> Result<Response, Rejection> {
    let limit = page::limit(query.limit)?;
    let before = match query.cursor.map(|cursor| cursor.parse::<u64>()) {
        None => i64::MAX,
        Some(Ok(position)) => i64::try_from(position).unwrap_or(i64::MAX),
        Some(Err(_)) => return Err(page::bad_cursor().into()),
    };
    let asked = DeliveriesQuery { name: name.clone(), status: query.status, before, limit };
    let found = service.inner.readers.read(move |reader| reader.deliveries(&asked)).await?;
    Ok(match found.read {
        Some(read) => {
            let next_cursor = read.before.map(|before| before.to_string());
            service.at(found.position, Json(DeliveryPage { deliveries: read.deliveries, next_cursor }))
        }
        None => service.at(found.position, Rejection::from(unknown(&name))),
    })
}
