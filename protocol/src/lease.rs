//! Leases as durations on each side's own monotonic clock: neither clock steps nor pauses give a job two owners.

use std::collections::BTreeMap;

/// A look counts at most this much, in ms: a process that was stopped for a minute saw no renewal for a minute, and
/// must not blame the owners for it.
pub const LOOK_MAX_MS: u64 = 2_000;

/// What is added to a lease before others act on its end: 2 % for clocks that run at different rates, at least 1 s.
#[must_use]
pub fn margin_ms(lease_ms: u64) -> u64 {
    (lease_ms / 50).max(1_000)
}

/// Watches renewal numbers and names those that stood still for their lease and its margin.
///
/// Everything starts anew when the watcher restarts, which errs on the owner's side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standstill<K: Ord> {
    watched: BTreeMap<K, Watched>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Watched {
    renewal: u64,
    still_ms: u64,
}

/// One thing to watch: who, its present renewal number, its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held<K> {
    pub key: K,
    pub renewal: u64,
    pub lease_ms: u64,
}

impl<K: Ord> Default for Standstill<K> {
    fn default() -> Self {
        Self { watched: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Standstill<K> {
    /// Looks at all that is held now, `passed_ms` after the last look, and returns what stood still for too long. What is no longer
    /// held is forgotten.
    pub fn look(&mut self, passed_ms: u64, held: impl IntoIterator<Item = Held<K>>) -> Vec<Held<K>> {
        let passed_ms = passed_ms.min(LOOK_MAX_MS);
        let mut expired = Vec::new();
        let mut watched = BTreeMap::new();
        for held in held {
            let still_ms = match self.watched.get(&held.key) {
                Some(before) if before.renewal == held.renewal => before.still_ms + passed_ms,
                _ => 0,
            };
            watched.insert(held.key.clone(), Watched { renewal: held.renewal, still_ms });
            if still_ms >= held.lease_ms + margin_ms(held.lease_ms) {
                expired.push(held);
            }
        }
        self.watched = watched;
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(renewal: u64) -> [Held<u8>; 1] {
        [Held { key: 1, renewal, lease_ms: 15_000 }]
    }

    #[test]
    fn lease_ends_when_its_renewal_stood_still_for_lease_and_margin() {
        let mut watch = Standstill::default();
        watch.look(0, held(7));
        for second in 1..16 {
            assert!(watch.look(1_000, held(7)).is_empty(), "at {second} s");
        }
        assert_eq!(watch.look(1_000, held(7)), held(7));
    }

    #[test]
    fn renewal_starts_the_count_anew() {
        let mut watch = Standstill::default();
        for _ in 0..16 {
            watch.look(1_000, held(7));
        }
        assert!(watch.look(1_000, held(8)).is_empty());
        assert!(watch.look(1_000, held(8)).is_empty());
    }

    #[test]
    fn paused_watcher_does_not_reap_everybody() {
        let mut watch = Standstill::default();
        watch.look(0, held(7));
        assert!(watch.look(3_600_000, held(7)).is_empty());
        assert!(watch.look(1_000, held(7)).is_empty());
    }

    #[test]
    fn margin_is_two_percent_and_at_least_a_second() {
        let check = |lease_ms: u64, expected: u64| assert_eq!(margin_ms(lease_ms), expected);
        check(2_000, 1_000);
        check(15_000, 1_000);
        check(100_000, 2_000);
    }
}
