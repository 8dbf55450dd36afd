//! How the service's clock stands to ours, from what both say about the same jobs. Pure.
//!
//! A job is created after its request was sent and before its answer came, so each job bounds the difference of the clocks from both
//! sides; all bounds together leave little.

use serde::Serialize;

/// One job, in ms: when its request was sent and answered by our clock, and when it was created by the service's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) sent: f64,
    pub(crate) answered: f64,
    pub(crate) created: f64,
}

/// What must be added to the service's times to make them ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Offset {
    pub(crate) offset_ms: f64,
    /// It may be wrong by so much.
    pub(crate) within_ms: f64,
}

/// Times of the service are cut to whole ms.
const CUT_MS: f64 = 1.0;

/// Clocks that agree as far as one can see are taken to agree; else the middle of what is possible. Bounds that contradict each other (a clock
/// was set in between, or there are several) leave their distance as the uncertainty.
pub(crate) fn offset(bounds: impl Iterator<Item = Bound>) -> Offset {
    let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
    for bound in bounds {
        least = least.max(bound.sent - bound.created - CUT_MS);
        most = most.min(bound.answered - bound.created);
    }
    if !(least.is_finite() && most.is_finite()) || (least <= 0.0 && 0.0 <= most) {
        let within_ms = if least.is_finite() && most.is_finite() { most.max(-least) } else { 0.0 };
        return Offset { offset_ms: 0.0, within_ms };
    }
    Offset { offset_ms: f64::midpoint(least, most), within_ms: (most - least).abs() / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bounds: &[(f64, f64, f64)], offset_ms: f64, within_ms: f64) {
        let bounds = bounds.iter().map(|&(sent, answered, created)| Bound { sent, answered, created });
        assert_eq!(offset(bounds), Offset { offset_ms, within_ms });
    }

    #[test]
    fn all_jobs_together_bound_the_difference() {
        check(&[], 0.0, 0.0);
        // One clock: 0 is possible, so it is 0.
        check(&[(10.0, 14.0, 11.0), (20.0, 22.5, 21.0)], 0.0, 2.0);
        // The service is 1000 ms ahead; the quickest answers say it best.
        check(&[(10.0, 50.0, 1_020.0), (60.0, 62.0, 1_061.0)], -1_000.5, 1.5);
        // Its clock was set during the load.
        check(&[(10.0, 12.0, 1_011.0), (20.0, 22.0, 2_021.0)], -1_500.5, 498.5);
    }
}
