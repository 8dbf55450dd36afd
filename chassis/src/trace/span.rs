//! A step of a trace: recorded while it lasts, and on its way to the receiver when it is dropped.
//!
//! Names and attributes follow OpenTelemetry's semantic conventions for HTTP and messaging; what these have no word for begins with `longshore.`.

use std::fmt;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Message, Status};
use tokio::time::Instant;

use super::TraceParent;
use super::export::{self, Ended};
use crate::clock::wall_ns;

/// Which part it has in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Asks somebody, and waits for the answer.
    Client,
    /// Makes or sends what somebody will take later.
    Producer,
    /// Takes or works on what somebody made.
    Consumer,
    Internal,
}

/// A step that lasts. There is one only while steps are recorded and the trace is sampled, so code that has none pays for nothing.
pub struct Span {
    // One pointer, because most requests carry none through their whole way.
    inner: Box<Inner>,
}

struct Inner {
    program: &'static str,
    this: TraceParent,
    begun: Instant,
    message: Message,
}

impl Span {
    /// A new step below another one. `program` is whose step it is: several may run in one process.
    pub fn below(parent: TraceParent, program: &'static str, kind: Kind, name: impl Into<String>) -> Option<Span> {
        Span::begin(parent.child(), Some(parent.span_id()), program, kind, name)
    }

    /// The step that has an id already; without a parent the trace begins with it.
    pub fn begin(
        this: TraceParent,
        parent_id: Option<u64>,
        program: &'static str,
        kind: Kind,
        name: impl Into<String>,
    ) -> Option<Span> {
        if !this.is_sampled() || !export::is_on() {
            return None;
        }
        let message = Message {
            trace_id: this.trace_id().to_be_bytes().to_vec(),
            span_id: this.span_id().to_be_bytes().to_vec(),
            parent_span_id: parent_id.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
            flags: this.flags.into(),
            name: name.into(),
            kind: kind.code(),
            start_time_unix_nano: wall_ns(),
            ..Message::default()
        };
        Some(Span { inner: Box::new(Inner { program, this, begun: Instant::now(), message }) })
    }

    /// It began then already.
    #[must_use]
    pub fn since(mut self, begun: Instant) -> Span {
        let Inner { begun: known, message, .. } = &mut *self.inner;
        let earlier = u64::try_from(known.saturating_duration_since(begun).as_nanos()).unwrap_or(u64::MAX);
        message.start_time_unix_nano = message.start_time_unix_nano.saturating_sub(earlier);
        *known = begun;
        self
    }

    /// What is told to those whose steps are to be below this one.
    pub fn traceparent(&self) -> TraceParent {
        self.inner.this
    }

    pub fn text(&mut self, key: &'static str, value: impl Into<String>) {
        self.set(key, Value::StringValue(value.into()));
    }

    pub fn number(&mut self, key: &'static str, value: impl Into<i64>) {
        self.set(key, Value::IntValue(value.into()));
    }

    /// A step of another trace that led to this one.
    pub fn link(&mut self, to: TraceParent) {
        self.inner.message.links.push(Link {
            trace_id: to.trace_id().to_be_bytes().to_vec(),
            span_id: to.span_id().to_be_bytes().to_vec(),
            flags: to.flags.into(),
            ..Link::default()
        });
    }

    /// It did not do what it is for; `kind` is one of few words.
    pub fn failed(&mut self, kind: &str) {
        self.text("error.type", kind);
        self.inner.message.status = Some(Status { message: String::new(), code: StatusCode::Error.into() });
    }

    fn set(&mut self, key: &'static str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.inner.message.attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }
}

impl Kind {
    fn code(self) -> i32 {
        let kind = match self {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Internal => SpanKind::Internal,
        };
        kind.into()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({} {})", self.inner.message.name, self.inner.this)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Inner { program, begun, message, .. } = &mut *self.inner;
        let mut span = std::mem::take(message);
        // Not the clock again, which may have been set meanwhile.
        let lasted = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        span.end_time_unix_nano = span.start_time_unix_nano.saturating_add(lasted);
        export::take(Ended { program, span });
    }
}
