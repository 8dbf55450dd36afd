//! The names of the broker's metrics, in one place.

use std::time::Duration;

use metrics::Counter;

use super::Verdict;

/// `longshore_broker_publishes_total{verdict}`.
pub(super) fn published(verdict: Verdict) {
    metrics::counter!("longshore_broker_publishes_total", "verdict" => verdict.as_str()).increment(1);
}

/// `longshore_broker_confirm_seconds`: from the caller's publish to its verdict.
pub(super) fn confirmed(after: Duration) {
    metrics::histogram!("longshore_broker_confirm_seconds").record(after.as_secs_f64());
}

/// `longshore_broker_deliveries_total{queue}`.
pub(super) fn deliveries(queue: &str) -> Counter {
    metrics::counter!("longshore_broker_deliveries_total", "queue" => queue.to_owned())
}

/// `longshore_broker_acks_total{result}`: `written` proves nothing, `lost` means that it will be delivered again.
pub(super) fn acked(count: u64, written: bool) {
    let result = if written { "written" } else { "lost" };
    metrics::counter!("longshore_broker_acks_total", "result" => result).increment(count);
}

/// `longshore_broker_sessions_total{program,side}`: more than one is a reconnect.
pub(super) fn session(program: &'static str, side: &'static str) {
    metrics::counter!("longshore_broker_sessions_total", "program" => program, "side" => side).increment(1);
}

/// `longshore_broker_consuming{queue}`: 1 while its deliveries come.
pub(super) fn consuming(queue: &str, is_consumed: bool) {
    let value = f64::from(u8::from(is_consumed));
    metrics::gauge!("longshore_broker_consuming", "queue" => queue.to_owned()).set(value);
}

/// `longshore_broker_up{program,side}`: 1 while the side works.
pub(super) fn up(program: &'static str, side: &'static str, up: bool) {
    metrics::gauge!("longshore_broker_up", "program" => program, "side" => side).set(if up { 1.0 } else { 0.0 });
}
