//! Backends as all event loops share them: counters as relaxed atomics, membership and health as an immutable snapshot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::core::ejection::Totals;
use crate::core::latency::{self, PeakEwma};
use crate::core::pick::{Draw, Load, Policy, Rotation};

/// Upper bounds of the latency counters, in microseconds; one more counts what is above the last.
pub(crate) const LATENCY_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000, 30_000_000];

/// One address that answers requests. On a cache line of its own, as every loop counts on it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// The address as text, for logs and labels.
    pub(crate) name: String,
    pub(crate) counts: Counts,
    /// What an answer takes that is not asked to wait for something.
    pub(crate) expected: PeakEwma,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests being answered now.
    pub(crate) in_flight: AtomicU64,
    /// Those among them that asked to wait for something: they keep nobody busy.
    pub(crate) waiting: AtomicU64,
    /// Attempts made, the failed ones and the repeated ones among them.
    pub(crate) requests: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Answers 500 and above.
    pub(crate) errors: AtomicU64,
    /// Failures to connect.
    pub(crate) unreached: AtomicU64,
    /// Failures and errors since the last good answer.
    pub(crate) bad_in_a_row: AtomicU64,
    /// Times that it was left out although its checks were good.
    pub(crate) ejections: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) connects: AtomicU64,
    /// Times from the attempt to the head of its answer.
    pub(crate) latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    pub(crate) latency_sum_us: AtomicU64,
}

impl Backend {
    pub(crate) fn new(address: SocketAddr) -> Backend {
        Backend { address, name: address.to_string(), counts: Counts::default(), expected: PeakEwma::default() }
    }

    /// The head of an answer came after `took`. `is_work`: it was not asked to wait for something.
    pub(crate) fn answered(&self, took: Duration, now: Duration, is_error: bool, is_work: bool) {
        self.counts.answered_after(took);
        if is_error {
            self.counts.errors.fetch_add(1, Relaxed);
            return self.bad(now);
        }
        if self.counts.bad_in_a_row.load(Relaxed) > 0 {
            self.forgive();
        }
        if is_work {
            self.expected.observe(took, now);
        }
    }

    /// A request ended without an answer, or in the midst of one; `is_unreached`: there was nobody to connect to.
    pub(crate) fn failed(&self, now: Duration, is_unreached: bool) {
        self.counts.failures.fetch_add(1, Relaxed);
        self.counts.unreached.fetch_add(u64::from(is_unreached), Relaxed);
        self.bad(now);
    }

    fn bad(&self, now: Duration) {
        self.counts.bad_in_a_row.fetch_add(1, Relaxed);
        self.expected.observe(latency::PENALTY, now);
    }

    /// Counts what is bad in a row anew.
    pub(crate) fn forgive(&self) {
        self.counts.bad_in_a_row.store(0, Relaxed);
    }

    pub(crate) fn bad_in_a_row(&self) -> u64 {
        self.counts.bad_in_a_row.load(Relaxed)
    }

    /// Attempts that repeat no other one.
    pub(crate) fn first_attempts(&self) -> u64 {
        self.counts.requests.load(Relaxed).saturating_sub(self.counts.retries.load(Relaxed))
    }

    pub(crate) fn totals(&self) -> Totals {
        let Counts { requests, failures, errors, unreached, .. } = &self.counts;
        let failures = failures.load(Relaxed) + errors.load(Relaxed);
        Totals { answers: requests.load(Relaxed), failures, unreached: unreached.load(Relaxed) }
    }
}

/// One backend at one moment, as the control thread sees it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) backend: Arc<Backend>,
    pub(crate) is_healthy: bool,
    /// Of the healthy ones. 0 takes no new requests.
    pub(crate) weight: u32,
}

impl Counts {
    /// Requests that keep it busy.
    pub(crate) fn working(&self) -> u64 {
        self.in_flight.load(Relaxed).saturating_sub(self.waiting.load(Relaxed))
    }

    pub(crate) fn answered_after(&self, time: Duration) {
        let time_us = latency::micros(time);
        let place = LATENCY_BOUNDS_US.partition_point(|&bound_us| bound_us < time_us);
        self.latency[place].fetch_add(1, Relaxed);
        self.latency_sum_us.fetch_add(time_us, Relaxed);
    }
}

/// Who there is and who is healthy, at one moment. Made by the control thread only.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    policy: Policy,
    pub(crate) members: Vec<Member>,
    /// Those that were backends, to be reported as nothing.
    pub(crate) gone: Vec<Arc<Backend>>,
    rotation: Rotation,
}

impl Membership {
    pub(crate) fn new(policy: Policy, members: Vec<Member>, gone: Vec<Arc<Backend>>) -> Membership {
        let of_health = |is_healthy: bool| {
            let members = members.iter().enumerate();
            members.filter(move |(_, member)| member.is_healthy == is_healthy)
        };
        let healthy: Vec<_> = of_health(true).map(|(place, member)| (place, member.weight)).collect();
        let others = of_health(false).map(|(place, _)| place).collect();
        Membership { policy, rotation: Rotation::new(&healthy, others), members, gone }
    }

    /// The place of a backend that `may` be asked; see [`Rotation::pick`].
    pub(crate) fn pick(&self, draw: Draw, now: Duration, may: impl Fn(usize, &Backend) -> bool) -> Option<usize> {
        let load = |place: usize| {
            let Member { backend, weight, .. } = &self.members[place];
            let expected_us = backend.expected.expected_us(now);
            Load { in_flight: backend.counts.working(), expected_us, weight: *weight }
        };
        self.rotation.pick(self.policy, draw, |place| may(place, &self.members[place].backend), load)
    }

    pub(crate) fn is_healthy(&self, place: usize) -> bool {
        self.members.get(place).is_some_and(|member| member.is_healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(time_us: u64, expected_place: usize) {
        let counts = Counts::default();
        counts.answered_after(Duration::from_micros(time_us));
        assert_eq!(counts.latency.iter().position(|count| count.load(Relaxed) == 1), Some(expected_place), "{time_us}");
        assert_eq!(counts.latency_sum_us.load(Relaxed), time_us);
    }

    #[test]
    fn times_are_counted_under_the_first_bound_that_is_not_below_them() {
        check(0, 0);
        check(250, 0);
        check(251, 1);
        check(30_000_000, 11);
        check(u64::MAX, 12);
    }
}
