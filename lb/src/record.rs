//! What is known of one request when it is over: counted always, logged if the access log is on.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Method, StatusCode, request};
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
    asked: Option<(Method, PathAndQuery)>,
    /// None until there is an answer.
    status: Option<StatusCode>,
    backend: Option<Rc<Pool>>,
    attempts: u32,
    failure: Option<Failure>,
    /// The answer began, but its body was cut.
    is_cut: bool,
    bytes: u64,
}

impl Record {
    pub(crate) fn new(event_loop: &Rc<EventLoop>, head: &request::Parts) -> Record {
        let started = Instant::now();
        let asked = || Some((head.method.clone(), head.uri.path_and_query().cloned()?));
        Record {
            event_loop: Rc::clone(event_loop),
            started,
            attempt_started: started,
            asked: if event_loop.shared.config.access_log { asked() } else { None },
            status: None,
            backend: None,
            attempts: 0,
            failure: None,
            is_cut: false,
            bytes: 0,
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
        self.blame(failure.is_backends());
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Some(pool) = &self.backend {
            pool.backend.counts.answered_after(self.attempt_started.elapsed());
        }
        self.status = Some(status);
    }

    /// An answer of our own.
    pub(crate) fn refused(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The backend's body ended before its end.
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.blame(true);
    }

    fn blame(&self, is_backends: bool) {
        if let Some(pool) = self.backend.as_ref().filter(|_| is_backends) {
            pool.backend.counts.failures.fetch_add(1, Relaxed);
        }
    }

    fn log(&self, method: &Method, path: &str, duration: Duration) {
        tracing::info!(
            target: "lb::access",
            method = method.as_str(),
            path,
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
        // Without its query, which may hold what does not belong into a log.
        if let Some((method, target)) = &self.asked {
            self.log(method, target.path(), self.started.elapsed());
        }
    }
}
