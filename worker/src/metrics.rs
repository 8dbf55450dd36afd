//! The worker's metrics, named in one place.

use std::time::Duration;

/// An attempt has ended here: `succeeded`, `failed`, `timeout`, `panic`, `released` or `lost`.
pub(crate) fn attempt(outcome: &'static str, took: Duration) {
    metrics::counter!("longshore_worker_attempts_total", "outcome" => outcome).increment(1);
    metrics::histogram!("longshore_worker_attempt_seconds").record(took);
}

/// What became of a claim: `won` or the reason of its refusal.
pub(crate) fn claim(answer: &'static str) {
    metrics::counter!("longshore_worker_claims_total", "answer" => answer).increment(1);
}

/// A handler was stopped because its lease was `unrenewed`, or `taken` by another.
pub(crate) fn lease_lost(how: &'static str) {
    metrics::counter!("longshore_worker_lease_lost_total", "how" => how).increment(1);
}

/// The store refused an outcome or a release: the job had another owner, or had ended.
pub(crate) fn refused() {
    metrics::counter!("longshore_worker_refused_total").increment(1);
}

pub(crate) fn handed_over() {
    metrics::counter!("longshore_worker_handed_over_total").increment(1);
}

pub(crate) fn parked(reason: &'static str) {
    metrics::counter!("longshore_worker_parked_total", "reason" => reason).increment(1);
}

pub(crate) fn heartbeat(result: &'static str) {
    metrics::counter!("longshore_worker_heartbeats_total", "result" => result).increment(1);
}

/// A call was repeated, as the store was away.
pub(crate) fn repeated(call: &'static str) {
    metrics::counter!("longshore_worker_repeated_calls_total", "call" => call).increment(1);
}

pub(crate) fn slots(queue: &str, slots: u64) {
    metrics::gauge!("longshore_worker_slots", "queue" => queue.to_owned()).set(as_gauge(slots));
}

pub(crate) fn queue_paused(queue: &str, paused: bool) {
    metrics::gauge!("longshore_worker_queue_paused", "queue" => queue.to_owned()).set(f64::from(u8::from(paused)));
}

/// Jobs that this worker holds.
pub(crate) fn running(jobs: usize) {
    metrics::gauge!("longshore_worker_running_jobs").set(as_gauge(jobs as u64));
}

fn as_gauge(number: u64) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}
