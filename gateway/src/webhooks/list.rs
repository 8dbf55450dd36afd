//! `GET /webhooks` and `GET /webhooks/{name}`: checked here, answered by the store.

use axum::response::Response;
use chassis::http::{Path, Query, Rejection};
use http::Uri;
use protocol::key::WebhookName;
use protocol::webhook::{WebhookPage, WebhookView};
use serde::Deserialize;

use crate::jobs::list::{check_limit, pass_on};
use crate::openapi::WEBHOOKS;
use crate::openapi::problems::{Any, OfName, OfParameters};
use crate::state::Gateway;

/// Where a page begins; a parameter that is not here is a 422.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// `next_cursor` of the page before.
    #[serde(rename = "cursor")]
    #[param(nullable = false)]
    _cursor: Option<String>,
    /// Webhooks on the page, at most; 50 unless it says otherwise.
    #[param(nullable = false, minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// One page, by name.
#[utoipa::path(
    get, path = "/webhooks", tag = WEBHOOKS, operation_id = "listWebhooks",
    summary = "List webhooks, by name",
    params(Page),
    responses(
        (status = 200, description = "One page.", body = WebhookPage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn list(gateway: Gateway, Query(page): Query<Page>, uri: Uri) -> Result<Response, Rejection> {
    check_limit(page.limit)?;
    pass_on(&gateway, "/webhooks", uri.query()).await
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
