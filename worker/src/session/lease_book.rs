//! What this worker holds and until when, counted from its own send instants. Pure: times are `chassis::clock::now_ms`.

use std::collections::BTreeMap;

use protocol::store_api::JobFence;

/// The leases held by one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseBook {
    held: BTreeMap<JobFence, Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    lease_ms: u64,
    /// When the last call that the store answered was sent: the store counts from no earlier.
    renewed_ms: u64,
}

impl Lease {
    /// A sixth before its end, so that the handler has ended before somebody else may begin.
    fn stop_ms(self) -> u64 {
        self.renewed_ms + self.lease_ms - self.lease_ms / 6
    }
}

/// A lease that could not be renewed in time: stop its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) who: JobFence,
    /// What is left of the lease.
    pub(crate) remaining_ms: u64,
}

impl LeaseBook {
    /// A claim was won; it was sent at `sent_ms`.
    pub(crate) fn hold(&mut self, who: JobFence, lease_ms: u64, sent_ms: u64) {
        self.held.insert(who, Lease { lease_ms, renewed_ms: sent_ms });
    }

    /// Settled, or lost.
    pub(crate) fn forget(&mut self, who: JobFence) {
        self.held.remove(&who);
    }

    /// What a heartbeat names.
    pub(crate) fn held(&self) -> impl Iterator<Item = JobFence> + '_ {
        self.held.keys().copied()
    }

    #[must_use]
    pub(crate) fn shortest_lease_ms(&self) -> Option<u64> {
        self.held.values().map(|lease| lease.lease_ms).min()
    }

    /// When it ends, if it is held.
    pub(crate) fn end_ms(&self, who: JobFence) -> Option<u64> {
        self.held.get(&who).map(|lease| lease.renewed_ms + lease.lease_ms)
    }

    /// A heartbeat sent at `sent_ms` renewed `named`. Answers may overtake each other.
    pub(crate) fn renewed<'a>(&mut self, named: impl IntoIterator<Item = &'a JobFence>, sent_ms: u64) {
        for who in named {
            if let Some(lease) = self.held.get_mut(who) {
                lease.renewed_ms = lease.renewed_ms.max(sent_ms);
            }
        }
    }

    /// The leases too close to their end. They are forgotten: a renewal that arrives now comes too late.
    pub(crate) fn take_overdue(&mut self, now_ms: u64) -> Vec<Overdue> {
        let is_overdue = |lease: &Lease| lease.stop_ms() <= now_ms;
        let overdue = self.held.iter().filter(|(_, lease)| is_overdue(lease)).map(|(who, lease)| Overdue {
            who: *who,
            remaining_ms: (lease.renewed_ms + lease.lease_ms).saturating_sub(now_ms),
        });
        let overdue: Vec<_> = overdue.collect();
        self.held.retain(|_, lease| !is_overdue(lease));
        overdue
    }

    /// When the next handler must be stopped, if nothing is renewed.
    #[must_use]
    pub(crate) fn next_stop_ms(&self) -> Option<u64> {
        self.held.values().map(|lease| lease.stop_ms()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{Fence, JobId};

    fn who(fence: u64) -> JobFence {
        JobFence { job_id: JobId(uuid::Uuid::nil()), fence: Fence(fence) }
    }

    #[test]
    fn lease_counts_from_the_send_instant_of_the_answered_call() {
        let mut book = LeaseBook::default();
        book.hold(who(1), 15_000, 1_000);
        assert_eq!(book.next_stop_ms(), Some(13_500));
        book.renewed(&[who(1)], 6_000);
        assert_eq!(book.next_stop_ms(), Some(18_500));
        // The answer to an older heartbeat comes after the answer to a younger one.
        book.renewed(&[who(1)], 2_000);
        assert_eq!(book.next_stop_ms(), Some(18_500));
        assert_eq!(book.take_overdue(18_499), []);
        assert_eq!(book.take_overdue(18_500), [Overdue { who: who(1), remaining_ms: 2_500 }]);
        assert_eq!(book.take_overdue(18_500), []);
        book.renewed(&[who(1)], 18_000);
        assert_eq!(book.held().count(), 0);
    }

    #[test]
    fn worker_that_was_stopped_past_its_lease_has_no_time_left() {
        let mut book = LeaseBook::default();
        book.hold(who(1), 15_000, 0);
        assert_eq!(book.take_overdue(60_000), [Overdue { who: who(1), remaining_ms: 0 }]);
    }

    #[test]
    fn only_what_is_named_is_renewed() {
        let mut book = LeaseBook::default();
        book.hold(who(1), 1_200, 0);
        book.hold(who(2), 60_000, 0);
        book.hold(who(3), 1_200, 0);
        assert_eq!(book.shortest_lease_ms(), Some(1_200));
        book.renewed(&[who(2), who(3), who(9)], 900);
        let overdue: Vec<_> = book.take_overdue(1_000).iter().map(|overdue| overdue.who).collect();
        assert_eq!(overdue, [who(1)]);
        book.forget(who(3));
        assert_eq!(book.held().collect::<Vec<_>>(), [who(2)]);
        assert_eq!((book.shortest_lease_ms(), book.next_stop_ms()), (Some(60_000), Some(50_900)));
    }
}
