//! `DELETE /webhooks/{name}`, and `POST` of `/enable`, `/disable` and `/rotate` below it.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use protocol::key::WebhookName;
use protocol::problem::Problem;
use protocol::store_api::{Command, Reply};
use protocol::webhook::{OVERLAP_MS, OVERLAP_MS_MAX, Rotate, WebhookCommand, WebhookReply, WebhookView, unknown};

use super::put::made;
use crate::jobs::control::unexpected;
use crate::openapi::WEBHOOKS;
use crate::openapi::problems::{Any, OfJson, OfName};
use crate::state::Gateway;

/// 204 when there is no such webhook any more, 404 if there was none; what was still to be sent to it is not sent.
#[utoipa::path(
    delete, path = "/webhooks/{name}", tag = WEBHOOKS, operation_id = "deleteWebhook",
    summary = "Delete a webhook, and what was still to be sent to it",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing")),
    responses(
        (status = 204, description = "It is gone."),
        Any, OfName,
    ),
)]
pub(crate) async fn delete(gateway: Gateway, Path(name): Path<WebhookName>) -> Result<Response, Rejection> {
    let command = WebhookCommand::Delete { name: name.clone() };
    // Sent twice, it would not find what it has deleted.
    match gateway.store.apply(Command::Webhook(command)).await? {
        Reply::Webhook(WebhookReply::Deleted { deleted: true }) => {
            tracing::info!(webhook = %name, "a webhook was deleted");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Reply::Webhook(WebhookReply::Deleted { deleted: false }) => Err(unknown(&name).into()),
        other => Err(unexpected(&other)),
    }
}

#[utoipa::path(
    post, path = "/webhooks/{name}/enable", tag = WEBHOOKS, operation_id = "enableWebhook",
    summary = "Go on with a webhook that was disabled, and with what waits for it",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing")),
    responses(
        (status = 200, description = "What it is now.", body = WebhookView, headers(("Cache-Control"))),
        Any, OfName,
    ),
)]
pub(crate) async fn enable(gateway: Gateway, Path(name): Path<WebhookName>) -> Result<Response, Rejection> {
    set(&gateway, WebhookCommand::Enable { name }).await
}

#[utoipa::path(
    post, path = "/webhooks/{name}/disable", tag = WEBHOOKS, operation_id = "disableWebhook",
    summary = "Send nothing to a webhook, and note nothing new for it, until it is enabled",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing")),
    responses(
        (status = 200, description = "What it is now.", body = WebhookView, headers(("Cache-Control"))),
        Any, OfName,
    ),
)]
pub(crate) async fn disable(gateway: Gateway, Path(name): Path<WebhookName>) -> Result<Response, Rejection> {
    set(&gateway, WebhookCommand::Disable { name }).await
}

/// The new secret is shown this once. For a while the former one signs as well.
#[utoipa::path(
    post, path = "/webhooks/{name}/rotate", tag = WEBHOOKS, operation_id = "rotateWebhookSecret",
    summary = "Give a webhook a new secret; for a while the former one signs as well",
    description = "The new secret is shown once, in this answer.",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing")),
    request_body(content = Rotate, example = json!({})),
    responses(
        (status = 200, description = "What it is now, with its new secret.", body = WebhookView, headers(("Cache-Control"))),
        Any, OfJson, OfName,
    ),
)]
pub(crate) async fn rotate(
    gateway: Gateway,
    Path(name): Path<WebhookName>,
    Json(asked): Json<Rotate>,
) -> Result<Response, Rejection> {
    let overlap_ms = asked.overlap_ms.unwrap_or(OVERLAP_MS);
    if overlap_ms > OVERLAP_MS_MAX {
        let detail = format!("is {overlap_ms}, but must be at most {OVERLAP_MS_MAX}");
        return Err(Problem::invalid("/overlap_ms", detail).into());
    }
    let secret = asked.secret.unwrap_or_else(made);
    set(&gateway, WebhookCommand::Rotate { name, secret, overlap_ms }).await
}

async fn set(gateway: &Gateway, command: WebhookCommand) -> Result<Response, Rejection> {
    match gateway.store.apply_idempotent(Command::Webhook(command)).await? {
        Reply::Webhook(WebhookReply::Webhook { webhook, .. }) => {
            let disabled = webhook.disabled.is_some();
            tracing::info!(webhook = %webhook.name, disabled, secrets = webhook.secrets, "a webhook was changed");
            Ok(([(CACHE_CONTROL, "no-store")], Json(*webhook)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}
