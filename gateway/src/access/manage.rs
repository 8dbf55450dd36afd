//! `/keys` and `/audit`: for administrators. Those of the tenant `default` see and change everybody's, others their own tenant's.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::clock;
use chassis::http::{Json, Path, Query, Rejection};
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION};
use protocol::access::{
    AuditPage, CreateKey, IssuedKey, KEY_PREFIX, KeyCommand, KeyId, KeyLimits, KeyPage, KeyRecord, KeyView, NewKey,
    OVERLAP_MS_DEFAULT, OVERLAP_MS_MAX, RotateKey, unknown_key,
};
use protocol::problem::{FieldError, Kind, Problem};
use protocol::store_api::{Command, Reply};
use protocol::tenant::Tenant;
use serde::Deserialize;

use super::token::{digest, hexadecimal};
use super::{Caller, Principal};
use crate::jobs::control::unexpected;
use crate::jobs::list::{check_limit, pass_on};
use crate::openapi::ACCESS;
use crate::openapi::problems::{Any, OfJson, OfName, OfParameters, OfPut, OfState};
use crate::state::Gateway;

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Where a page begins; a parameter that is not here is a 422.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// How many on the page, at most; 50 unless it says otherwise.
    #[param(nullable = false, minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// A new key: its id, the key itself, and what is kept of it.
pub(super) struct Minted {
    pub(super) key_id: KeyId,
    pub(super) api_key: String,
    pub(super) digest: String,
}

/// A key with this id, or with a random one.
pub(super) fn mint(key_id: Option<KeyId>) -> Minted {
    let key_id = key_id.unwrap_or_else(|| KeyId::of(rand::random()));
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
    let api_key = format!("{KEY_PREFIX}{key_id}_{secret}");
    let digest = hexadecimal(&digest(&api_key));
    Minted { key_id, api_key, digest }
}

/// The tenant whose keys and acts the caller may see; `None`: all.
fn sees(caller: &Caller) -> Option<Tenant> {
    let tenant = caller.tenant();
    (!tenant.is_default()).then(|| tenant.clone())
}

/// What the store is asked for a page.
fn query(caller: &Caller, page: &Page) -> Result<String, Problem> {
    check_limit(page.limit)?;
    let is_plain = |cursor: &&String| cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let cursor = match &page.cursor {
        None => String::new(),
        Some(cursor) if is_plain(&cursor) => format!("&cursor={cursor}"),
        Some(_) => return Err(Problem::invalid("/cursor", "must be the next_cursor of a page")),
    };
    let of = sees(caller).map(|tenant| format!("&of={tenant}")).unwrap_or_default();
    Ok(format!("limit={}{cursor}{of}", page.limit.unwrap_or(50)))
}

/// One page, the oldest first.
#[utoipa::path(
    get, path = "/keys", tag = ACCESS, operation_id = "listKeys",
    summary = "List API keys, oldest first",
    params(Page),
    responses(
        (status = 200, description = "One page, without secrets.", body = KeyPage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn list(gateway: Gateway, Query(page): Query<Page>) -> Result<Response, Rejection> {
    let query = query(&gateway.caller, &page)?;
    pass_on(&gateway, "/keys", Some(&query)).await
}

/// The key with its secret, which nobody can show again.
#[utoipa::path(
    post, path = "/keys", tag = ACCESS, operation_id = "createKey",
    summary = "Create an API key",
    description = "The answer is the only one that ever shows the secret: what is kept is its SHA-256.",
    request_body(content = CreateKey, examples(
        ("application" = (value = json!({"name": "shop", "scopes": ["submit", "read"]}))),
        ("tenant" = (value = json!({"name": "acme's operator", "tenant": "acme", "scopes": ["admin"], "expires_at": "2030-01-01T00:00:00Z"}))),
    )),
    responses(
        (status = 201, description = "The key, this once.", body = IssuedKey, headers(("Location"), ("Cache-Control"))),
        Any, OfJson, OfState,
    ),
)]
pub(crate) async fn create(gateway: Gateway, Json(asked): Json<CreateKey>) -> Result<Response, Rejection> {
    let CreateKey { name, scopes, tenant, expires_at } = asked;
    let own = gateway.caller.tenant();
    let mut errors = Vec::new();
    if scopes.is_empty() {
        errors.push(FieldError::new("/scopes", "must name one of submit, read, work, operate and admin, or more"));
    }
    if expires_at.is_some_and(|end| end.unix_ms() <= clock::wall_ms()) {
        errors.push(FieldError::new("/expires_at", "must lie ahead"));
    }
    let tenant = tenant.unwrap_or_else(|| own.clone());
    if tenant != *own && !own.is_default() {
        errors.push(FieldError::new(
            "/tenant",
            format!("must be {own}: only keys of the tenant default make keys for others"),
        ));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors).into());
    }
    let Minted { key_id, api_key, digest } = mint(None);
    let new = NewKey { key_id, name, tenant, scopes, expires_at, digest, session_of: None };
    let key = changed(&gateway, KeyCommand::Create(new)).await?;
    tracing::info!(key_id = %key.key_id, tenant = %key.tenant, "a key was created");
    let location = format!("/keys/{}", key.key_id);
    let shown = (StatusCode::CREATED, [(LOCATION, location)], unstored(), Json(IssuedKey { api_key, key }));
    Ok(shown.into_response())
}

#[utoipa::path(
    get, path = "/keys/{id}", tag = ACCESS, operation_id = "getKey",
    summary = "An API key without its secret",
    params(("id" = KeyId, Path, description = "The key's id, which is no secret.")),
    responses(
        (status = 200, description = "As it is now.", body = KeyView),
        Any, OfName,
    ),
)]
pub(crate) async fn one(gateway: Gateway, Path(key_id): Path<KeyId>) -> Result<Response, Rejection> {
    let record: KeyRecord = gateway.store.get(format!("/keys/{key_id}")).await?.json()?.body;
    let is_seen = sees(&gateway.caller).is_none_or(|own| own == record.key.tenant) && record.session_of.is_none();
    if is_seen { Ok(Json(record.key).into_response()) } else { Err(unknown_key(&key_id).into()) }
}

/// The new secret. The old one stays good for a while, so that both can be in use.
#[utoipa::path(
    post, path = "/keys/{id}/rotate", tag = ACCESS, operation_id = "rotateKey",
    summary = "Give an API key a new secret",
    description = "The secret that it had stays good beside the new one for `overlap_ms`; one that was old already is good no more.",
    params(("id" = KeyId, Path, description = "The key.")),
    request_body(content = RotateKey, example = json!({"overlap_ms": 3_600_000})),
    responses(
        (status = 200, description = "The key with its new secret, this once.", body = IssuedKey, headers(("Cache-Control"))),
        Any, OfJson, OfName, OfState,
    ),
)]
pub(crate) async fn rotate(
    gateway: Gateway,
    Path(key_id): Path<KeyId>,
    Json(asked): Json<RotateKey>,
) -> Result<Response, Rejection> {
    let overlap_ms = asked.overlap_ms.unwrap_or(OVERLAP_MS_DEFAULT);
    if overlap_ms > OVERLAP_MS_MAX {
        let detail = format!("is {overlap_ms}, but must be at most {OVERLAP_MS_MAX} (90 days)");
        return Err(Problem::invalid("/overlap_ms", detail).into());
    }
    let Minted { key_id, api_key, digest } = mint(Some(key_id));
    let command = KeyCommand::Rotate { key_id, of: sees(&gateway.caller), digest, overlap_ms };
    let key = changed(&gateway, command).await?;
    tracing::info!(key_id = %key.key_id, "a key was rotated");
    Ok((unstored(), Json(IssuedKey { api_key, key })).into_response())
}

/// What is not named is no limit: the body is all that holds from now on.
#[utoipa::path(
    put, path = "/keys/{id}/limits", tag = ACCESS, operation_id = "limitKey",
    summary = "Set what the jobs submitted with an API key may have",
    description = "Within what its tenant may. They hold for jobs that are submitted with the key from now on, also by a session of the console that was \
                   begun with it; `{}` takes all limits away.",
    params(("id" = KeyId, Path, description = "The key.")),
    request_body(content = KeyLimits, example = json!({"running_max": 5, "rate_per_second": 10})),
    responses(
        (status = 200, description = "It has these limits in place of those it had.", body = KeyView),
        Any, OfJson, OfName, OfPut,
    ),
)]
pub(crate) async fn limit(
    gateway: Gateway,
    Path(key_id): Path<KeyId>,
    Json(limits): Json<KeyLimits>,
) -> Result<Response, Rejection> {
    let limits = limits.check()?;
    let key = changed(&gateway, KeyCommand::Limit { key_id, of: sees(&gateway.caller), limits }).await?;
    tracing::info!(key_id = %key.key_id, ?limits, "the limits of a key were set");
    Ok(Json(key).into_response())
}

/// No gateway takes it any more, within seconds.
#[utoipa::path(
    delete, path = "/keys/{id}", tag = ACCESS, operation_id = "revokeKey",
    summary = "Revoke an API key, and the sessions of the console that were begun with it",
    description = "This gateway refuses it at once, the others within 5 s.",
    params(("id" = KeyId, Path, description = "The key.")),
    responses(
        (status = 200, description = "What it was.", body = KeyView),
        Any, OfName,
    ),
)]
pub(crate) async fn revoke(gateway: Gateway, Path(key_id): Path<KeyId>) -> Result<Response, Rejection> {
    let command = KeyCommand::Revoke { key_id, of: sees(&gateway.caller) };
    let key = changed(&gateway, command).await?;
    tracing::info!(key_id = %key.key_id, "a key was revoked");
    Ok(Json(key).into_response())
}

/// One page, the newest first.
#[utoipa::path(
    get, path = "/audit", tag = ACCESS, operation_id = "listAudit",
    summary = "What operators did, newest first",
    description = "Who paused, resumed, cancelled, retried, dropped or invalidated what, changed schedules or keys, or logged in to the console, and what \
                   came of it. The last million entries are kept.",
    params(Page),
    responses(
        (status = 200, description = "One page.", body = AuditPage, headers(("Cache-Control"))),
        Any, OfParameters,
    ),
)]
pub(crate) async fn audit(gateway: Gateway, Query(page): Query<Page>) -> Result<Response, Rejection> {
    let query = query(&gateway.caller, &page)?;
    pass_on(&gateway, "/audit", Some(&query)).await
}

/// A secret belongs into no cache.
fn unstored() -> [(http::HeaderName, &'static str); 1] {
    [(CACHE_CONTROL, "no-store")]
}

/// Gives a command about a key, which may be repeated.
pub(super) async fn changed(gateway: &Gateway, command: KeyCommand) -> Result<KeyView, Rejection> {
    let reply = gateway.store.apply_idempotent(Command::Key(command)).await?;
    gateway.access.forget();
    match reply {
        Reply::Key(key) => Ok(*key),
        other => Err(unexpected(&other)),
    }
}

/// The tenant, the scopes and the end of what somebody may hand on.
pub(super) fn handed_on(principal: &Principal, name: &str, lasts_ms: i64, minted: &Minted) -> Result<NewKey, Problem> {
    let ends_ms = clock::wall_ms().saturating_add(lasts_ms);
    let ends_ms = principal.ends_ms.map_or(ends_ms, |end| end.min(ends_ms));
    let name = name.parse().map_err(|_| Kind::Internal.problem())?;
    Ok(NewKey {
        key_id: minted.key_id.clone(),
        name,
        tenant: principal.tenant.clone(),
        scopes: principal.scopes,
        expires_at: Some(protocol::time::Timestamp::from_unix_ms(ends_ms)),
        digest: minted.digest.clone(),
        session_of: Some(principal.who.clone()),
    })
}
