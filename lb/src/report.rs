//! The balancer's counters as metrics, copied when somebody looks, so that requests only touch plain atomics.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics::{counter, gauge};

use crate::backend::{Backend, LATENCY_BOUNDS_US, Member};
use crate::core::ramp;
use crate::shared::Shared;

pub(crate) fn publish(shared: &Shared) {
    let counts = &shared.counts;
    gauge!("longshore_lb_connections", "program" => "lb").set(lossy(counts.open() as u64));
    counter!("longshore_lb_connections_refused_total", "program" => "lb")
        .absolute(counts.connections_refused.load(Relaxed));
    counter!("longshore_lb_rate_limited_total", "program" => "lb").absolute(counts.rate_limited.load(Relaxed));
    for (class, count) in ["left", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&counts.answers) {
        counter!("longshore_lb_answers_total", "program" => "lb", "status" => class).absolute(count.load(Relaxed));
    }
    gauge!("longshore_lb_retries_left", "program" => "lb").set(lossy(shared.budget.left()));
    gauge!("longshore_lb_queued", "program" => "lb").set(lossy(shared.room.waiting() as u64));
    let membership = shared.membership.load();
    for member in &membership.members {
        publish_backend(member, shared.started.elapsed());
    }
    membership.gone.iter().for_each(|backend| publish_gone(backend));
}

fn publish_backend(member: &Member, now: Duration) {
    let Member { backend, is_healthy, weight } = member;
    let labels = || [("program", "lb".to_owned()), ("backend", backend.name.clone())];
    let counts = &backend.counts;
    gauge!("longshore_lb_backend_healthy", &labels()).set(if *is_healthy { 1.0 } else { 0.0 });
    gauge!("longshore_lb_backend_in_flight", &labels()).set(lossy(counts.in_flight.load(Relaxed)));
    gauge!("longshore_lb_backend_weight", &labels()).set(f64::from(*weight) / f64::from(ramp::PARTS));
    gauge!("longshore_lb_backend_expected_ms", &labels()).set(backend.expected.expected_us(now) / 1e3);
    counter!("longshore_lb_backend_ejections_total", &labels()).absolute(counts.ejections.load(Relaxed));
    counter!("longshore_lb_backend_errors_total", &labels()).absolute(counts.errors.load(Relaxed));
    counter!("longshore_lb_backend_requests_total", &labels()).absolute(counts.requests.load(Relaxed));
    counter!("longshore_lb_backend_failures_total", &labels()).absolute(counts.failures.load(Relaxed));
    counter!("longshore_lb_backend_retries_total", &labels()).absolute(counts.retries.load(Relaxed));
    counter!("longshore_lb_backend_connects_total", &labels()).absolute(counts.connects.load(Relaxed));
    // The parts of a histogram, which `metrics` cannot take over as a whole.
    let mut answers = 0;
    for (place, count) in counts.latency.iter().enumerate() {
        answers += count.load(Relaxed);
        let bound =
            LATENCY_BOUNDS_US.get(place).map_or("+Inf".to_owned(), |&bound_us| (lossy(bound_us) / 1e6).to_string());
        let [program, name] = labels();
        counter!("longshore_lb_backend_answer_time_bucket", &[program, name, ("le", bound)]).absolute(answers);
    }
    counter!("longshore_lb_backend_answer_time_count", &labels()).absolute(answers);
    counter!("longshore_lb_backend_answer_time_us_sum", &labels()).absolute(counts.latency_sum_us.load(Relaxed));
}

/// It is no backend any more: what it is, is not; what it did stays.
fn publish_gone(backend: &Backend) {
    let labels = [("program", "lb".to_owned()), ("backend", backend.name.clone())];
    for name in ["longshore_lb_backend_healthy", "longshore_lb_backend_in_flight", "longshore_lb_backend_weight"] {
        gauge!(name, &labels).set(0.0);
    }
}

/// As Prometheus keeps numbers; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn lossy(count: u64) -> f64 {
    count as f64
}
