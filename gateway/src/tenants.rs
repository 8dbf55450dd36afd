//! `GET /tenants` and `PUT /tenants/{tenant}`: whose jobs there are, and what operators grant each.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use http::header::LOCATION;
use protocol::problem::Problem;
use protocol::store_api::{Command, Reply};
use protocol::tenant::{Limits, Tenant, TenantView, Tenants};

use crate::jobs::control::unexpected;
use crate::jobs::list::pass_on;
use crate::openapi::TENANTS;
use crate::openapi::problems::{Any, OfJson, OfPut};
use crate::state::Gateway;

/// All tenants, what they have open, and their limits.
#[utoipa::path(
    get, path = "/tenants", tag = TENANTS, operation_id = "listTenants",
    summary = "All tenants, what they have open, and their limits",
    responses(
        (status = 200, description = "By name.", body = Tenants, headers(("Cache-Control"))),
        Any,
    ),
)]
pub(crate) async fn list(gateway: Gateway) -> Result<Response, Rejection> {
    pass_on(&gateway, "/tenants", None).await
}

/// What is not named is no limit: the body is all that the tenant is granted from now on.
#[utoipa::path(
    put, path = "/tenants/{tenant}", tag = TENANTS, operation_id = "putTenant",
    summary = "Set the limits of a tenant, or make a new one known",
    params(("tenant" = Tenant, Path, description = "The tenant.", example = "acme")),
    request_body(content = Limits, example = json!({"share": 2, "running_max": 50, "rate_per_second": 100, "queued_max": 10_000})),
    responses(
        (status = 201, description = "It is new.", body = TenantView, headers(("Location"))),
        (status = 200, description = "It has these limits in place of those it had.", body = TenantView, headers(("Location"))),
        Any, OfJson, OfPut,
    ),
)]
pub(crate) async fn put(
    gateway: Gateway,
    Path(tenant): Path<String>,
    Json(limits): Json<Limits>,
) -> Result<Response, Rejection> {
    let tenant = Tenant::try_from(tenant).map_err(|error| Problem::invalid("/tenant", error.to_string()))?;
    let limits = limits.check()?;
    match gateway.store.apply_idempotent(Command::SetTenant { tenant, limits }).await? {
        Reply::Tenant { created, tenant } => {
            tracing::info!(tenant = %tenant.tenant, created, ?limits, "the limits of a tenant were set");
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let location = [(LOCATION, "/tenants")];
            Ok((status, location, Json(*tenant)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}
