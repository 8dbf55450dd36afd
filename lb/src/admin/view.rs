//! The balancer at one moment, as operators are shown it.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::members::{Known, Members};
use crate::shared::Shared;

#[derive(Debug, Serialize)]
pub(crate) struct View {
    pick: &'static str,
    uptime_s: f64,
    connections: usize,
    connections_refused: u64,
    /// Requests that wait until a backend has room.
    queued: usize,
    /// Repeats that may be made now.
    retries_left: u64,
    /// By the first digit of their status; `left`: the client did not wait.
    answers: Answers,
    backends: Vec<BackendView>,
}

#[derive(Debug, Serialize)]
struct Answers {
    left: u64,
    #[serde(rename = "2xx")]
    good: u64,
    #[serde(rename = "3xx")]
    elsewhere: u64,
    #[serde(rename = "4xx")]
    refused: u64,
    #[serde(rename = "5xx")]
    failed: u64,
}

#[derive(Debug, Serialize)]
struct BackendView {
    address: String,
    state: &'static str,
    weight: u32,
    in_flight: u64,
    /// Of those: requests that asked to wait for something.
    waiting: u64,
    requests: u64,
    retries: u64,
    failures: u64,
    errors: u64,
    connects: u64,
    ejections: u64,
    mean_ms: f64,
    expected_ms: f64,
}

impl View {
    pub(crate) fn of(members: &Members, shared: &Shared) -> View {
        let counts = &shared.counts;
        let [left, _, good, elsewhere, refused, failed] = counts.answers.each_ref().map(|count| count.load(Relaxed));
        View {
            pick: members.pick().name(),
            uptime_s: shared.started.elapsed().as_secs_f64(),
            connections: counts.open(),
            connections_refused: counts.connections_refused.load(Relaxed),
            queued: shared.room.waiting(),
            retries_left: shared.budget.left(),
            answers: Answers { left, good, elsewhere, refused, failed },
            backends: members.list().iter().map(|known| BackendView::of(known, shared)).collect(),
        }
    }
}

impl BackendView {
    fn of(known: &Known, shared: &Shared) -> BackendView {
        let (backend, counts) = (&known.backend, &known.backend.counts);
        let answers: u64 = counts.latency.iter().map(|count| count.load(Relaxed)).sum();
        BackendView {
            address: backend.name.clone(),
            state: known.state().name(),
            weight: known.weight,
            in_flight: counts.in_flight.load(Relaxed),
            waiting: counts.waiting.load(Relaxed),
            requests: counts.requests.load(Relaxed),
            retries: counts.retries.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            errors: counts.errors.load(Relaxed),
            connects: counts.connects.load(Relaxed),
            ejections: counts.ejections.load(Relaxed),
            mean_ms: counts.latency_sum_us.load(Relaxed) as f64 / 1e3 / answers.max(1) as f64,
            expected_ms: backend.expected.expected_us(shared.started.elapsed()) / 1e3,
        }
    }
}
