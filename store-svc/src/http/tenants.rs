//! For whom a call is made, and the list of all tenants.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use chassis::http::Rejection;
use http::request::Parts;
use protocol::problem::Kind;
use protocol::tenant::{HEADER, Tenant};

use super::Service;

/// The tenant that the call names. Who says nothing calls for `default`.
#[derive(Clone, Debug)]
pub(super) struct For(pub(super) Tenant);

impl<S: Send + Sync> FromRequestParts<S> for For {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let mut stated = parts.headers.get_all(HEADER).iter();
        let bad = |what: String| Rejection::from(Kind::BadRequest.detail(format!("The header {HEADER} {what}.")));
        match (stated.next(), stated.next()) {
            (None, _) => Ok(Self(Tenant::default())),
            (Some(_), Some(_)) => Err(bad("was sent more than once".to_owned())),
            (Some(value), None) => {
                let text = value.to_str().map_err(|_| bad("is not printable ASCII".to_owned()))?;
                text.parse().map(Self).map_err(|error| bad(format!("is {text:?}: {error}")))
            }
        }
    }
}

pub(super) async fn list(State(service): State<Service>) -> Result<Response, Rejection> {
    let tenants = service.inner.readers.read(|reader| reader.tenants()).await?;
    Ok(service.read(tenants))
}
