//! Sends ended steps to an OTLP receiver, in batches, from a thread of its own: nobody who records one ever waits, and what finds no room is
//! dropped and counted.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc as blocking;
use std::time::Duration;

use http::{HeaderValue, Method};
use metrics::Counter;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Message};
use prost::Message as _;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::backoff::Backoff;
use crate::client::{Call, Http};
use crate::config::Address;
use crate::instance;

/// Ended steps that wait; a further one is dropped.
const WAITING_MAX: usize = 4_096;
/// Steps of one request.
const BATCH: usize = 512;
/// How long the first step of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a receiver may take for one.
const DEADLINE: Duration = Duration::from_secs(10);
/// A batch that nobody has taken by then is dropped.
const ATTEMPTS_MAX: u32 = 10;
/// How long the end of a program waits for the last steps to be sent.
const FLUSH: Duration = Duration::from_secs(1);

const PATH: &str = "/v1/traces";

/// One for each process, like the recorder of metrics.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    waiting: mpsc::Sender<Item>,
    /// The share of traces begun here that are recorded.
    sample: f64,
    dropped: Counter,
    is_away: AtomicBool,
}

enum Item {
    Ended(Box<Ended>),
    /// Answered once everything before it has been sent.
    Flush(blocking::SyncSender<()>),
}

/// A step that is over, and whose it was.
pub(super) struct Ended {
    pub(super) program: &'static str,
    pub(super) span: Message,
}

/// Whether steps are recorded. One load: it is asked for each request.
pub fn is_on() -> bool {
    EXPORTER.get().is_some()
}

/// Draws whether a trace that begins here is recorded.
pub fn begins() -> bool {
    EXPORTER.get().is_some_and(|exporter| rand::random::<f64>() < exporter.sample)
}

/// Sends what waits, for a moment at most; not if the receiver is away anyway. Called at the end of a program.
pub fn flush() {
    let Some(exporter) = EXPORTER.get().filter(|exporter| !exporter.is_away.load(Relaxed)) else { return };
    let (done, is_done) = blocking::sync_channel(1);
    if exporter.waiting.try_send(Item::Flush(done)).is_ok() {
        let in_time = is_done.recv_timeout(FLUSH).is_ok();
        tracing::debug!(in_time, "the last steps of traces");
    }
}

/// Begins to record. Repeated, it changes nothing.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn start(receiver: Address, sample: f64) -> std::io::Result<()> {
    let (waiting, queue) = mpsc::channel(WAITING_MAX);
    metrics::describe_counter!("longshore_trace_spans_total", "Steps of traces, by what became of them.");
    let dropped = count("dropped");
    let exporter = Exporter { waiting, sample, dropped, is_away: AtomicBool::new(false) };
    if EXPORTER.set(exporter).is_err() {
        return Ok(());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let run = move || runtime.block_on(export(queue, Receiver { http: Http::keeping(1), address: receiver }));
    std::thread::Builder::new().name("trace-export".to_owned()).spawn(run).map(drop)
}

/// Takes a step that is over. Never waits.
pub(super) fn take(ended: Ended) {
    if let Some(exporter) = EXPORTER.get()
        && exporter.waiting.try_send(Item::Ended(Box::new(ended))).is_err()
    {
        exporter.dropped.increment(1);
    }
}

fn count(result: &'static str) -> Counter {
    metrics::counter!("longshore_trace_spans_total", "result" => result)
}

async fn export(mut queue: mpsc::Receiver<Item>, receiver: Receiver) {
    let (mut items, mut batch, mut flushed) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let mut until = None;
        // The first one is waited for, the others for a while.
        while batch.len() < BATCH && flushed.is_empty() {
            let room = BATCH - batch.len();
            let taken = match until {
                None => queue.recv_many(&mut items, room).await,
                Some(until) => timeout_at(until, queue.recv_many(&mut items, room)).await.unwrap_or(0),
            };
            if taken == 0 {
                break;
            }
            until.get_or_insert_with(|| Instant::now() + GATHER);
            for item in items.drain(..) {
                match item {
                    Item::Ended(ended) => batch.push(*ended),
                    Item::Flush(done) => flushed.push(done),
                }
            }
        }
        if !batch.is_empty() {
            receiver.deliver(std::mem::take(&mut batch)).await;
        }
        for done in flushed.drain(..) {
            // Nobody waits any more if it took too long.
            done.send(()).unwrap_or_default();
        }
        if queue.is_closed() {
            return;
        }
    }
}

/// Where traces are collected.
struct Receiver {
    http: Http,
    address: Address,
}

/// How one attempt to send a batch ended.
enum Taken {
    /// But for so many.
    All(i64),
    Refused(String),
    /// It may be sent again.
    NotNow(String),
}

impl Receiver {
    /// Sends a batch, again and again for a while if nobody takes it.
    async fn deliver(&self, batch: Vec<Ended>) {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = request(batch).encode_to_vec();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(5));
        for attempt in 1..=ATTEMPTS_MAX {
            match self.send(body.clone()).await {
                Taken::All(rejected) => {
                    self.is_here();
                    let refused = rejected.unsigned_abs().min(spans);
                    count("sent").increment(spans - refused);
                    return count("refused").increment(refused);
                }
                Taken::Refused(reason) => {
                    self.is_here();
                    tracing::warn!(receiver = %self.address, reason, spans, "steps of traces were refused");
                    return count("refused").increment(spans);
                }
                Taken::NotNow(reason) => self.is_away(&reason),
            }
            if attempt < ATTEMPTS_MAX {
                tokio::time::sleep(backoff.next_random()).await;
            }
        }
        count("dropped").increment(spans);
    }

    async fn send(&self, body: Vec<u8>) -> Taken {
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        let call = Call::new(Method::POST, PATH, false).bytes(body, protobuf).within(DEADLINE);
        let answer = match self.http.send(&self.address, &call).await {
            Ok(answer) => answer,
            Err(error) => return Taken::NotNow(error.to_string()),
        };
        match answer.status.as_u16() {
            200..=299 => {
                // An answer that is not understood is no reason to send everything again.
                let partial =
                    ExportTraceServiceResponse::decode(answer.body).ok().and_then(|said| said.partial_success);
                let rejected = partial.filter(|partial| partial.rejected_spans > 0);
                if let Some(partial) = &rejected {
                    let (reason, spans) = (&partial.error_message, partial.rejected_spans);
                    tracing::warn!(receiver = %self.address, reason, spans, "steps of traces were refused");
                }
                Taken::All(rejected.map_or(0, |partial| partial.rejected_spans))
            }
            // Those that the protocol calls retryable.
            status @ (429 | 502 | 503 | 504) => Taken::NotNow(format!("it answers {status}")),
            status => Taken::Refused(format!("it answers {status}")),
        }
    }

    fn is_here(&self) {
        if EXPORTER.get().is_some_and(|exporter| exporter.is_away.swap(false, Relaxed)) {
            tracing::info!(receiver = %self.address, "traces are taken again");
        }
    }

    fn is_away(&self, reason: &str) {
        if EXPORTER.get().is_some_and(|exporter| !exporter.is_away.swap(true, Relaxed)) {
            tracing::warn!(receiver = %self.address, reason, "traces are not taken; those that find no room are dropped");
        }
    }
}

/// The steps by program: each is a service of its own, also where several share a process.
fn request(batch: Vec<Ended>) -> ExportTraceServiceRequest {
    let mut by_program: BTreeMap<&'static str, Vec<Message>> = BTreeMap::new();
    for Ended { program, span } in batch {
        by_program.entry(program).or_default().push(span);
    }
    let of_program = |(program, spans)| ResourceSpans {
        resource: Some(resource(program)),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "longshore".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: by_program.into_iter().map(of_program).collect() }
}

fn resource(program: &str) -> Resource {
    let said = [
        ("service.namespace", "longshore".to_owned()),
        ("service.name", program.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance::by_process()),
    ];
    let attribute = |(key, value): (&str, String)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    Resource { attributes: said.map(attribute).into(), ..Resource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_several_programs_of_a_process_are_of_several_services() {
        let ended =
            |program, name: &str| Ended { program, span: Message { name: name.to_owned(), ..Message::default() } };
        let sent = request(vec![ended("lb", "a"), ended("gateway", "b"), ended("lb", "c")]);
        // As a receiver reads it.
        let read = ExportTraceServiceRequest::decode(sent.encode_to_vec().as_slice()).unwrap();
        let of_service = |spans: &ResourceSpans| {
            let service = spans.resource.as_ref().unwrap().attributes.iter().find(|said| said.key == "service.name");
            let names = spans.scope_spans[0].spans.iter().map(|span| span.name.clone()).collect::<Vec<_>>();
            (format!("{:?}", service.unwrap().value), names)
        };
        let services: Vec<_> = read.resource_spans.iter().map(of_service).collect();
        assert!(services[0].0.contains("\"gateway\"") && services[1].0.contains("\"lb\""), "{services:?}");
        assert_eq!((&*services[0].1, &*services[1].1), (&["b".to_owned()][..], &["a".to_owned(), "c".to_owned()][..]));
    }

    #[test]
    fn nothing_is_recorded_without_a_receiver() {
        let trace = crate::trace::TraceParent::random().sampled(true);
        assert!(!is_on() && !begins());
        assert!(crate::trace::Span::begin(trace, None, "lb", crate::trace::Kind::Server, "GET").is_none());
        assert_eq!(crate::trace::TraceParent::recorded(Some(&trace.to_string())), None);
        flush();
    }
}
