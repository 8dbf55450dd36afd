//! Backends as all event loops share them: counters as relaxed atomics, membership and health as an immutable snapshot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::pick;

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
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests being answered now.
    pub(crate) in_flight: AtomicU64,
    /// Attempts made, the failed ones and the repeated ones among them.
    pub(crate) requests: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) connects: AtomicU64,
    /// Times from the attempt to the head of its answer.
    pub(crate) latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    pub(crate) latency_sum_us: AtomicU64,
}

impl Backend {
    pub(crate) fn new(address: SocketAddr) -> Backend {
        Backend { address, name: address.to_string(), counts: Counts::default() }
    }
}

impl Counts {
    pub(crate) fn answered_after(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = LATENCY_BOUNDS_US.partition_point(|&bound_us| bound_us < time_us);
        self.latency[place].fetch_add(1, Relaxed);
        self.latency_sum_us.fetch_add(time_us, Relaxed);
    }
}

/// Who there is and who is healthy, at one moment. Made by the control thread only.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    pub(crate) backends: Vec<Arc<Backend>>,
    /// Places in `backends`: the healthy ones, and the rest.
    healthy: Vec<usize>,
    others: Vec<usize>,
}

impl Membership {
    pub(crate) fn new(members: impl IntoIterator<Item = (Arc<Backend>, bool)>) -> Membership {
        let mut membership = Membership::default();
        for (place, (backend, is_healthy)) in members.into_iter().enumerate() {
            membership.backends.push(backend);
            let list = if is_healthy { &mut membership.healthy } else { &mut membership.others };
            list.push(place);
        }
        membership
    }

    /// The place of the backend for an attempt; see [`pick::backend`].
    pub(crate) fn pick(&self, turn: usize, attempt: usize) -> Option<usize> {
        pick::backend(turn, attempt, &self.healthy, &self.others)
    }

    pub(crate) fn is_healthy(&self, place: usize) -> bool {
        self.healthy.contains(&place)
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
