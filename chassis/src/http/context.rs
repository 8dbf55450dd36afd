//! Who asked: the request's id and trace, taken from its headers or made, carried on by the typed clients.

use std::convert::Infallible;
use std::future::Future;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::trace::{self, Kind, Span, TraceParent};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longer ids are replaced: they would be copied into every log line.
const REQUEST_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Context;
}

/// The id and trace of a request. Handlers take it as an extractor; the typed clients send it on by themselves.
///
/// It holds copies: a part of the head would keep the whole buffer of the connection alive for as long as the answer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    request_id: HeaderValue,
    trace: TraceParent,
    /// The step of the trace that asked; none if the trace begins here.
    asked_by: Option<u64>,
    /// What was asked, for the log; work that no request asked for has none.
    asked: Option<(Method, Box<str>)>,
}

impl Context {
    /// What the head of a request says; what it does not say is made.
    pub fn from_head(method: &Method, uri: &Uri, headers: &HeaderMap) -> Context {
        let stated = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(TraceParent::parse);
        let trace = stated.map_or_else(TraceParent::random, TraceParent::child);
        let asked = Some((method.clone(), uri.path().into()));
        Context { request_id: request_id(headers), trace, asked_by: stated.map(TraceParent::span_id), asked }
    }

    /// A new one, for work that no request asked for.
    pub fn random() -> Context {
        Context { request_id: random_id(), trace: TraceParent::random(), asked_by: None, asked: None }
    }

    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    pub fn trace(&self) -> TraceParent {
        self.trace
    }

    /// If the trace begins here, it is drawn whether its steps are recorded.
    pub(super) fn draw(&mut self) {
        if self.asked_by.is_none() {
            self.trace = self.trace.sampled(trace::begins());
        }
    }

    /// The request as a step of its trace, if that is recorded.
    pub(super) fn span(&self, program: &'static str, name: impl Into<String>) -> Option<Span> {
        Span::begin(self.trace, self.asked_by, program, Kind::Server, name)
    }

    pub(crate) fn method(&self) -> Option<&Method> {
        self.asked.as_ref().map(|(method, _)| method)
    }

    pub(crate) fn path(&self) -> Option<&str> {
        self.asked.as_ref().map(|(_, path)| &**path)
    }

    /// The context of the request that the running code answers, if it answers one and was not spawned by it.
    pub fn current() -> Option<Context> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` in this context, so that calls it makes carry the id and trace on.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs `step` in this context.
    pub(super) fn scope_sync<T>(self, step: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, step)
    }

    pub(crate) fn request_id_header(&self) -> HeaderValue {
        self.request_id.clone()
    }

    pub(crate) fn trace_header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.trace.to_string()).ok()
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Context, Infallible> {
        let known = Context::current();
        Ok(known.unwrap_or_else(|| Context::from_head(&parts.method, &parts.uri, &parts.headers)))
    }
}

/// The id that a request brings, if it is short and printable, or a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let stated = headers.get(REQUEST_ID).filter(|value| is_printable(value));
    let copied = stated.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
    copied.unwrap_or_else(random_id)
}

fn is_printable(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn random_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let id = rand::random::<[u8; 16]>();
    // Not through `format!`: a request that brings no id is the fast path of a cache hit.
    let digit = |place: usize| DIGITS[usize::from(id[place / 2] >> (4 * (place % 2)) & 0xf)];
    HeaderValue::from_bytes(&std::array::from_fn::<u8, 32, _>(digit)).expect("hexadecimal digits are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request_id: &[u8], is_kept: bool) {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(request_id).unwrap())]);
        let context = Context::from_head(&Method::GET, &Uri::from_static("/"), &headers);
        assert_eq!(context.request_id().as_bytes() == request_id, is_kept, "{request_id:?}");
        assert!(!context.request_id().is_empty());
    }

    #[test]
    fn a_request_id_is_kept_if_it_is_short_and_printable() {
        check(b"abc-123", true);
        check(&[b'a'; 128], true);
        check(&[b'a'; 129], false);
        check(b"", false);
        check(b"with space", false);
        check(b"\xff", false);
    }

    #[test]
    fn the_trace_goes_on_under_the_same_id() {
        let trace = TraceParent::random();
        let line = HeaderValue::try_from(trace.to_string()).unwrap();
        let context =
            Context::from_head(&Method::GET, &Uri::from_static("/"), &HeaderMap::from_iter([(TRACEPARENT, line)]));
        assert_eq!(context.trace().trace_id(), trace.trace_id());
        assert_ne!(context.trace(), trace);
    }
}
