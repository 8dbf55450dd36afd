//! Who may call what, from the table that requests are held to: each operation names its scope, and what is answered to who lacks it.

use http::Method;
use protocol::access::Scope;
use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

use super::problems::{FOREIGN, REFUSED_TO_CHANGE, REFUSED_TO_READ, reference};
use crate::access::{Need, SESSION_COOKIE};

const BEARER: &str = "bearer";
const SESSION: &str = "session";

pub(super) struct Secured;

impl Modify for Secured {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description =
            Some("An API key, or a token (JWT). With `LONGSHORE_AUTH=1` only: else nobody is asked.".to_owned());
        let session = ApiKeyValue::with_description(SESSION_COOKIE, "The session of a person at the console.");
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
        components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(session)));
        for (path, item) in &mut document.paths.paths {
            let operations = [
                (Method::GET, &mut item.get),
                (Method::PUT, &mut item.put),
                (Method::POST, &mut item.post),
                (Method::DELETE, &mut item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    secure(operation, Need::of(path, &method), &method);
                }
            }
        }
    }
}

fn secure(operation: &mut Operation, need: Option<Need>, method: &Method) {
    let scope = match need {
        Some(Need::Of(scope) | Need::System(scope)) => Some(scope),
        Some(Need::Known) => None,
        Some(Need::Open) | None => {
            if !method.is_safe() {
                operation.responses.responses.extend([reference(FOREIGN)]);
            }
            return;
        }
    };
    let scopes: Vec<&str> = scope.map(Scope::name).into_iter().collect();
    // Without authentication neither is needed.
    operation.security = Some(vec![
        SecurityRequirement::new(BEARER, scopes.clone()),
        SecurityRequirement::new(SESSION, scopes),
        SecurityRequirement::default(),
    ]);
    let refusals = if method.is_safe() { REFUSED_TO_READ } else { REFUSED_TO_CHANGE };
    operation.responses.responses.extend(refusals.iter().map(|kinds| reference(kinds)));
}
