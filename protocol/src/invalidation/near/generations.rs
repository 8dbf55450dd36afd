//! Generations of a near cache: one clock that counts what was applied, and for each stripe of keys and tags the last tick that
//! touched it. What was loaded from a tick on is current while none of its stripes has a later one.
//!
//! Bounded, whatever is invalidated: keys that share a stripe only cost each other a miss.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::envelope::Covered;
use crate::inspection::GenerationsView;
use crate::invalidation::guards::{Full, Guard, Guards};

/// Where the numbers are kept: atomics in a gateway, a plain vector in a model.
pub trait Counters {
    fn slots(&self) -> usize;
    fn read(&self, slot: usize) -> u64;
    /// Adds one and returns the sum.
    fn add_one(&mut self, slot: usize) -> u64;
    /// The larger of both stays.
    fn raise(&mut self, slot: usize, value: u64);
}

/// The number of applied invalidations.
const CLOCK: usize = 0;
/// The last one of everything.
const ALL: usize = 1;
/// The last one by a tag, whichever.
const ANY_TAG: usize = 2;
const FIRST_STRIPE: usize = 3;

/// Where a key or a tag is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stripe(u32);

/// The tick at which a load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(u64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Generations<C, G = Full> {
    guards: G,
    counters: C,
}

impl Generations<Arc<[AtomicU64]>> {
    /// Shared by all threads of a process; clones are handles of the same.
    #[must_use]
    pub fn shared(stripes: usize) -> Self {
        let counters = (0..FIRST_STRIPE + stripes.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { guards: Full, counters }
    }
}

impl<G: Guards> Generations<Vec<u64>, G> {
    /// Plain numbers.
    #[must_use]
    pub fn guarded_by(guards: G, stripes: usize) -> Self {
        Self { guards, counters: vec![0; FIRST_STRIPE + stripes.max(1)] }
    }
}

impl<C: Counters, G: Guards> Generations<C, G> {
    #[must_use]
    pub fn key_stripe(&self, key: &str) -> Stripe {
        self.stripe(b'k', key)
    }

    #[must_use]
    pub fn tag_stripe(&self, tag: &str) -> Stripe {
        self.stripe(b't', tag)
    }

    fn stripe(&self, kind: u8, name: &str) -> Stripe {
        let stripes = self.counters.slots() - FIRST_STRIPE;
        let slot = FIRST_STRIPE as u64 + fnv1a(kind, name.as_bytes()) % stripes as u64;
        Stripe(u32::try_from(slot).expect("there are fewer than 2^32 stripes"))
    }

    /// To be read before a load begins.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick(self.counters.read(CLOCK))
    }

    /// Whether what was loaded from `loaded` on is still what may be served.
    #[must_use]
    pub fn is_current(&self, loaded: Tick, key: Stripe, tags: &[Stripe]) -> bool {
        let untouched = |slot: Stripe| self.counters.read(slot.0 as usize) <= loaded.0;
        !self.guards.keeps(Guard::GenerationCompare)
            || self.counters.read(ALL) <= loaded.0 && untouched(key) && tags.iter().all(|tag| untouched(*tag))
    }

    /// How far everything has come that decides about what was loaded from `loaded` on, its tags aside.
    #[must_use]
    pub fn view(&self, loaded: Tick, key: Stripe) -> GenerationsView {
        let read = |slot: usize| self.counters.read(slot);
        GenerationsView { now: read(CLOCK), loaded: loaded.0, key: read(key.0 as usize), all: read(ALL) }
    }

    /// Whether a request may join a load of `key` that began at `began`. Its tags are not known yet, so any tag counts.
    #[must_use]
    pub fn may_join(&self, began: Tick, key: Stripe, lease_is_valid: bool) -> bool {
        let same_generation =
            [ALL, ANY_TAG, key.0 as usize].into_iter().all(|slot| self.counters.read(slot) <= began.0);
        (lease_is_valid || !self.guards.keeps(Guard::LeaselessJoin))
            && (same_generation || !self.guards.keeps(Guard::FlightKey))
    }

    /// What is covered and was loaded before is served no more. Repeating it does no harm.
    pub fn bump(&mut self, covered: &Covered) {
        let tick = self.counters.add_one(CLOCK);
        // A prefix cannot be striped: everything goes.
        if covered.all || covered.prefix.is_some() {
            self.counters.raise(ALL, tick);
        }
        for key in &covered.keys {
            let slot = self.key_stripe(key);
            self.counters.raise(slot.0 as usize, tick);
        }
        for tag in &covered.tags {
            let slot = self.tag_stripe(tag);
            self.counters.raise(slot.0 as usize, tick);
            self.counters.raise(ANY_TAG, tick);
        }
    }

    pub fn bump_all(&mut self) {
        let tick = self.counters.add_one(CLOCK);
        self.counters.raise(ALL, tick);
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo), folded: cheap, and a collision costs a miss only.
fn fnv1a(kind: u8, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes.iter().fold(step(0xcbf2_9ce4_8422_2325, &kind), step);
    hash ^ (hash >> 32)
}

impl Counters for Vec<u64> {
    fn slots(&self) -> usize {
        self.len()
    }

    fn read(&self, slot: usize) -> u64 {
        self.get(slot).copied().unwrap_or(u64::MAX)
    }

    fn add_one(&mut self, slot: usize) -> u64 {
        self.raise(slot, self.read(slot).wrapping_add(1));
        self.read(slot)
    }

    fn raise(&mut self, slot: usize, value: u64) {
        if let Some(number) = self.get_mut(slot) {
            *number = value.max(*number);
        }
    }
}

/// A slot is raised after the clock, and read (acquire) after the lease that was extended (release) when it had been raised.
impl Counters for Arc<[AtomicU64]> {
    fn slots(&self) -> usize {
        self.len()
    }

    #[inline]
    fn read(&self, slot: usize) -> u64 {
        self.get(slot).map_or(u64::MAX, |number| number.load(Ordering::Acquire))
    }

    fn add_one(&mut self, slot: usize) -> u64 {
        self.get(slot).map_or(u64::MAX, |number| number.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn raise(&mut self, slot: usize, value: u64) {
        if let Some(number) = self.get(slot) {
            number.fetch_max(value, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<C: Counters>(mut generations: Generations<C>) {
        let (key, other) = (generations.key_stripe("a"), generations.key_stripe("b"));
        let tag = generations.tag_stripe("t");
        assert!(key != other && key != tag, "the stripes of this test differ");
        let before = generations.now();
        assert!(generations.is_current(before, key, &[tag]));

        generations.bump(&Covered::key("a"));
        assert!(!generations.is_current(before, key, &[]), "also where nothing was held");
        assert!(generations.is_current(before, other, &[tag]));
        assert!(generations.is_current(generations.now(), key, &[tag]), "a later load is current");

        let before = generations.now();
        generations.bump(&Covered { tags: vec!["t".to_owned()], ..Covered::default() });
        assert!(generations.is_current(before, key, &[]));
        assert!(!generations.is_current(before, key, &[tag]));
        assert!(!generations.may_join(before, key, true), "its tags are not known before it ends");

        for covered in [
            Covered { all: true, ..Covered::default() },
            Covered { prefix: Some("x".to_owned()), ..Covered::default() },
        ] {
            let before = generations.now();
            generations.bump(&covered);
            assert!(!generations.is_current(before, key, &[]));
        }
        let before = generations.now();
        generations.bump_all();
        assert!(!generations.is_current(before, other, &[]));
    }

    #[test]
    fn what_was_loaded_before_an_invalidation_is_not_current_after_it() {
        check(Generations::<Vec<u64>>::guarded_by(Full, 64));
        check(Generations::shared(1 << 16));
    }

    #[test]
    fn request_without_a_lease_joins_no_earlier_flight() {
        let generations = Generations::<Vec<u64>>::guarded_by(Full, 8);
        let key = generations.key_stripe("a");
        assert!(generations.may_join(generations.now(), key, true));
        assert!(!generations.may_join(generations.now(), key, false));
    }

    #[test]
    fn request_after_an_invalidation_joins_no_earlier_flight() {
        let mut generations = Generations::<Vec<u64>>::guarded_by(Full, 64);
        let (key, other) = (generations.key_stripe("a"), generations.key_stripe("b"));
        let began = generations.now();
        generations.bump(&Covered::key("a"));
        assert!(!generations.may_join(began, key, true));
        assert!(generations.may_join(began, other, true));
    }
}
