//! The step of a trace that a request is.

use http::{Method, StatusCode};

use super::method_label;
use crate::http::Context;
use crate::trace::{self, Span};

/// What is asked again and again by machines begins no trace.
const WATCHED: [&str; 3] = ["/live", "/ready", "/metrics"];

/// Begins it if the trace is recorded, and the trace itself if the request belongs to none and comes from outside.
pub(super) fn begin(context: &mut Context, program: &'static str, is_edge: bool, route: Option<&str>) -> Option<Span> {
    if !trace::is_on() {
        return None;
    }
    if is_edge && !route.is_some_and(|route| WATCHED.contains(&route)) {
        context.draw();
    }
    let method = context.method().map_or("other", method_label);
    let mut span =
        context.span(program, route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")))?;
    span.text("http.request.method", context.method().map_or("", Method::as_str));
    if let Some(route) = route {
        span.text("http.route", route);
    }
    span.text("url.path", context.path().unwrap_or_default());
    span.text("longshore.request_id", context.request_id());
    Some(span)
}

/// The head of the answer is there.
pub(super) fn end(span: Option<Span>, status: StatusCode) {
    let Some(mut span) = span else { return };
    span.number("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.failed(status.as_str());
    }
}
