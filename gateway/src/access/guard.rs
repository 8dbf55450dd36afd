//! Before every route: a page of another origin changes nothing, and who calls must have what the route needs.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chassis::http::Rejection;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::access::Scope;
use protocol::problem::{Kind, Problem};

use super::same_origin::is_foreign;
use super::{Access, Caller, Need, token};

/// Set by the balancer, which drops what clients say there.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Longest address that is believed to be one.
const ADDRESS_BYTES_MAX: usize = 64;

/// Lets a request pass, with who makes it, or refuses it.
pub(crate) async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    if is_foreign(request.method(), request.headers()) {
        count("foreign-origin");
        let detail =
            "A page of another origin may change nothing here; programs send neither Origin nor Sec-Fetch-Site.";
        return Rejection::from(Kind::ForeignOrigin.detail(detail)).into_response();
    }
    if access.is_on() {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let need = path.and_then(|path| Need::of(path, request.method()));
        if need.is_none()
            && let Some(methods) = path.and_then(Need::methods_of)
        {
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, methods)]).into_response();
        }
        match caller(&access, need, request.headers()).await {
            Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
            Ok(None) => {}
            Err(rejection) => {
                return refused(rejection, token::of(request.headers()).is_ok_and(|token| token.is_none()));
            }
        }
    }
    next.run(request).await
}

/// Who calls; `None` where that does not matter.
async fn caller(access: &Access, need: Option<Need>, headers: &HeaderMap) -> Result<Option<Caller>, Rejection> {
    let Some(need) = need else {
        // A defect of ours, which a test finds; until then nobody comes in by it.
        tracing::error!("a route is not in the table of needs");
        return Err(Kind::MissingScope.into());
    };
    if need == Need::Open {
        return Ok(None);
    }
    let shown = token::of(headers)?.ok_or(Kind::Unauthenticated)?;
    let principal = access.identify(shown).await?;
    if let Some((scope, also)) = need.lacks(&principal) {
        return Err(lacking(scope, also).into());
    }
    Ok(Some(Caller { principal, from: from(headers), is_known: true }))
}

fn lacking(scope: Scope, also: &str) -> Problem {
    let detail = format!("This needs a key with the scope {scope}{also}.");
    Kind::MissingScope.detail(detail).with("scope", scope.name())
}

/// The client's address, as the balancer saw it.
pub(super) fn from(headers: &HeaderMap) -> Option<Arc<str>> {
    let stated = headers.get_all(X_FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    let last = stated.rsplit(',').next()?.trim();
    let is_address = (1..=ADDRESS_BYTES_MAX).contains(&last.len());
    is_address.then(|| Arc::from(last))
}

/// What is answered, with what RFC 6750 §3 wants said.
fn refused(rejection: Rejection, has_shown_nothing: bool) -> Response {
    let problem = &rejection.0;
    let challenge = match problem.status {
        401 if has_shown_nothing => "Bearer realm=\"longshore\"".to_owned(),
        401 => "Bearer realm=\"longshore\", error=\"invalid_token\"".to_owned(),
        403 => {
            let scope = problem.extensions.get("scope").and_then(|scope| scope.as_str()).unwrap_or_default();
            format!("Bearer realm=\"longshore\", error=\"insufficient_scope\", scope=\"{scope}\"")
        }
        _ => return rejection.into_response(),
    };
    count(if problem.status == 401 { "unauthenticated" } else { "missing-scope" });
    let mut response = rejection.into_response();
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn count(reason: &'static str) {
    metrics::counter!("longshore_access_refused_total", "program" => "gateway", "reason" => reason).increment(1);
}
