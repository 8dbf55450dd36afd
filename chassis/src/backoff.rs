//! How long to wait before trying again: exponential with full jitter, within bounds.
//!
//! Source: "Exponential Backoff And Jitter", Marc Brooker, AWS Architecture Blog, 2015.

use std::time::Duration;

/// A series of waits. Pure: randomness is an argument.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// The n-th wait is random between `floor` and `base * 2^n`, at most `cap`.
    pub const fn new(floor: Duration, base: Duration, cap: Duration) -> Backoff {
        Backoff { floor, base, cap, attempt: 0 }
    }

    /// The next wait, for a `random` in 0..1.
    pub fn next(&mut self, random: f64) -> Duration {
        let doublings = 1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        let ceiling = self.base.saturating_mul(doublings).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        let spread = ceiling.saturating_sub(self.floor);
        (self.floor + spread.mul_f64(random.clamp(0.0, 1.0))).min(self.cap)
    }

    /// The next wait with the thread's random numbers.
    pub fn next_random(&mut self) -> Duration {
        self.next(rand::random::<f64>())
    }

    /// After a success: the next wait is a first one again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(random: f64, expected_ms: &[u64]) {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(100), ms(1_000));
        let waits: Vec<_> = expected_ms.iter().map(|_| backoff.next(random)).collect();
        let expected: Vec<_> = expected_ms.iter().copied().map(ms).collect();
        assert_eq!(waits, expected, "random {random}");
    }

    #[test]
    fn waits_double_between_floor_and_cap() {
        check(0.0, &[10, 10, 10, 10, 10, 10]);
        check(1.0, &[100, 200, 400, 800, 1_000, 1_000]);
        check(0.5, &[55, 105, 205, 405, 505, 505]);
        check(9.9, &[100, 200, 400, 800, 1_000]);
        check(-1.0, &[10, 10]);
    }

    #[test]
    fn a_thousand_attempts_stay_within_the_cap() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::from_secs(1), Duration::from_secs(30));
        assert!((0..1_000).all(|_| backoff.next_random() <= Duration::from_secs(30)));
        backoff.reset();
        assert!(backoff.next(1.0) == Duration::from_secs(1));
    }
}
