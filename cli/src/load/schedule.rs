//! When each request is due: fixed before the first one is sent, whatever the answers do. Pure.

use std::time::Duration;

use super::stages::{Stage, Stages};

/// The due instants of all requests, counted from the start, in order.
#[derive(Clone, Debug)]
pub(crate) struct Schedule<'a> {
    stages: &'a [Stage],
    /// Of the present stage: its begin in s, and the requests due before it (not a whole number).
    begin: f64,
    before: f64,
    next: u32,
}

impl<'a> Schedule<'a> {
    pub(crate) fn new(stages: &'a Stages) -> Self {
        Self { stages: stages.as_slice(), begin: 0.0, before: 0.0, next: 0 }
    }

    /// One that holds no further request.
    pub(crate) fn ended() -> Self {
        Self { stages: &[], begin: 0.0, before: 0.0, next: 0 }
    }
}

impl Iterator for Schedule<'_> {
    type Item = Duration;

    /// Request n (from 0) is due when the rate, summed over time, has reached n.
    fn next(&mut self) -> Option<Duration> {
        let number = f64::from(self.next);
        loop {
            let (stage, rest) = self.stages.split_first()?;
            let through = self.before + stage.requests();
            if number < through {
                self.next = self.next.checked_add(1)?;
                return Some(Duration::from_secs_f64(self.begin + reached(stage, number - self.before)));
            }
            self.stages = rest;
            self.begin += stage.length.as_secs_f64();
            self.before = through;
        }
    }
}

/// When the stage has seen so many requests, in s from its begin: the root of `from·t + slope·t²/2 = requests`, in the form that stays exact
/// when the slope is zero.
fn reached(stage: &Stage, requests: f64) -> f64 {
    if requests <= 0.0 {
        return 0.0;
    }
    let slope = (stage.to - stage.from) / stage.length.as_secs_f64();
    let root = (stage.from * stage.from + 2.0 * slope * requests).max(0.0).sqrt();
    (2.0 * requests / (stage.from + root)).min(stage.length.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_ms(text: &str) -> Vec<u128> {
        let stages: Stages = text.parse().expect("stages");
        Schedule::new(&stages).map(|due| due.as_millis()).collect()
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        assert_eq!(due_ms("hold 4/1s"), [0, 250, 500, 750]);
        assert_eq!(due_ms("hold 2/1s, hold 4/500ms, hold 1/1s"), [0, 500, 1_000, 1_250, 1_500]);
        assert_eq!(due_ms("hold 0/1s, hold 1/2s"), [1_000, 2_000]);
    }

    #[test]
    fn a_ramp_follows_the_square_root() {
        // 2 t² requests after t: 0, 1, 2, 3, … are reached at √(n / 2).
        assert_eq!(due_ms("ramp 0..8/2s"), [0, 707, 1_000, 1_224, 1_414, 1_581, 1_732, 1_870]);
        // Falling is the mirror of rising.
        let falling = due_ms("ramp 8..0/2s");
        assert_eq!((falling.len(), falling[0], falling[4]), (8, 0, 585));
    }

    #[test]
    fn counts_match_the_stages_and_nothing_goes_back() {
        let check = |text: &str, expected: usize| {
            let due = due_ms(text);
            assert_eq!(due.len(), expected, "{text}");
            assert!(due.windows(2).all(|pair| pair[0] <= pair[1]), "{text}");
        };
        check("ramp 0..200/30s, hold 200/1m, spike 1000/5s, hold 200/30s", 26_000);
        check("ramp 100..1/10s, ramp 1..100/10s", 1_010);
        // Fractions are carried, not dropped at the ends of stages.
        check("hold 0.3/1s, hold 0.3/1s, hold 0.3/1s, hold 0.3/1s", 2);
    }
}
