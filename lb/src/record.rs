//! What is known of one request when it is over: counted always, logged if the access log is on.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chassis::http::REQUEST_ID;
use chassis::trace::{self, Kind, Span};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, request};
use tokio::time::Instant;

use crate::access_log::Line;
use crate::connection::Client;
use crate::event_loop::EventLoop;
use crate::pool::Pool;
use crate::retry::Failure;
use crate::traced::{Step, next_step};

/// Written when it is dropped, so also when the client leaves in the middle.
pub(crate) struct Record {
    event_loop: Rc<EventLoop>,
    started: Instant,
    attempt_started: Instant,
    /// Only if it will be logged.
    asked: Option<Box<Asked>>,
    /// Only if its trace is recorded.
    span: Option<Span>,
    /// None until there is an answer.
    status: Option<StatusCode>,
    backend: Option<Rc<Pool>>,
    attempts: u32,
    end: End,
    bytes: u64,
}

/// What was asked, without the body, and where the time went.
struct Asked {
    client: IpAddr,
    version: Version,
    method: Method,
    target: Option<PathAndQuery>,
    request_id: Option<HeaderValue>,
    /// From the head's first byte to its last.
    head: Duration,
    /// By [`Phase`]; all attempts together.
    phases: [Duration; 3],
    passed: Instant,
    /// Whom each failed attempt asked, and how it failed.
    failures: String,
}

/// What a request waits for before its answer begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    /// A backend that has room.
    Room,
    Connect,
    /// The head of the backend's answer.
    Answer,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It did not: the client left, or was given up.
    Client,
    /// The backend's body broke off.
    Backend,
    Whole,
}

impl Record {
    pub(crate) fn new(client: &Client, head: &request::Parts) -> Record {
        let started = Instant::now();
        let event_loop = &client.event_loop;
        let head_since = client.watch.take_head_since();
        let asked = || {
            Box::new(Asked {
                client: client.address,
                version: head.version,
                method: head.method.clone(),
                target: head.uri.path_and_query().cloned(),
                request_id: None,
                head: head_since.map_or(Duration::ZERO, |since| started - since),
                phases: [Duration::ZERO; 3],
                passed: started,
                failures: String::new(),
            })
        };
        Record {
            event_loop: Rc::clone(event_loop),
            started,
            attempt_started: started,
            asked: event_loop.access_log.is_on().then(asked),
            span: None,
            status: None,
            backend: None,
            attempts: 0,
            end: End::Client,
            bytes: 0,
        }
    }

    /// When it came.
    pub(crate) fn since(&self, start: Instant) -> Duration {
        self.started.saturating_duration_since(start)
    }

    /// The request is a step of a trace from now on, and says so to whoever gets it.
    pub(crate) fn trace(&mut self, head: &mut request::Parts, client: &Client) {
        if !trace::is_on() {
            return;
        }
        let trusts = self.event_loop.shared.config.trace_trust;
        let Step { this, parent_id } = next_step(&mut head.headers, trusts, trace::begins);
        let Some(span) = Span::begin(this, parent_id, "lb", Kind::Server, head.method.as_str()) else { return };
        let mut span = span.since(self.started);
        span.text("http.request.method", head.method.as_str());
        span.text("url.path", head.uri.path());
        span.text("client.address", client.address.to_string());
        span.text(
            "longshore.request_id",
            head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default(),
        );
        self.span = Some(span);
    }

    /// The request has its id.
    pub(crate) fn identify(&mut self, headers: &HeaderMap) {
        if let Some(asked) = &mut self.asked {
            asked.request_id = headers.get(REQUEST_ID).cloned();
        }
    }

    pub(crate) fn attempt(&mut self, pool: &Rc<Pool>) {
        let counts = &pool.backend.counts;
        counts.requests.fetch_add(1, Relaxed);
        if self.attempts > 0 {
            counts.retries.fetch_add(1, Relaxed);
            self.attempt_started = Instant::now();
        }
        self.attempts += 1;
        self.backend = Some(Rc::clone(pool));
        self.passed_phase(Phase::Room);
    }

    /// A phase is over; the next one begins.
    pub(crate) fn passed_phase(&mut self, phase: Phase) {
        if let Some(asked) = &mut self.asked {
            let now = Instant::now();
            asked.phases[phase as usize] += now - asked.passed;
            asked.passed = now;
        }
    }

    pub(crate) fn failed(&mut self, failure: Failure) {
        self.passed_phase(Phase::Answer);
        if failure.is_backends() {
            self.blame(!failure.is_of_an_asked_one());
        }
        if let (Some(asked), Some(pool)) = (&mut self.asked, &self.backend) {
            let separator = if asked.failures.is_empty() { "" } else { ", " };
            for part in [separator, &pool.backend.name, " ", failure.name()] {
                asked.failures.push_str(part);
            }
        }
    }

    /// No backend was asked.
    pub(crate) fn turned_away(&mut self, failure: Failure) {
        self.passed_phase(Phase::Room);
        if let Some(asked) = &mut self.asked {
            failure.name().clone_into(&mut asked.failures);
        }
    }

    /// `is_work`: its time says how fast the backend is.
    pub(crate) fn answered(&mut self, status: StatusCode, is_work: bool) {
        if let Some(pool) = &self.backend {
            let took = self.attempt_started.elapsed();
            let is_error = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            pool.backend.answered(
                took,
                self.attempt_started + took - self.event_loop.shared.started,
                is_error,
                is_work,
            );
        }
        self.passed_phase(Phase::Answer);
        self.status = Some(status);
    }

    /// An answer of our own.
    pub(crate) fn refused(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn passed(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// All of the answer was passed on, unless the backend's part broke off.
    pub(crate) fn ended(&mut self) {
        if self.end == End::Client {
            self.end = End::Whole;
        }
    }

    /// The backend's body ended before its end.
    pub(crate) fn cut(&mut self) {
        self.end = End::Backend;
        self.blame(false);
    }

    fn end_span(&self, mut span: Span) {
        if let Some(pool) = &self.backend {
            span.text("longshore.backend", pool.backend.name.as_str());
            span.number("longshore.attempts", self.attempts);
        }
        if let Some(status) = self.status {
            span.number("http.response.status_code", status.as_u16());
        }
        match (self.end.culprit(), self.status) {
            (Some(culprit), _) => span.failed(culprit),
            (None, Some(status)) if status.is_server_error() => span.failed(status.as_str()),
            (None, _) => {}
        }
    }

    fn blame(&self, is_unreached: bool) {
        if let Some(Pool { backend, .. }) = self.backend.as_deref() {
            backend.failed(self.event_loop.shared.started.elapsed(), is_unreached);
        }
    }

    fn log(&self, asked: &Asked, duration_ms: Duration) {
        let [room_ms, connect_ms, answer_ms] = asked.phases;
        self.event_loop.access_log.write(&Line {
            client: asked.client,
            method: asked.method.as_str(),
            path: asked.target.as_ref().map_or("", PathAndQuery::path),
            version: asked.version,
            request_id: asked.request_id.as_ref().and_then(|id| id.to_str().ok()),
            status: self.status.map_or(0, |status| status.as_u16()),
            backend: self.backend.as_ref().map(|pool| pool.backend.name.as_str()),
            attempts: self.attempts,
            failed: &asked.failures,
            cut_by: self.end.culprit(),
            head_ms: asked.head,
            room_ms,
            connect_ms,
            answer_ms,
            duration_ms,
            bytes: self.bytes,
        });
    }
}

impl End {
    /// Who did not let it end.
    fn culprit(self) -> Option<&'static str> {
        match self {
            End::Client => Some("client"),
            End::Backend => Some("backend"),
            End::Whole => None,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.event_loop.shared.counts.answered(self.status);
        if let Some(asked) = &self.asked {
            self.log(asked, self.started.elapsed());
        }
        if let Some(span) = self.span.take() {
            self.end_span(span);
        }
    }
}
