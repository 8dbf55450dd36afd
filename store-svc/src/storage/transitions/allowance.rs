//! What somebody may have at once, and has: a tenant, or an API key that has limits.

use protocol::dispatch::Rate;
use protocol::explain::ReachedLimit;
use protocol::queue::Depth;
use protocol::tenant::Limits;
use protocol::time::Timestamp;

#[derive(Clone, Debug, Default)]
pub(super) struct Allowance {
    pub(super) limits: Limits,
    /// When the rate lets the next one start, as [`Rate`] counts, Unix µs.
    pub(super) next_start_us: i64,
    /// Jobs in all queues.
    pub(super) depth: Depth,
    /// Bells that are out.
    pub(super) offered: u64,
    /// The table has an older `next_start_us`.
    pub(super) unsaved: bool,
}

/// A limit that is reached. Of two the later one lets go last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HeldBack {
    /// The rate is used up until then, Unix ms.
    Until(i64),
    /// As many run, or are offered, as may.
    Running,
}

impl Allowance {
    /// Other limits; the rate is counted from now on if it is another one.
    pub(super) fn set(&mut self, limits: Limits) {
        if self.limits.rate_per_second != limits.rate_per_second {
            self.next_start_us = 0;
        }
        self.limits = limits;
    }

    /// Why nothing more may be started or offered now.
    pub(super) fn held_back(&self, wall_ms: i64) -> Option<HeldBack> {
        if self.limits.running_max.is_some_and(|most| self.depth.running + self.offered >= most) {
            return Some(HeldBack::Running);
        }
        let rate = Rate(self.limits.rate_per_second?);
        // What is offered while all slots are busy would be started together.
        if self.offered >= u64::from(rate.burst()) {
            return Some(HeldBack::Running);
        }
        self.starts_at(wall_ms).map(HeldBack::Until)
    }

    /// When the rate lets the next one start, Unix ms; `None`: now.
    pub(super) fn starts_at(&self, wall_ms: i64) -> Option<i64> {
        let now_us = wall_ms.saturating_mul(1_000);
        let at_us = Rate(self.limits.rate_per_second?).earliest_us(self.next_start_us, now_us);
        (at_us > now_us).then(|| at_us.div_euclid(1_000) + 1)
    }

    /// Whether one more may run: bells that are out are as they are.
    pub(super) fn may_run(&self) -> bool {
        self.limits.running_max.is_none_or(|most| self.depth.running < most)
    }

    /// What the limit that is reached is, and how it stands.
    pub(super) fn reached(&self, held_back: HeldBack) -> ReachedLimit {
        let starts_at = match held_back {
            HeldBack::Running => None,
            HeldBack::Until(at_ms) => Some(Timestamp::from_unix_ms(at_ms)),
        };
        let Limits { running_max, rate_per_second, .. } = self.limits;
        ReachedLimit { running: self.depth.running + self.offered, running_max, rate_per_second, starts_at }
    }
}
