//! `GET /webhooks/{name}/deliveries`, and `POST` of `/resend`: what became of events, and how they are sent again.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Query, Rejection};
use http::{StatusCode, Uri};
use protocol::ids::DeliveryId;
use protocol::key::WebhookName;
use protocol::store_api::{Command, Reply};
use protocol::webhook::{DeliveryPage, DeliveryStatus, DeliveryView, ResendMany, Resent, WebhookCommand, WebhookReply};
use serde::Deserialize;

use crate::jobs::control::unexpected;
use crate::jobs::list::{check_limit, pass_on};
use crate::openapi::WEBHOOKS;
use crate::openapi::problems::{Any, OfJson, OfName, OfParameters};
use crate::state::Gateway;

/// Which ones, and where a page begins; a parameter that is not here is a 422.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Only those of which this became.
    #[serde(rename = "status")]
    #[param(nullable = false)]
    _status: Option<DeliveryStatus>,
    /// `next_cursor` of the page before.
    #[serde(rename = "cursor")]
    #[param(nullable = false)]
    _cursor: Option<String>,
    /// Deliveries on the page, at most; 50 unless it says otherwise.
    #[param(nullable = false, minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

#[utoipa::path(
    get, path = "/webhooks/{name}/deliveries", tag = WEBHOOKS, operation_id = "listDeliveries",
    summary = "List the events of a webhook and what became of them, newest first",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing"), Page),
    responses(
        (status = 200, description = "One page.", body = DeliveryPage, headers(("Cache-Control"))),
        Any, OfName, OfParameters,
    ),
)]
pub(crate) async fn list(
    gateway: Gateway,
    Path(name): Path<WebhookName>,
    Query(page): Query<Page>,
    uri: Uri,
) -> Result<Response, Rejection> {
    check_limit(page.limit)?;
    pass_on(&gateway, &format!("/webhooks/{name}/deliveries"), uri.query()).await
}

/// With the `webhook-id` that it always had: a receiver that has had it may tell.
#[utoipa::path(
    post, path = "/webhooks/{name}/deliveries/{id}/resend", tag = WEBHOOKS, operation_id = "resendDelivery",
    summary = "Send an event again, whatever became of it",
    params(
        ("name" = WebhookName, Path, description = "The webhook.", example = "billing"),
        ("id" = DeliveryId, Path, description = "The delivery."),
    ),
    responses(
        (status = 202, description = "It is sent again.", body = DeliveryView),
        Any, OfName,
    ),
)]
pub(crate) async fn resend(
    gateway: Gateway,
    Path((name, delivery)): Path<(WebhookName, DeliveryId)>,
) -> Result<Response, Rejection> {
    let command = WebhookCommand::Resend { name: name.clone(), delivery };
    match gateway.store.apply_idempotent(Command::Webhook(command)).await? {
        Reply::Webhook(WebhookReply::Delivery(delivery)) => {
            tracing::info!(webhook = %name, delivery = %delivery.delivery_id, "an event is sent again");
            Ok((StatusCode::ACCEPTED, Json(*delivery)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

/// At most 1,000 at once, the oldest first; `more`: ask again.
#[utoipa::path(
    post, path = "/webhooks/{name}/resend", tag = WEBHOOKS, operation_id = "resendDeliveries",
    summary = "Send many events again: those since a time of which this became",
    description = "At most 1,000 at once, the oldest first. If there are `more`, ask again.",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing")),
    request_body(content = ResendMany, example = json!({"since": "2026-11-30T00:00:00Z"})),
    responses(
        (status = 202, description = "How many are sent again.", body = Resent),
        Any, OfJson, OfName,
    ),
)]
pub(crate) async fn resend_many(
    gateway: Gateway,
    Path(name): Path<WebhookName>,
    Json(resend): Json<ResendMany>,
) -> Result<Response, Rejection> {
    let command = WebhookCommand::ResendMany { name: name.clone(), resend };
    match gateway.store.apply_idempotent(Command::Webhook(command)).await? {
        Reply::Webhook(WebhookReply::Resent(resent)) => {
            tracing::info!(webhook = %name, resent = resent.resent, "events are sent again");
            Ok((StatusCode::ACCEPTED, Json(resent)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}
