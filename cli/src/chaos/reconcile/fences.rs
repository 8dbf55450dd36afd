//! How long writers and invalidators waited for their fences, and what the caches did while the broker was away. Pure; only for trials of the
//! caches.

use serde::Serialize;

use super::spans::{Span, spans};
use super::{Promise, Verdict};
use crate::chaos::faults::Member;
use crate::chaos::history::{Entry, Event, Fate, Phase};
use crate::chaos::traffic::BALANCER;

/// design.md, promise 4: the near caches' lease (2 s by default) and 500 ms, while the sequencer runs.
const FENCED_WITHIN_MS: u64 = 2_500;
/// Whatever happens, the balancer's client has an answer after 5 s; 500 ms for the machine to get round to it.
const ENDED_WITHIN_MS: u64 = 5_500;
/// A gateway that was started again is not asked in vain for longer.
const STARTS_WITHIN_MS: u64 = 5_000;

/// Of several times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::chaos) struct Times {
    pub(in crate::chaos) count: usize,
    pub(in crate::chaos) p50_us: u64,
    pub(in crate::chaos) p99_us: u64,
    pub(in crate::chaos) max_us: u64,
}

impl Times {
    fn of(mut times_us: Vec<u64>) -> Self {
        times_us.sort_unstable();
        let count = times_us.len();
        let at = |percent: usize| times_us.get((count * percent).div_ceil(100).saturating_sub(1));
        let [p50_us, p99_us, max_us] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
        Self { count, p50_us, p99_us, max_us }
    }
}

/// What is told of the caches of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::chaos) struct Caches {
    /// Acknowledged while nothing was broken.
    pub(in crate::chaos) quiet_writes: Times,
    pub(in crate::chaos) quiet_invalidations: Times,
    /// Acknowledged while something was.
    pub(in crate::chaos) disturbed_writes: Times,
    pub(in crate::chaos) disturbed_invalidations: Times,
    /// Waited for in vain.
    pub(in crate::chaos) unfenced: u64,
    /// Until the answer to an invalidation through the balancer, of whatever kind, in ms.
    pub(in crate::chaos) slowest_answer_ms: u64,
    /// While the broker was away: answers from gateways' own caches, and acknowledgements.
    pub(in crate::chaos) near_hits_without_broker: u64,
    pub(in crate::chaos) acknowledged_without_broker: u64,
    /// How often a cache-svc became sequencer.
    pub(in crate::chaos) sequencers: u64,
}

/// A request that waited for its fence.
#[derive(Clone, Copy, Debug)]
struct Waited<'a> {
    at: &'a str,
    from_us: u64,
    until_us: u64,
    is_write: bool,
    acknowledged: bool,
}

impl Waited<'_> {
    fn took_us(&self) -> u64 {
        self.until_us - self.from_us
    }

    fn took_ms(&self) -> u64 {
        self.took_us() / 1_000
    }

    /// As the instants of faults are counted.
    fn span_ms(&self) -> (u64, u64) {
        (self.from_us / 1_000, self.until_us / 1_000)
    }

    fn words(&self) -> String {
        let what = if self.is_write { "a write" } else { "an invalidation" };
        format!("{what} at {}, begun at {} us", self.at, self.from_us)
    }
}

pub(super) fn judge(history: &[Entry], verdict: &mut Verdict) {
    let (spans, storms) = (spans(history), storms(history));
    let waited: Vec<Waited<'_>> = history.iter().filter_map(waited).collect();
    let is_quiet = |waited: &Waited<'_>| {
        let (from_ms, until_ms) = waited.span_ms();
        !spans.iter().any(|span| span.meets(from_ms, until_ms))
            && !storms.iter().any(|(from, until)| *from <= until_ms && from_ms <= *until)
    };
    let times = |is_write: bool, quiet: bool| {
        let meant = waited.iter().filter(|one| one.acknowledged && one.is_write == is_write && is_quiet(one) == quiet);
        Times::of(meant.map(Waited::took_us).collect())
    };
    let through_balancer = waited.iter().filter(|one| one.at == BALANCER && !one.is_write);
    verdict.caches = Caches {
        quiet_writes: times(true, true),
        quiet_invalidations: times(false, true),
        disturbed_writes: times(true, false),
        disturbed_invalidations: times(false, false),
        unfenced: waited.iter().filter(|waited| !waited.acknowledged).count() as u64,
        slowest_answer_ms: through_balancer.map(Waited::took_ms).max().unwrap_or_default(),
        sequencers: history.iter().filter(|entry| matches!(entry.event, Event::Sequencer { .. })).count() as u64,
        ..Caches::default()
    };
    for one in &waited {
        fenced_in_time(one, &spans, &storms, verdict);
        ended_in_time(one, &spans, verdict);
    }
    without_broker(history, &waited, verdict);
}

fn waited(entry: &Entry) -> Option<Waited<'_>> {
    match &entry.event {
        Event::Wrote { began_us, told_us, at, waited: true, fate, .. } if *fate != Fate::Refused => {
            let acknowledged = matches!(fate, Fate::Acknowledged { .. });
            Some(Waited { at, from_us: *began_us, until_us: *told_us, is_write: true, acknowledged })
        }
        Event::Invalidated { began_us, told_us, at, status, fenced, .. } => {
            let acknowledged = *status == 200 && *fenced;
            Some(Waited { at, from_us: *began_us, until_us: *told_us, is_write: false, acknowledged })
        }
        _ => None,
    }
}

/// From the first fault of a storm until the service had got over it.
fn storms(history: &[Entry]) -> Vec<(u64, u64)> {
    let mut storms = Vec::new();
    let mut begun = None;
    for Entry { at_ms, event } in history {
        match event {
            Event::Fault { phase: Phase::Begins, is_alone: false, .. } => drop(begun.get_or_insert(*at_ms)),
            Event::Calm { .. } | Event::NotCalm { .. } => {
                storms.extend(begun.take().map(|from_ms| (from_ms, *at_ms)));
            }
            _ => {}
        }
    }
    storms.extend(begun.map(|from_ms| (from_ms, u64::MAX)));
    storms
}

/// While the sequencer and its ways to the store and the gateways are whole, and so is the gateway that was asked.
fn fenced_in_time(waited: &Waited<'_>, spans: &[Span], storms: &[(u64, u64)], verdict: &mut Verdict) {
    if waited.acknowledged && waited.took_ms() <= FENCED_WITHIN_MS {
        return;
    }
    let (from_ms, until_ms) = waited.span_ms();
    let due_ms = until_ms.min(from_ms + FENCED_WITHIN_MS);
    let in_storm = storms.iter().any(|(from, until)| *from <= due_ms && from_ms <= *until);
    if in_storm || spans.iter().any(|span| is_excused(span, waited, from_ms, due_ms)) {
        return;
    }
    let why = if waited.acknowledged { "was fenced" } else { "ended unfenced" };
    let detail = format!("{} {why} after {} ms, the bound is {FENCED_WITHIN_MS} ms", waited.words(), waited.took_ms());
    verdict.break_promise(Promise::FencedInTime, detail);
}

fn is_excused(span: &Span, waited: &Waited<'_>, from_ms: u64, due_ms: u64) -> bool {
    let stops_asked = span.fault.stops(waited.at) && span.meets(from_ms.saturating_sub(STARTS_WITHIN_MS), due_ms);
    stops_asked || span.meets(from_ms, due_ms) && (!span.fault.spares_fences() || may_have_lost(span, waited))
}

/// Whom the balancer asked is not told: a gateway that was killed answers nothing, one that stood still answers late.
fn may_have_lost(span: &Span, waited: &Waited<'_>) -> bool {
    let stops_a_gateway = Member::GATEWAYS.iter().any(|gateway| span.fault.stops(gateway.name()));
    waited.at == BALANCER && stops_a_gateway && (!waited.acknowledged || span.fault.silences())
}

fn ended_in_time(waited: &Waited<'_>, spans: &[Span], verdict: &mut Verdict) {
    if waited.is_write || waited.at != BALANCER || waited.took_ms() <= ENDED_WITHIN_MS {
        return;
    }
    let (from_ms, until_ms) = waited.span_ms();
    let is_excused = |span: &Span| span.fault.silences() && span.meets(from_ms, until_ms);
    if !spans.iter().any(is_excused) {
        let detail = format!("{} was answered after {} ms, the bound is 5 s", waited.words(), waited.took_ms());
        verdict.break_promise(Promise::FencedInTime, detail);
    }
}

/// Near caches serve to the end of the broker's absence, which is longer than their lease, and writes are acknowledged.
fn without_broker(history: &[Entry], waited: &[Waited<'_>], verdict: &mut Verdict) {
    let mut gone_since = None;
    for Entry { at_ms, event } in history {
        let Event::Fault { fault, phase, is_alone: true } = event else { continue };
        match phase {
            Phase::Lasts if fault.takes_broker_away() => gone_since = Some(*at_ms),
            Phase::Heals => {
                let Some(from_ms) = gone_since.take() else { continue };
                let second_half_us = from_ms.midpoint(*at_ms) * 1_000..at_ms * 1_000;
                let during = |from_us: u64, until_us: u64| {
                    second_half_us.contains(&from_us) && second_half_us.contains(&until_us)
                };
                let is_meant = |one: &&Waited<'_>| one.acknowledged && during(one.from_us, one.until_us);
                let acknowledged = waited.iter().filter(is_meant).count() as u64;
                verdict.caches.acknowledged_without_broker += acknowledged;
                if acknowledged == 0 {
                    verdict.break_promise(Promise::WithoutBroker, format!("{fault}: nothing was acknowledged"));
                }
                for gateway in Member::GATEWAYS.map(Member::name) {
                    let is_hit = |entry: &&Entry| {
                        matches!(&entry.event, Event::Read { at, near: true, began_us, told_us, .. }
                            if at == gateway && during(*began_us, *told_us))
                    };
                    let hits = history.iter().filter(is_hit).count() as u64;
                    verdict.caches.near_hits_without_broker += hits;
                    if hits == 0 {
                        let detail = format!("{fault}: the cache of {gateway} answered nothing");
                        verdict.break_promise(Promise::WithoutBroker, detail);
                    }
                }
            }
            _ => {}
        }
    }
}
