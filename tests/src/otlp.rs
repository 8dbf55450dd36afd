//! A receiver of traces: what an OpenTelemetry Collector is to the programs, OTLP over HTTP as protobuf. It keeps what it is sent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use chassis::task::Tasks;
use chassis::trace::TraceParent;
use harness::eventually;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Message;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;

/// One step of a trace as it came.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace_id: String,
    pub id: String,
    /// Empty: the trace begins with it.
    pub parent_id: String,
    /// The trace and the span of each.
    pub links: Vec<(String, String)>,
    pub begun_ns: u64,
    pub ended_ns: u64,
    pub attributes: Vec<(String, String)>,
    pub is_error: bool,
}

#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct Inner {
    spans: Mutex<Vec<Span>>,
    is_busy: Mutex<bool>,
}

impl Receiver {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, inner, tasks) = (listener.local_addr()?, Arc::<Inner>::default(), Tasks::new());
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&inner));
        tasks.spawn("otlp receiver", async move { drop(axum::serve(listener, router).await) });
        Ok(Self { address, inner, tasks })
    }

    /// What `LONGSHORE_OTLP_ENDPOINT` says.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes nothing for now (503), or again.
    pub fn is_busy(&self, yes: bool) {
        *lock(&self.inner.is_busy) = yes;
    }

    pub fn spans(&self) -> Vec<Span> {
        lock(&self.inner.spans).clone()
    }

    /// Those of one trace, once there is one of each of these services with these names.
    pub async fn trace(&self, trace_id: &str, expected: &[(&str, &str)], within: Duration) -> Result<Vec<Span>> {
        eventually(within, "the trace is whole", async || {
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect();
            for (service, name) in expected {
                ensure!(spans.iter().any(|span| span.is(service, name)), "no {name} of {service} among {spans:#?}");
            }
            Ok(Some(spans))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Span {
    pub fn is(&self, service: &str, name: &str) -> bool {
        self.service == service && self.name == name
    }

    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether a `traceparent` names it.
    pub fn is_named_by(&self, line: &str) -> bool {
        TraceParent::parse(line).is_some_and(|trace| {
            (format!("{:032x}", trace.trace_id()), format!("{:016x}", trace.span_id()))
                == (self.trace_id.clone(), self.id.clone())
        })
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    if *lock(&inner.is_busy) {
        return (StatusCode::SERVICE_UNAVAILABLE, Vec::new());
    }
    match read(&headers, body) {
        Ok(spans) => lock(&inner.spans).extend(spans),
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
    }
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

fn read(headers: &HeaderMap, body: Bytes) -> Result<Vec<Span>> {
    let media_type = headers.get("content-type").context("no media type")?;
    ensure!(media_type == "application/x-protobuf", "{media_type:?}");
    let request = ExportTraceServiceRequest::decode(body)?;
    let mut spans = Vec::new();
    for of_service in request.resource_spans {
        let resource = of_service.resource.context("no resource")?;
        let attributes = shown(&resource.attributes);
        let service = attributes.into_iter().find(|(key, _)| key == "service.name").context("no service.name")?.1;
        for message in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(span(&service, message)?);
        }
    }
    Ok(spans)
}

fn span(service: &str, message: Message) -> Result<Span> {
    ensure!(message.trace_id.len() == 16 && message.span_id.len() == 8, "ids of a wrong length");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(Span {
        service: service.to_owned(),
        kind: message.kind(),
        trace_id: hex(&message.trace_id),
        id: hex(&message.span_id),
        parent_id: hex(&message.parent_span_id),
        links: message.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        begun_ns: message.start_time_unix_nano,
        ended_ns: message.end_time_unix_nano,
        attributes: shown(&message.attributes),
        is_error: message.status.is_some_and(|status| status.code == 2),
        name: message.name,
    })
}

fn shown(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
