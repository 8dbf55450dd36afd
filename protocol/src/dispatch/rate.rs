//! So many starts per second, evenly: the generic cell rate algorithm (ITU-T I.371, as virtual scheduling). Pure.

/// What a clock that was put back can make of a time that was remembered, before it is taken for nonsense, µs.
const CLOCK_SLACK_US: i64 = 1_000_000;

/// Starts per second, at least 1. A tenth of a second's starts may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u32);

impl Rate {
    fn interval_us(self) -> i64 {
        1_000_000 / i64::from(self.0.max(1))
    }

    /// How many may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.0.div_ceil(10).max(1)
    }

    /// When the next one may start, µs; `next_us` is what [`Rate::started`] gave last, 0 at first.
    #[must_use]
    pub fn earliest_us(self, next_us: i64, now_us: i64) -> i64 {
        let tolerance_us = self.interval_us() * i64::from(self.burst() - 1);
        let farthest_us = now_us.saturating_add(tolerance_us + self.interval_us() + CLOCK_SLACK_US);
        if next_us > farthest_us { now_us } else { next_us - tolerance_us }
    }

    /// What is to be remembered of a start.
    #[must_use]
    pub fn started(self, next_us: i64, now_us: i64) -> i64 {
        let due_us = if self.earliest_us(next_us, now_us) <= now_us { next_us.max(now_us) } else { next_us };
        // After the clock was put back: from now on.
        let farthest_us = now_us + self.interval_us() * i64::from(self.burst()) + CLOCK_SLACK_US;
        due_us.min(farthest_us).saturating_add(self.interval_us())
    }

    /// What is to be remembered when a start did not come about.
    #[must_use]
    pub fn given_back(self, next_us: i64) -> i64 {
        next_us.saturating_sub(self.interval_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts as soon as it may for so long, looking once per millisecond.
    fn starts_within(rate: Rate, seconds: i64) -> Vec<i64> {
        let (mut next_us, mut starts) = (0, Vec::new());
        for now_ms in 0..seconds * 1_000 {
            let now_us = 1_700_000_000_000_000 + now_ms * 1_000;
            while rate.earliest_us(next_us, now_us) <= now_us {
                next_us = rate.started(next_us, now_us);
                starts.push(now_us);
            }
        }
        starts
    }

    #[test]
    fn no_interval_has_more_than_its_rate_and_a_burst() {
        for per_second in [1, 7, 10, 100, 2_500] {
            let rate = Rate(per_second);
            let starts = starts_within(rate, 5);
            let expected = i64::from(per_second) * 5;
            let most = expected + i64::from(rate.burst());
            let count = i64::try_from(starts.len()).expect("few");
            assert!((expected..=most).contains(&count), "{per_second} per second: {count} in 5 s");
            for (index, first) in starts.iter().enumerate() {
                let within = starts[index..].iter().take_while(|at| **at < first + 1_000_000).count();
                let within = u32::try_from(within).expect("few");
                assert!(within <= per_second + rate.burst(), "{per_second} per second: {within} within one");
            }
        }
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_stop_it() {
        let rate = Rate(2);
        let next_us = rate.started(0, 10_000_000_000);
        let hour_before_us = 6_400_000_000;
        assert!(rate.earliest_us(next_us, hour_before_us) <= hour_before_us);
        let next_us = rate.started(next_us, hour_before_us);
        assert!(rate.earliest_us(next_us, hour_before_us) <= hour_before_us + 3_000_000);
    }

    #[test]
    fn what_did_not_start_takes_no_time() {
        let rate = Rate(1);
        let next_us = rate.started(0, 5_000_000);
        assert_eq!(rate.earliest_us(next_us, 5_000_000), 6_000_000);
        assert_eq!(rate.earliest_us(rate.given_back(next_us), 5_000_000), 5_000_000);
    }
}
