//! The routes of operators.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post, put};
use chassis::config::Address;
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HOST, HeaderMap, ORIGIN};
use http::uri::Authority;
use protocol::problem::Kind;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::view::View;
use crate::oversight::{Command, Removed};
use crate::plan::{Target, WEIGHT_MAX};

const PAGE: &str = include_str!("page.html");

type Commands = mpsc::Sender<Command>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    weight: u32,
}

pub(super) fn router(commands: Commands) -> Router {
    Router::new()
        .route("/", get(Html(PAGE)))
        .route("/backends", get(show))
        .route("/backends/{address}", put(set).delete(remove))
        .route("/reload", post(reload))
        .layer(middleware::from_fn(only_from_here))
        .with_state(commands)
}

/// Has it done by the control thread.
pub(super) async fn ask<T>(
    commands: &Commands,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Rejection> {
    let (reply, answer) = oneshot::channel();
    commands.send(command(reply)).await.map_err(|_| Rejection::from(Kind::Unavailable))?;
    answer.await.map_err(|_| Kind::Unavailable.into())
}

async fn show(State(commands): State<Commands>) -> Result<(HeaderMap, Json<View>), Rejection> {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok((headers, Json(ask(&commands, Command::Show).await?)))
}

async fn set(
    State(commands): State<Commands>,
    Path(address): Path<String>,
    Json(Setting { weight }): Json<Setting>,
) -> Result<StatusCode, Rejection> {
    let address = address_of(&address)?;
    if weight > WEIGHT_MAX {
        return Err(Kind::Invalid.detail(format!("The weight is from 0, which drains, to {WEIGHT_MAX}.")).into());
    }
    ask(&commands, |reply| Command::Set(Target { address, weight }, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(commands): State<Commands>, Path(address): Path<String>) -> Result<StatusCode, Rejection> {
    let address = address_of(&address)?;
    match ask(&commands, |reply| Command::Remove(address, reply)).await? {
        Removed::Yes => Ok(StatusCode::NO_CONTENT),
        Removed::NotThere => Err(Kind::NotFound.into()),
        Removed::IsTheLast => Err(Kind::Conflict.detail("It is the last backend; add another one first.").into()),
    }
}

async fn reload(State(commands): State<Commands>) -> Result<StatusCode, Rejection> {
    match ask(&commands, Command::Reload).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(Kind::Invalid.detail(error).into()),
    }
}

fn address_of(text: &str) -> Result<Address, Rejection> {
    text.parse().map_err(|accepted| Kind::Invalid.detail(format!("The address must be {accepted}.")).into())
}

/// A browser that visits some page must not be made to ask us in its name: neither by a request from another origin, nor by a name that was made
/// to point here.
async fn only_from_here(request: Request, next: Next) -> Response {
    if is_from_here(request.headers()) {
        next.run(request).await
    } else {
        Rejection::from(Kind::BadRequest).into_response()
    }
}

fn is_from_here(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host else { return false };
    let name = host.host().trim_matches(['[', ']']);
    let is_literal = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok();
    let is_own = |origin: &http::HeaderValue| origin.as_bytes() == format!("http://{host}").as_bytes();
    is_literal && headers.get(ORIGIN).is_none_or(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(host: &'static str, origin: Option<&'static str>, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
        assert_eq!(is_from_here(&headers), expected, "{host} {origin:?}");
    }

    #[test]
    fn other_names_and_origins_are_refused() {
        check("127.0.0.1:8001", None, true);
        check("[::1]:8001", None, true);
        check("localhost:8001", Some("http://localhost:8001"), true);
        check("127.0.0.1:8001", Some("http://example.com"), false);
        check("127.0.0.1:8001", Some("http://127.0.0.1:9000"), false);
        check("rebound.example.com:8001", None, false);
        assert!(!is_from_here(&HeaderMap::new()));
    }
}
