//! The retry budget: repeats may add so much to the load and no more, so that backends that fail under load are not sent more of it (after
//! Finagle's retry budget). A connection that could not be made costs nothing, as nobody was asked.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

/// One repeat, in the unit of the balance.
const REPEAT: i64 = 1_000;
/// For each request: a fifth of a repeat.
const PER_REQUEST: i64 = REPEAT / 5;
/// However few requests there are: ten repeats in each second.
const PER_MS: i64 = 10 * REPEAT / 1_000;
const AT_FIRST: i64 = 100 * REPEAT;
/// More is not saved up.
const MOST: i64 = 1_000 * REPEAT;

/// Loops take from it without a lock; one thread pays in.
#[derive(Debug)]
pub(crate) struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(AT_FIRST))
    }
}

impl Budget {
    /// Whether one more repeat may be made; if so, it is paid.
    pub(crate) fn take(&self) -> bool {
        let pay = |balance: i64| Some(balance - REPEAT).filter(|left| *left >= 0);
        self.0.fetch_update(Relaxed, Relaxed, pay).is_ok()
    }

    /// So many requests came in the time since the last call.
    pub(crate) fn earn(&self, requests: u64, since: Duration) {
        let of_requests = i64::try_from(requests).unwrap_or(MOST).saturating_mul(PER_REQUEST);
        let of_time = i64::try_from(since.as_millis()).unwrap_or(MOST).saturating_mul(PER_MS);
        let earned = of_requests.saturating_add(of_time).min(MOST);
        let before = self.0.fetch_add(earned, Relaxed);
        // What others take meanwhile stays taken.
        self.0.fetch_sub((before + earned - MOST).max(0), Relaxed);
    }

    /// How many repeats could be made now.
    pub(crate) fn left(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed) / REPEAT).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget) -> u64 {
        (0..).take_while(|_| budget.take()).count() as u64
    }

    #[test]
    fn repeats_are_bounded_by_a_fifth_of_the_requests_and_ten_a_second() {
        let budget = Budget::default();
        assert_eq!((budget.left(), spent(&budget)), (100, 100));
        budget.earn(0, Duration::from_secs(1));
        assert_eq!(spent(&budget), 10);
        budget.earn(1_000, Duration::ZERO);
        assert_eq!(spent(&budget), 200);
        budget.earn(4, Duration::ZERO);
        assert_eq!(spent(&budget), 0);
        budget.earn(1, Duration::ZERO);
        assert_eq!(spent(&budget), 1);
    }

    #[test]
    fn no_more_than_a_thousand_are_saved_up() {
        let budget = Budget::default();
        budget.earn(u64::MAX, Duration::MAX);
        budget.earn(u64::MAX, Duration::MAX);
        assert_eq!(spent(&budget), 1_000);
    }
}
