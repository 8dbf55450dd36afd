//! Slow start: a backend that came back gets its share little by little, while its caches and connections fill.

use std::time::Duration;

/// Shares are counted in these parts of a weight.
pub(crate) const PARTS: u32 = 10;

/// The part of its weight, from 1 to [`PARTS`], that a backend has which is back for so long and is to have all of it after `whole`.
pub(crate) fn parts(back_for: Duration, whole: Duration) -> u32 {
    if back_for >= whole {
        return PARTS;
    }
    let share = back_for.as_secs_f64() / whole.as_secs_f64() * f64::from(PARTS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10")]
    let whole_parts = share as u32;
    whole_parts.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(back_for_ms: u64, whole_ms: u64, expected: u32) {
        assert_eq!(parts(Duration::from_millis(back_for_ms), Duration::from_millis(whole_ms)), expected);
    }

    #[test]
    fn the_share_grows_evenly_from_a_tenth() {
        check(0, 10_000, 1);
        check(1_999, 10_000, 1);
        check(2_000, 10_000, 2);
        check(9_999, 10_000, 9);
        check(10_000, 10_000, PARTS);
        check(u64::MAX, 10_000, PARTS);
    }

    #[test]
    fn without_a_slow_start_it_is_whole_at_once() {
        check(0, 0, PARTS);
    }
}
