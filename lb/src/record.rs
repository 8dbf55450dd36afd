//! What is known of one request when it is over: counted always, logged if the access log is on.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chassis::http::REQUEST_ID;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use tokio::time::Instant;

use crate::event_loop::EventLoop;
use crate::pool::Pool;
use crate::retry::Failure;

/// Written when it is dropped, so also when the client leaves in the middle.
pub(crate) struct Record {
    event_loop: Rc<EventLoop>,
    started: Instant,
    attempt_started: Instant,
    /// Only if it will be logged.
    asked: Option<Asked>,
    /// None until there is an answer.
    status: Option<StatusCode>,
    backend: Option<Rc<Pool>>,
    attempts: u32,
    failure: Option<Failure>,
    /// The answer began, but its body was cut.
    is_cut: bool,
    bytes: u64,
}

/// What was asked, without the body.
struct Asked {
    method: Method,
    target: Option<PathAndQuery>,
    request_id: Option<HeaderValue>,
}

impl Record {
    pub(crate) fn new(event_loop: &Rc<EventLoop>, head: &request::Parts) -> Record {
        let started = Instant::now();
        let asked =
            || Asked { method: head.method.clone(), target: head.uri.path_and_query().cloned(), request_id: None };
        Record {
            event_loop: Rc::clone(event_loop),
            started,
            attempt_started: started,
            asked: event_loop.shared.config.access_log.then(asked),
            status: None,
            backend: None,
            attempts: 0,
            failure: None,
            is_cut: false,
            bytes: 0,
        }
    }

    /// When it came.
    pub(crate) fn since(&self, start: Instant) -> Duration {
        self.started.saturating_duration_since(start)
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
    }

    pub(crate) fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
        if failure.is_backends() {
            self.blame(!failure.is_of_an_asked_one());
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
        self.status = Some(status);
    }

    /// An answer of our own.
    pub(crate) fn refused(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn passed(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// The backend's body ended before its end.
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.blame(false);
    }

    fn blame(&self, is_unreached: bool) {
        if let Some(Pool { backend, .. }) = self.backend.as_deref() {
            backend.counts.failures.fetch_add(1, Relaxed);
            backend.bad(self.event_loop.shared.started.elapsed(), is_unreached);
        }
    }

    fn log(&self, asked: &Asked, duration: Duration) {
        tracing::info!(
            target: "lb::access",
            method = asked.method.as_str(),
            // Without its query, which may hold what does not belong into a log.
            path = asked.target.as_ref().map_or("", PathAndQuery::path),
            request_id = asked.request_id.as_ref().and_then(|id| id.to_str().ok()),
            status = self.status.map_or(0, |status| status.as_u16()),
            backend = self.backend.as_ref().map(|pool| pool.backend.name.as_str()),
            attempts = self.attempts,
            retry = self.failure.map(Failure::name),
            cut = self.is_cut.then_some(true),
            duration_ms = duration.as_secs_f64() * 1_000.0,
            bytes = self.bytes,
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.event_loop.shared.counts.answered(self.status);
        if let Some(asked) = &self.asked {
            self.log(asked, self.started.elapsed());
        }
    }
}
