//! `POST` and `DELETE /console/session`: a person shows a key once, and the browser is given a cookie that no script can read and no other site can make
//! it send. A session is a key of its own in the store, with the scopes of the one that began it: it ends with it, and after twelve hours.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Rejection};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::access::{KeyCommand, Scopes};
use protocol::problem::Kind;
use protocol::tenant::Tenant;
use serde::{Deserialize, Serialize};

use super::manage::{changed, handed_on, mint};
use super::token::COOKIE_NAME;
use super::{Caller, Principal, guard};
use crate::state::Gateway;

/// How long a session lasts.
const LASTS_MS: i64 = 12 * 3_600 * 1_000;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a person shows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    key: String,
}

/// Who is logged in.
#[derive(Serialize)]
struct Who<'a> {
    /// Whether anybody must be.
    asks: bool,
    who: &'a str,
    tenant: &'a Tenant,
    scopes: Scopes,
}

/// `GET /console/session`
pub(crate) async fn who(gateway: Gateway) -> Response {
    let Principal { who, tenant, scopes, .. } = &**gateway.caller.principal();
    Json(Who { asks: gateway.access.is_on(), who, tenant, scopes: *scopes }).into_response()
}

/// `POST /console/session`
pub(crate) async fn begin(
    gateway: Gateway,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Result<Response, Rejection> {
    if !gateway.access.is_on() {
        return Err(Kind::Conflict.detail("Nobody is asked for a key here (LONGSHORE_AUTH is off).").into());
    }
    let principal = gateway.access.identify(login.key.trim()).await?;
    let minted = mint(None);
    let new = handed_on(&principal, "session of the console", LASTS_MS, &minted)?;
    // What is recorded is who logged in.
    let caller = Caller { principal, from: guard::from(&headers), is_known: true };
    changed(&gateway.as_seen_by(caller), KeyCommand::Create(new)).await?;
    let cookie = format!("{}={}; Max-Age={}; {}", COOKIE_NAME, minted.api_key, LASTS_MS / 1_000, attributes(&headers));
    answer(cookie)
}

/// `DELETE /console/session`
pub(crate) async fn end(gateway: Gateway, headers: HeaderMap) -> Result<Response, Rejection> {
    if let Some(key_id) = gateway.caller.principal().session.clone() {
        changed(&gateway, KeyCommand::Revoke { key_id, of: None }).await?;
    }
    answer(format!("{COOKIE_NAME}=; Max-Age=0; {}", attributes(&headers)))
}

fn answer(cookie: String) -> Result<Response, Rejection> {
    let cookie = HeaderValue::try_from(cookie).map_err(anyhow::Error::from)?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

/// Over an encrypted connection the cookie is sent over such ones only.
fn attributes(headers: &HeaderMap) -> &'static str {
    if headers.get(X_FORWARDED_PROTO).is_some_and(|protocol| protocol == "https") {
        "Path=/; HttpOnly; SameSite=Strict; Secure"
    } else {
        "Path=/; HttpOnly; SameSite=Strict"
    }
}
