//! How long a backend takes: a peak-sensitive moving average of answer times (Finagle's and Linkerd's peak EWMA). It jumps up to a slow answer
//! at once and comes down slowly, so that a backend that stalls is avoided after one answer, not after many.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// After this, what was measured counts for a third (1/e). As Finagle and Linkerd have it.
const DECAY: Duration = Duration::from_secs(10);

/// What a backend is taken for of which nothing is known, and the least that counts: below it, differences are noise.
const LEAST_US: f64 = 1_000.0;

/// What a request that failed counts for: it may fail fast, and must not draw the others to where it failed.
pub(crate) const PENALTY: Duration = Duration::from_secs(1);

/// Loops write it without a lock. Two that write at once lose one answer of many.
#[derive(Debug, Default)]
pub(crate) struct PeakEwma {
    /// The bits of an `f64`: microseconds.
    mean_us: AtomicU64,
    at_us: AtomicU64,
}

impl PeakEwma {
    /// An answer took so long. `now` counts from any one moment.
    pub(crate) fn observe(&self, took: Duration, now: Duration) {
        let took_us = took.as_secs_f64() * 1e6;
        let mean_us = self.mean_us();
        let next_us = if took_us >= mean_us {
            took_us
        } else {
            let kept = self.kept(now);
            mean_us * kept + took_us * (1.0 - kept)
        };
        self.mean_us.store(next_us.to_bits(), Relaxed);
        self.at_us.store(micros(now), Relaxed);
    }

    /// What the next answer is expected to take, in microseconds. It comes down when nothing is heard, so that a backend that was slow is tried
    /// again.
    pub(crate) fn expected_us(&self, now: Duration) -> f64 {
        (self.mean_us() * self.kept(now)).max(LEAST_US)
    }

    /// Forgets what was measured: another process answers at the same address.
    pub(crate) fn reset(&self) {
        self.mean_us.store(0, Relaxed);
    }

    fn mean_us(&self) -> f64 {
        f64::from_bits(self.mean_us.load(Relaxed))
    }

    fn kept(&self, now: Duration) -> f64 {
        let since = now.saturating_sub(Duration::from_micros(self.at_us.load(Relaxed)));
        (-since.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answers: &[(u64, u64)], asked_at_ms: u64, expected_ms: f64) {
        let ewma = PeakEwma::default();
        for &(took_ms, at_ms) in answers {
            ewma.observe(Duration::from_millis(took_ms), Duration::from_millis(at_ms));
        }
        let expects_ms = ewma.expected_us(Duration::from_millis(asked_at_ms)) / 1e3;
        assert!(
            (expects_ms - expected_ms).abs() < 0.1,
            "{answers:?} at {asked_at_ms}: {expects_ms}, not {expected_ms}"
        );
    }

    #[test]
    fn nothing_known_is_a_millisecond_and_so_is_less() {
        check(&[], 0, 1.0);
        check(&[(0, 0)], 0, 1.0);
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_slowly() {
        check(&[(5, 0), (100, 0)], 0, 100.0);
        check(&[(100, 0), (5, 10)], 10, 99.9);
        check(&[(100, 0), (10, 10_000)], 10_000, 43.1);
        check(&[(100, 0), (10, 1_000_000)], 1_000_000, 10.0);
    }

    #[test]
    fn who_is_not_asked_is_thought_better_of_with_time() {
        check(&[(100, 0)], 10_000, 36.8);
        check(&[(100, 0)], 60_000, 1.0);
    }

    #[test]
    fn another_process_starts_with_nothing() {
        let ewma = PeakEwma::default();
        ewma.observe(Duration::from_secs(1), Duration::ZERO);
        ewma.reset();
        assert!((ewma.expected_us(Duration::ZERO) - LEAST_US).abs() < 1.0);
    }
}
