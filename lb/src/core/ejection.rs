//! Passive ejection: a backend whose requests fail while those of its peers succeed is left out for a while, although its checks say that it is
//! well (after Envoy's outlier detection and Linkerd's success-rate window). When all fail, nobody is to blame, and nobody is left out.

use std::time::Duration;

/// Successes are counted over the last ten seconds, in buckets: a moving average would be moved too far by few requests.
const BUCKETS: usize = 10;
const BUCKET: Duration = Duration::from_secs(1);
/// Of fewer requests in the window nothing is concluded.
const VOLUME_MIN: u64 = 20;
/// Below this share of successes, in percent, a backend may be left out, and if that of the others is above it.
const SUCCESSES_PERCENT_MIN: u64 = 80;
/// The longest absence, as a multiple of the first one.
const TIMES_MAX: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// So many failures in a row; 0 means that nobody is ever left out.
    pub(crate) in_a_row: u64,
    /// The first absence; each further one is longer by as much.
    pub(crate) absence: Duration,
}

/// What was counted of a backend since it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) answers: u64,
    pub(crate) failures: u64,
    /// Those of the failures that could not even connect.
    pub(crate) unreached: u64,
}

/// What is known of one backend.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    /// Its checks say that it is not there.
    is_down: bool,
    buckets: [Totals; BUCKETS],
    /// The number of the bucket that is being filled.
    newest: u64,
    seen: Totals,
    /// Failures since the last good answer.
    in_a_row: u64,
    /// It is out and somebody could not connect, so that its process was gone; its good checks since then.
    unreached: Option<u32>,
    /// Absences, one after the other.
    times: u32,
    out_until: Option<Duration>,
    back_since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Out { until: Duration },
    Back,
}

impl Conduct {
    pub(crate) fn is_out(&self) -> bool {
        self.out_until.is_some()
    }

    /// Takes in what was counted by now.
    pub(crate) fn observe(&mut self, now: Duration, totals: Totals, in_a_row: u64) {
        let number = bucket(now);
        for passed in (self.newest + 1..=number).take(BUCKETS) {
            self.buckets[place(passed)] = Totals::default();
        }
        self.newest = number;
        let newest = &mut self.buckets[place(number)];
        newest.answers += totals.answers.saturating_sub(self.seen.answers);
        newest.failures += totals.failures.saturating_sub(self.seen.failures);
        newest.unreached += totals.unreached.saturating_sub(self.seen.unreached);
        (self.seen, self.in_a_row) = (totals, in_a_row);
    }

    /// What its checks say. One that is there again may be another process: what was known of the last one is forgotten. So is that somebody could not
    /// connect, after `rise` checks that could. Whether it is in again by that.
    pub(crate) fn checked(&mut self, is_ready: bool, is_down: bool, rise: u32) -> bool {
        let was_out = self.is_out();
        if let Some(good) = &mut self.unreached {
            *good = if is_ready { *good + 1 } else { 0 };
        }
        if (self.is_down && !is_down) || self.unreached.is_some_and(|good| good >= rise) {
            *self = Self { seen: self.seen, newest: self.newest, ..Self::default() };
        }
        self.is_down = is_down;
        was_out && !self.is_out()
    }

    /// What speaks for leaving it out, or against it.
    pub(crate) fn grounds(&self) -> (u64, Totals) {
        (self.in_a_row, self.window())
    }

    fn window(&self) -> Totals {
        let add = |sum: Totals, one: &Totals| Totals {
            answers: sum.answers + one.answers,
            failures: sum.failures + one.failures,
            unreached: sum.unreached + one.unreached,
        };
        self.buckets.iter().fold(Totals::default(), add)
    }

    fn is_suspect(&self, limits: Limits) -> bool {
        let window = self.window();
        self.in_a_row >= limits.in_a_row || (window.answers >= VOLUME_MIN && !window.is_good())
    }

    fn leave(&mut self, now: Duration, limits: Limits) -> Change {
        self.times = (self.times + 1).min(TIMES_MAX);
        self.unreached = (self.window().unreached > 0).then_some(0);
        let until = now + limits.absence * self.times;
        self.out_until = Some(until);
        Change::Out { until }
    }

    fn come_back(&mut self, now: Duration) -> Change {
        (self.out_until, self.unreached, self.back_since) = (None, None, now);
        (self.buckets, self.in_a_row) = ([Totals::default(); BUCKETS], 0);
        Change::Back
    }
}

impl Totals {
    fn is_good(self) -> bool {
        (self.answers - self.failures.min(self.answers)) * 100 >= self.answers * SUCCESSES_PERCENT_MIN
    }
}

/// Who is left out from now on and who comes back, by place. At least half of all backends stay in, those that are down counted as out.
pub(crate) fn changes(all: &mut [&mut Conduct], now: Duration, limits: Limits) -> Vec<(usize, Change)> {
    let mut changes = Vec::new();
    for (place, conduct) in all.iter_mut().enumerate() {
        if conduct.out_until.is_some_and(|until| now >= until) {
            changes.push((place, conduct.come_back(now)));
        } else if now.saturating_sub(conduct.back_since) > limits.absence * conduct.times {
            conduct.times = 0;
        }
    }
    if limits.in_a_row == 0 {
        return changes;
    }
    for place in 0..all.len() {
        let inside = all.iter().filter(|conduct| !conduct.is_down && !conduct.is_out()).count();
        let suspect = &all[place];
        let may_leave = !suspect.is_down && !suspect.is_out() && inside > all.len().div_ceil(2);
        if may_leave && suspect.is_suspect(limits) && peers_are_good(all, place) {
            changes.push((place, all[place].leave(now, limits)));
        }
    }
    changes
}

/// Whether some of those who are in succeed.
fn peers_are_good(all: &[&mut Conduct], of: usize) -> bool {
    let peers = all.iter().enumerate().filter(|(place, peer)| *place != of && !peer.is_down && !peer.is_out());
    peers.map(|(_, peer)| peer.window()).any(|window| window.answers > 0 && window.is_good())
}

fn bucket(now: Duration) -> u64 {
    now.as_secs() / BUCKET.as_secs()
}

fn place(bucket: u64) -> usize {
    usize::try_from(bucket % BUCKETS as u64).unwrap_or_default()
}

#[cfg(test)]
#[path = "ejection_tests.rs"]
mod tests;
