//! What a program says about itself: starting, ready, degraded with reasons, or draining.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::invalidation::guards;
use serde::Serialize;

/// The version of this program, as `/ready` says it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The health of one program. Clones share it; it begins as `starting`.
#[derive(Debug, Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: &'static str,
    started: AtomicBool,
    // What is missing, by part. Held for one look or change, never across an await.
    lost: Mutex<BTreeMap<&'static str, String>>,
}

/// The body of `/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub program: &'static str,
    /// Of all programs together.
    pub version: &'static str,
    pub status: Status,
    /// What is missing, by part: `{"broker": "connection refused"}`.
    pub reasons: BTreeMap<&'static str, String>,
    /// The guards of the caches that this build lacks: it was made for tests, and its answers may be old.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unguarded: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Starting,
    Ready,
    /// Something is missing and the program serves what it can without it.
    Degraded,
    Draining,
}

impl Health {
    pub fn new(program: &'static str) -> Health {
        Health { inner: Arc::new(Inner { program, started: AtomicBool::new(false), lost: Mutex::default() }) }
    }

    pub fn program(&self) -> &'static str {
        self.inner.program
    }

    /// The start is over.
    pub fn ready(&self) {
        self.inner.started.store(true, Ordering::Release);
    }

    /// A part is not there yet. For the start, when that is nothing to warn of.
    pub fn awaits(&self, part: &'static str, reason: &str) {
        self.inner.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(part, reason.to_owned());
    }

    /// A part is missing. Logged when it is new.
    pub fn lost(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        let mut lost = self.inner.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if !lost.contains_key(part) {
            tracing::warn!(program = self.inner.program, part, reason, "degraded");
            metrics::gauge!("longshore_degraded", "program" => self.inner.program, "part" => part).set(1.0);
        }
        lost.insert(part, reason);
    }

    /// A part is back. Logged when it was missing.
    pub fn found(&self, part: &'static str) {
        let mut lost = self.inner.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.remove(part).is_some() {
            tracing::info!(program = self.inner.program, part, "back");
            metrics::gauge!("longshore_degraded", "program" => self.inner.program, "part" => part).set(0.0);
        }
    }

    pub fn report(&self, draining: bool) -> Report {
        let reasons = self.inner.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let status = match (draining, self.inner.started.load(Ordering::Acquire)) {
            (true, _) => Status::Draining,
            (false, false) => Status::Starting,
            (false, true) if reasons.is_empty() => Status::Ready,
            (false, true) => Status::Degraded,
        };
        Report { program: self.inner.program, version: VERSION, status, reasons, unguarded: guards::unguarded() }
    }
}

impl Status {
    /// Whether new work should be sent here.
    pub fn is_serving(self) -> bool {
        matches!(self, Status::Ready | Status::Degraded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(health: &Health, draining: bool, expected: Status, serving: bool) {
        let report = health.report(draining);
        assert_eq!((report.status, report.status.is_serving()), (expected, serving));
    }

    #[test]
    fn a_lost_part_degrades_but_serves() {
        let health = Health::new("gateway");
        check(&health, false, Status::Starting, false);
        health.lost("broker", "connection refused");
        check(&health, false, Status::Starting, false);
        health.ready();
        check(&health, false, Status::Degraded, true);
        health.lost("broker", "still refused");
        assert_eq!(health.report(false).reasons["broker"], "still refused");
        health.found("broker");
        health.found("broker");
        check(&health, false, Status::Ready, true);
        health.awaits("cache", "no lease yet");
        check(&health, false, Status::Degraded, true);
        health.found("cache");
        check(&health, true, Status::Draining, false);
    }
}
