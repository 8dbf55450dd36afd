//! The one layer around every route: id and trace, metrics, panics, and errors of the framework as problems.
//!
//! One layer and not ten, because each costs an allocation per request.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::Full;
use protocol::problem::Kind;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::at_once::AtOnce;
use super::context::{Context, REQUEST_ID, request_id};
use super::rejection::Rejection;
use crate::shutdown::Shutdown;
use crate::trace;

mod record;
mod traced;

use record::Recorder;

/// The layer around all routes of a router, its fallback too.
#[derive(Clone)]
pub(super) struct Observe {
    recorder: Recorder,
    program: &'static str,
    /// Clients from outside ask it.
    is_edge: bool,
    shutdown: Shutdown,
}

impl Observe {
    pub(super) fn new(program: &'static str, is_edge: bool, shutdown: &Shutdown) -> Observe {
        Observe { recorder: Recorder::new(program), program, is_edge, shutdown: shutdown.clone() }
    }
}

/// What is answered before it is routed, observed like everything else.
#[derive(Clone)]
pub(super) struct Quick {
    /// Most programs have none.
    at_once: Option<Arc<dyn AtOnce>>,
    observe: Observe,
}

impl fmt::Debug for Quick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quick").field("at_once", &self.at_once).finish_non_exhaustive()
    }
}

impl Quick {
    pub(super) fn new(at_once: Option<Arc<dyn AtOnce>>, observe: Observe) -> Quick {
        Quick { at_once, observe }
    }

    pub(super) fn answer<B>(&self, request: &http::Request<B>) -> Option<http::Response<Full<Bytes>>> {
        let at_once = self.at_once.as_ref()?;
        let begin = Instant::now();
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let (route, mut response) = at_once.answer(method, uri, headers)?;
        finish(response.headers_mut(), request_id(headers), self.observe.shutdown.is_draining());
        let (status, duration) = (response.status(), begin.elapsed());
        self.observe.recorder.record(Some(route), method, status, duration);
        if trace::is_on() {
            let mut context = Context::from_head(method, uri, headers);
            let span = traced::begin(&mut context, self.observe.program, self.observe.is_edge, Some(route));
            traced::end(span.map(|span| span.since(begin)), status);
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            Context::from_head(method, uri, headers).scope_sync(|| answered(status, duration));
        }
        Some(response)
    }
}

fn answered(status: StatusCode, duration: Duration) {
    tracing::debug!(status = status.as_u16(), duration_ms = duration.as_secs_f64() * 1e3, "answered");
}

#[derive(Clone)]
pub(super) struct Observed {
    observe: Observe,
    route: Route,
}

impl Layer<Route> for Observe {
    type Service = Observed;

    fn layer(&self, route: Route) -> Observed {
        Observed { observe: self.clone(), route }
    }
}

impl Service<Request> for Observed {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut context = Context::from_head(request.method(), request.uri(), request.headers());
        let request_id = context.request_id_header();
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let Observe { recorder, program, is_edge, shutdown } = self.observe.clone();
        let span = traced::begin(&mut context, program, is_edge, matched.as_ref().map(MatchedPath::as_str));
        let method = request.method().clone();
        let begin = Instant::now();
        let answer = AssertUnwindSafe(self.route.call(request)).catch_unwind();
        let observed = async move {
            // A panic is logged by the hook, within this context.
            let mut response = match answer.await {
                Ok(Ok(response)) => as_problem(response),
                Ok(Err(never)) => match never {},
                Err(_panic) => Rejection::from(Kind::Internal).into_response(),
            };
            finish(response.headers_mut(), request_id, shutdown.is_draining());
            let (status, duration) = (response.status(), begin.elapsed());
            recorder.record(matched.as_ref().map(MatchedPath::as_str), &method, status, duration);
            answered(status, duration);
            traced::end(span, status);
            Ok(response)
        };
        Box::pin(context.scope(observed))
    }
}

/// What every answer carries; while draining, the wish that the client goes elsewhere.
fn finish(headers: &mut HeaderMap, request_id: HeaderValue, draining: bool) {
    headers.insert(REQUEST_ID, request_id);
    if draining {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The framework's own refusals (no route, wrong method, an extractor of its own) are plain text or empty: a problem takes
/// their place.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let is_plain = match response.headers().get(CONTENT_TYPE) {
        None => true,
        Some(stated) => stated.as_bytes().starts_with(b"text/plain"),
    };
    if !is_plain {
        return response;
    }
    let mut problem = Rejection::from(Kind::from_status(status.as_u16())).into_response();
    *problem.status_mut() = status;
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    let stated = problem.headers().clone();
    for (name, value) in &parts.headers {
        if name == ALLOW || !stated.contains_key(name) {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem
}

/// The methods that metrics tell apart; a client may send any other word.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
