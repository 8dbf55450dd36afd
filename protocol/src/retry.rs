//! When a failed attempt is made again: exponential backoff with full jitter.

/// Bounds of the wait between attempts, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base_ms: u64,
    pub max_ms: u64,
}

/// The wait after the second crash in a row and the next ones: short, because a killed worker's jobs run elsewhere within 5 s after their leases.
pub const CRASH_BACKOFF: Backoff = Backoff { base_ms: 1_000, max_ms: 2_000 };

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: 1_000, max_ms: 300_000 }
    }
}

impl Backoff {
    /// The wait after the n-th failure in a row, drawn evenly from 0 to min(max, base × 2^(n−1)) ("full jitter" of the AWS
    /// Architecture Blog, "Exponential Backoff And Jitter"). `random` is any number; the same one gives the same wait.
    #[must_use]
    pub fn wait_ms(&self, failures: u32, random: u64) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let ceiling_ms = self.base_ms.saturating_mul(1 << doublings).min(self.max_ms);
        random % (ceiling_ms + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_doubles_up_to_the_bound() {
        let backoff = Backoff { base_ms: 1_000, max_ms: 10_000 };
        let check = |failures: u32, ceiling_ms: u64| {
            assert_eq!(backoff.wait_ms(failures, ceiling_ms), ceiling_ms, "after {failures}");
            assert_eq!(backoff.wait_ms(failures, ceiling_ms + 1), 0, "after {failures}");
        };
        check(1, 1_000);
        check(2, 2_000);
        check(4, 8_000);
        check(5, 10_000);
        check(1_000, 10_000);
    }
}
