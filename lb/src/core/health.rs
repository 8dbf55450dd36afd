//! When a backend counts as healthy: consecutive checks with thresholds (`HAProxy`'s rise and fall), and when the next check is due.

/// What one active check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// `/ready` answered 2xx.
    Ready,
    /// It answered otherwise: starting or draining. It knows best, so that counts at once.
    Declines,
    /// No answer in time. That may be chance, so it must repeat.
    Silent,
}

/// How many checks in a row change the opinion; at least 1 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) rise: u32,
    pub(crate) fall: u32,
}

/// The opinion on one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    healthy: bool,
    /// It has been checked at all, and it has been ready at all.
    checked: bool,
    proven: bool,
    /// Checks in a row that speak against `healthy`.
    against: u32,
}

impl Standing {
    /// Healthy until the first check, which decides alone; so does the first one that finds it ready.
    pub(crate) fn new() -> Standing {
        Standing { healthy: true, checked: false, proven: false, against: 0 }
    }

    pub(crate) fn is_healthy(self) -> bool {
        self.healthy
    }

    /// It has been ready at some time.
    pub(crate) fn is_proven(self) -> bool {
        self.proven
    }

    /// The opinion after one more check.
    #[must_use]
    pub(crate) fn after(self, check: Check, thresholds: Thresholds) -> Standing {
        let ready = check == Check::Ready;
        let against = if ready == self.healthy { 0 } else { self.against + 1 };
        let needed = match check {
            Check::Ready if self.proven => thresholds.rise,
            Check::Silent if self.checked => thresholds.fall,
            Check::Ready | Check::Silent | Check::Declines => 1,
        };
        let known = Standing { checked: true, proven: self.proven || ready, ..self };
        if against >= needed {
            return Standing { healthy: ready, against: 0, ..known };
        }
        Standing { against, ..known }
    }
}

/// The time until the next check, in ms: the interval ± 10 %, so that several balancers do not check in step.
pub(crate) fn pause_ms(interval_ms: u64, random: u64) -> u64 {
    let spread = interval_ms / 10;
    interval_ms - spread + random % (2 * spread + 1)
}

#[cfg(test)]
mod tests {
    use super::Check::{Declines, Ready, Silent};
    use super::*;

    fn check(checks: &[Check], expected: &[bool]) {
        let thresholds = Thresholds { rise: 2, fall: 3 };
        let mut standing = Standing::new();
        let mut opinions = Vec::new();
        for &check in checks {
            standing = standing.after(check, thresholds);
            opinions.push(standing.is_healthy());
        }
        assert_eq!(opinions, expected, "{checks:?}");
    }

    #[test]
    fn the_first_check_decides_alone() {
        check(&[Ready], &[true]);
        check(&[Silent], &[false]);
        check(&[Declines], &[false]);
        check(&[Silent, Declines, Ready], &[false, false, true]);
    }

    #[test]
    fn it_falls_after_three_and_rises_after_two_in_a_row() {
        check(&[Ready, Silent, Silent, Silent], &[true, true, true, false]);
        check(&[Ready, Silent, Silent, Ready, Silent, Silent], &[true; 6]);
        check(&[Ready, Declines, Ready, Silent, Ready, Ready], &[true, false, false, false, false, true]);
    }

    #[test]
    fn a_backend_that_declines_is_believed_at_once() {
        check(&[Ready, Declines, Ready, Ready], &[true, false, false, true]);
        check(&[Ready, Silent, Declines], &[true, true, false]);
    }

    #[test]
    fn the_pause_is_the_interval_and_a_tenth_of_jitter() {
        for (interval_ms, random, expected) in [(500, 0, 450), (500, 100, 550), (500, 101, 450), (9, 3, 9), (0, 5, 0)] {
            assert_eq!(pause_ms(interval_ms, random), expected, "{interval_ms} {random}");
        }
    }
}
