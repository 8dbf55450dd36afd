//! `GET /webhooks` and `GET /webhooks/{name}`: checked here, answered by the store.

use axum::response::Response;
use chassis::http::{Path, Query, Rejection};
use http::Uri;
use protocol::key::WebhookName;
use protocol::webhook::{WebhookPage, WebhookView};

use crate::jobs::list::{ByName, pass_on};
use crate::openapi::WEBHOOKS;
use crate::openapi::problems::{Any, OfName, OfParameters};
use crate::state::Gateway;

/// One page, by name.
#[utoipa::path(
    get, path = "/webhooks", tag = WEBHOOKS, operation_id = "listWebhooks",
    summary = "List webhooks, by name",
    params(ByName),
    responses(
        (status = 200, description = "One page.", body = WebhookPage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn list(gateway: Gateway, Query(page): Query<ByName>, uri: Uri) -> Result<Response, Rejection> {
    page.pass_on(&gateway, &uri).await
}

#[utoipa::path(
    get, path = "/webhooks/{name}", tag = WEBHOOKS, operation_id = "getWebhook",
    summary = "A webhook, and how much waits for it",
    params(("name" = WebhookName, Path, description = "The webhook.", example = "billing")),
    responses(
        (status = 200, description = "As it is now, without its secret.", body = WebhookView, headers(("Cache-Control"))),
        Any, OfName,
    ),
)]
pub(crate) async fn one(gateway: Gateway, Path(name): Path<WebhookName>) -> Result<Response, Rejection> {
    pass_on(&gateway, &format!("/webhooks/{name}"), None).await
}
