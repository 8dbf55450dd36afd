//! The store's side of the sequencer's lease: who holds it, and when another may have it.
//!
//! [`Holding`] is a row, changed by transitions; [`HolderWatch`] is what one store has seen of it with its own clock. Several stores may
//! watch the same row: the lease passes on only where its renewal number stood still for lease + margin, so neither a clock step nor
//! a store's restart gives the lease to two.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, InstanceId};
use crate::invalidation::margin_ms;

/// How long the sequencer's lease lasts by default, in ms.
pub const SEQUENCER_LEASE_MS: u64 = 2_000;

/// Who is sequencer, as the store keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The last epoch granted; 0: none ever.
    pub epoch: Epoch,
    /// `None`: never granted, or given back.
    pub holder: Option<InstanceId>,
    /// Grows with each call of the holder.
    pub renewal: u64,
}

/// What `acquire` decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acquired {
    Granted {
        epoch: Epoch,
        /// Somebody was sequencer before: gateways may hold leases that the new one does not know.
        predecessor: bool,
    },
    Held,
}

impl Holding {
    /// Grants the lease under the next epoch: if nobody holds it, if its holder's renewals stood still for long enough (what a
    /// [`HolderWatch`] says), or if the holder itself asks again because it never saw its grant.
    pub fn acquire(&mut self, instance: InstanceId, stood_still: bool) -> Acquired {
        if self.holder.is_some_and(|holder| holder != instance) && !stood_still {
            return Acquired::Held;
        }
        let predecessor = self.epoch != Epoch(0);
        *self = Self { epoch: self.epoch.next(), holder: Some(instance), renewal: self.renewal + 1 };
        Acquired::Granted { epoch: self.epoch, predecessor }
    }

    /// The holder called. `false`: it is not the holder (any more).
    pub fn renew(&mut self, instance: InstanceId, epoch: Epoch) -> bool {
        let holds = self.is_held_by(instance, epoch);
        if holds {
            self.renewal += 1;
        }
        holds
    }

    /// The holder gives the lease back, having stopped to act on it. `false`: it was not the holder.
    pub fn give_back(&mut self, instance: InstanceId, epoch: Epoch) -> bool {
        let held = self.is_held_by(instance, epoch);
        if held {
            self.holder = None;
        }
        held
    }

    /// Whether what `epoch` posts (a closed fence) still counts.
    #[must_use]
    pub fn is_present(&self, epoch: Epoch) -> bool {
        self.epoch == epoch && self.holder.is_some()
    }

    fn is_held_by(&self, instance: InstanceId, epoch: Epoch) -> bool {
        self.epoch == epoch && self.holder == Some(instance)
    }
}

/// One store's view of how long the holder has been silent. It starts anew when the store restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HolderWatch {
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    epoch: Epoch,
    renewal: u64,
    since_ms: u64,
}

impl HolderWatch {
    /// Looks at the row; to be called at the store's start, at each renewal and before each `acquire`.
    pub fn look(&mut self, now_ms: u64, holding: &Holding) {
        let same = |seen: &Seen| seen.epoch == holding.epoch && seen.renewal == holding.renewal;
        if !self.seen.as_ref().is_some_and(same) {
            self.seen = Some(Seen { epoch: holding.epoch, renewal: holding.renewal, since_ms: now_ms });
        }
    }

    /// How long until the lease may pass to another, in ms, if its holder stays silent. 0: now.
    #[must_use]
    pub fn remaining_ms(&self, now_ms: u64, lease_ms: u64) -> u64 {
        let free_ms = |seen: &Seen| seen.since_ms + lease_ms + margin_ms(lease_ms);
        self.seen.as_ref().map_or(lease_ms, |seen| free_ms(seen).saturating_sub(now_ms))
    }

    #[must_use]
    pub fn stood_still(&self, now_ms: u64, lease_ms: u64) -> bool {
        self.seen.is_some() && self.remaining_ms(now_ms, lease_ms) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_MS: u64 = SEQUENCER_LEASE_MS;

    fn instance(n: u128) -> InstanceId {
        InstanceId(uuid::Uuid::from_u128(n))
    }

    fn held_by_first() -> Holding {
        let mut holding = Holding::default();
        let granted = holding.acquire(instance(1), false);
        assert_eq!(granted, Acquired::Granted { epoch: Epoch(1), predecessor: false });
        holding
    }

    #[test]
    fn fresh_store_grants_at_once() {
        held_by_first();
    }

    #[test]
    fn another_waits_for_lease_and_margin_after_the_last_call() {
        let mut holding = held_by_first();
        let mut watch = HolderWatch::default();
        watch.look(0, &holding);
        assert!(holding.renew(instance(1), Epoch(1)));
        watch.look(1_500, &holding);
        let free_ms = 1_500 + LEASE_MS + margin_ms(LEASE_MS);
        watch.look(free_ms - 1, &holding);
        assert_eq!(watch.remaining_ms(free_ms - 1, LEASE_MS), 1);
        assert!(!watch.stood_still(free_ms - 1, LEASE_MS));
        assert_eq!(holding.acquire(instance(2), false), Acquired::Held);
        assert!(watch.stood_still(free_ms, LEASE_MS));
        assert_eq!(holding.acquire(instance(2), true), Acquired::Granted { epoch: Epoch(2), predecessor: true });
        assert!(!holding.renew(instance(1), Epoch(1)), "the first learns it from its next call");
        assert!(!holding.is_present(Epoch(1)), "and its fences count no more");
    }

    #[test]
    fn restarted_store_counts_from_its_start() {
        let holding = held_by_first();
        let mut watch = HolderWatch::default();
        assert!(!watch.stood_still(1_000_000, LEASE_MS), "nothing was looked at yet");
        watch.look(1_000_000, &holding);
        assert!(!watch.stood_still(1_000_000 + LEASE_MS, LEASE_MS));
        assert!(watch.stood_still(1_000_000 + LEASE_MS + margin_ms(LEASE_MS), LEASE_MS));
    }

    #[test]
    fn given_back_lease_is_free_at_once_and_had_a_predecessor() {
        let mut holding = held_by_first();
        assert!(!holding.give_back(instance(2), Epoch(1)));
        assert!(holding.give_back(instance(1), Epoch(1)));
        assert!(!holding.is_present(Epoch(1)));
        assert_eq!(holding.acquire(instance(2), false), Acquired::Granted { epoch: Epoch(2), predecessor: true });
    }

    #[test]
    fn holder_that_never_saw_its_grant_gets_a_new_epoch() {
        let mut holding = held_by_first();
        assert_eq!(holding.acquire(instance(1), false), Acquired::Granted { epoch: Epoch(2), predecessor: true });
        assert!(!holding.renew(instance(1), Epoch(1)));
        assert!(holding.renew(instance(1), Epoch(2)));
    }
}
