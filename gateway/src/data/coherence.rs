//! The near lease and the generations as all requests of a gateway share them.
//!
//! Order matters twice. An answer voids (release) before its lease is published (release); a reader loads the lease (acquire) before
//! it compares generations (acquire), so under a new lease it cannot miss what that lease's renewal had voided.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::clock;
use protocol::cache_api::{RenewalAnswer, RenewalRequest};
use protocol::envelope::Invalidated;
use protocol::ids::HolderId;
use protocol::inspection::{GenerationsView, LeaseView};
use protocol::invalidation::near::{Generations, NearLease, Stripe, Taken, Tick, Ticket};

/// Generations of keys and tags. Two names that share one only cost each other a miss.
const STRIPES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Coherence {
    generations: Generations<Arc<[AtomicU64]>>,
    /// Written with the lease locked, read without.
    valid_until_ms: AtomicU64,
    /// Held for a few instructions by the renewal loop and the announcements, never by a read.
    lease: Mutex<NearLease>,
    /// How many renewals were begun.
    renewals: AtomicU64,
}

impl Coherence {
    pub(super) fn new(holder: HolderId) -> Self {
        Self {
            generations: Generations::shared(STRIPES),
            valid_until_ms: AtomicU64::new(0),
            lease: Mutex::new(NearLease::new(holder)),
            renewals: AtomicU64::new(0),
        }
    }

    /// Whether the near cache may answer a request that has been read: the clock is read here, after it.
    pub(super) fn may_serve(&self) -> bool {
        clock::now_ms() < self.valid_until_ms()
    }

    pub(super) fn valid_until_ms(&self) -> u64 {
        self.valid_until_ms.load(Ordering::Acquire)
    }

    pub(super) fn lease_view(&self) -> LeaseView {
        let lease = self.lease();
        let remaining_ms = self.valid_until_ms().saturating_sub(clock::now_ms());
        LeaseView { valid: remaining_ms > 0, remaining_ms, term: lease.term(), applied: lease.applied() }
    }

    pub(super) fn generations_view(&self, loaded: Tick, key: Stripe) -> GenerationsView {
        self.generations.view(loaded, key)
    }

    pub(super) fn now(&self) -> Tick {
        self.generations.now()
    }

    pub(super) fn key_stripe(&self, key: &str) -> Stripe {
        self.generations.key_stripe(key)
    }

    pub(super) fn tag_stripe(&self, tag: &str) -> Stripe {
        self.generations.tag_stripe(tag)
    }

    pub(super) fn is_current(&self, loaded: Tick, key: Stripe, tags: &[Stripe]) -> bool {
        self.generations.is_current(loaded, key, tags)
    }

    pub(super) fn may_join(&self, began: Tick, key: Stripe, lease_is_valid: bool) -> bool {
        self.generations.may_join(began, key, lease_is_valid)
    }

    /// A renewal to be sent now.
    pub(super) fn begin(&self, wait_ms: u64) -> (Ticket, RenewalRequest) {
        let ticket = Ticket(self.renewals.fetch_add(1, Ordering::Relaxed));
        (ticket, self.lease().begin(ticket, clock::now_ms(), wait_ms))
    }

    pub(super) fn answered(&self, ticket: Ticket, answer: &RenewalAnswer) -> Taken {
        let mut lease = self.lease();
        let taken = lease.answered(ticket, answer, clock::now_ms(), &mut self.generations.clone());
        self.valid_until_ms.store(lease.valid_until_ms(), Ordering::Release);
        taken
    }

    pub(super) fn announced(&self, event: &Invalidated) -> bool {
        self.lease().announced(event, &mut self.generations.clone())
    }

    /// Serves nothing more from the near cache; the request says so to the sequencer.
    pub(super) fn leave(&self) -> RenewalRequest {
        let mut lease = self.lease();
        self.valid_until_ms.store(0, Ordering::Release);
        lease.leave()
    }

    fn lease(&self) -> MutexGuard<'_, NearLease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
