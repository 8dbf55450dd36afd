//! Nothing hangs, overload says when to come back, faults are got over in time, and nothing grows. Pure.

use std::collections::BTreeMap;

use harness::cluster::program_of;

use super::spans::spans;
use super::{Promise, Verdict};
use crate::chaos::faults::ENDED;
use crate::chaos::history::{Entry, Event, Moment};
use crate::chaos::plan::{Focus, whole_ms};

/// What may have come for good: connections that are kept, threads of a pool that has been used since.
const MORE_FILES: u64 = 64;
const MORE_THREADS: u64 = 16;

/// All programs together may take so much more memory after the last storm than after the first, in percent.
const MORE_MEMORY_PERCENT: u64 = 10;
/// And so much each in a trial of the caches: programs of a dozen MiB, which a minute with little work has not warmed up.
const WARMING_BYTES: u64 = 2 << 20;

/// Open files and threads, before and after.
pub(in crate::chaos) fn has_grown(before: (u64, u64), after: (u64, u64)) -> bool {
    after.0 > before.0 + MORE_FILES || after.1 > before.1 + MORE_THREADS
}

pub(super) fn judge(history: &[Entry], verdict: &mut Verdict) {
    let spans = spans(history);
    let mut before: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut first_storm, mut last_storm, mut warming) = (BTreeMap::new(), 0, 0);
    for Entry { at_ms, event } in history {
        match event {
            Event::Trial { focus: Focus::Caches, .. } => warming = WARMING_BYTES,
            Event::Overload { path, status, says_when } => {
                verdict.counts.overloads += 1;
                if !says_when {
                    verdict.break_promise(Promise::HonestStatus, format!("{path}: {status} without Retry-After"));
                }
            }
            Event::Hung { path, began_ms } => {
                let excused = spans.iter().any(|span| span.fault.silences() && span.meets(*began_ms, *at_ms));
                if !excused {
                    let took_ms = at_ms - began_ms;
                    verdict.break_promise(Promise::HonestStatus, format!("{path}: no answer for {took_ms} ms"));
                }
            }
            Event::ReadFailed { began_ms, why } => {
                let alone = spans.iter().find(|span| span.is_alone && span.meets(*began_ms, *at_ms));
                if let Some(span) = alone.filter(|span| span.fault.spares_reads()) {
                    verdict.break_promise(Promise::Recovery, format!("{}: a GET failed: {why}", span.fault));
                }
            }
            Event::Recovered { fault, took_ms, bound_ms } if took_ms > bound_ms => {
                let detail = format!("{fault}: got over after {took_ms} ms, the bound is {bound_ms} ms");
                verdict.break_promise(Promise::Recovery, detail);
            }
            Event::NotRecovered { fault, within_ms, why } => {
                let detail = format!("{fault}: not got over within {within_ms} ms: {why}");
                verdict.break_promise(Promise::Recovery, detail);
            }
            Event::Calm { took_ms } if *took_ms > whole_ms(ENDED) => {
                let detail = format!("a storm: got over after {took_ms} ms, the bound is {} ms", whole_ms(ENDED));
                verdict.break_promise(Promise::Recovery, detail);
            }
            Event::NotCalm { why } => verdict.break_promise(Promise::Recovery, format!("a storm: not got over: {why}")),
            Event::Usage { program, moment, resident_bytes, open_files, threads } => match moment {
                Moment::Before => drop(before.insert(program, (*open_files, *threads))),
                Moment::FirstStorm => drop(first_storm.insert(program.as_str(), *resident_bytes)),
                Moment::LastStorm => last_storm += resident_bytes,
                Moment::After => {
                    let Some((files, started)) = before.get(program.as_str()) else { continue };
                    if has_grown((*files, *started), (*open_files, *threads)) {
                        let detail = format!(
                            "{program}: {files} open files and {started} threads before, {open_files} and {threads} after"
                        );
                        verdict.break_promise(Promise::Bounded, detail);
                    }
                }
            },
            _ => {}
        }
    }
    let first = as_warm_as_their_peers(&first_storm);
    let allowed = first + first * MORE_MEMORY_PERCENT / 100 + first_storm.keys().map(|_| warming).sum::<u64>();
    if last_storm > allowed {
        let [first, last] = [first, last_storm].map(|bytes| bytes >> 20);
        let detail = format!("all programs took {first} MiB after the first storm and {last} MiB after the last");
        verdict.break_promise(Promise::Bounded, detail);
    }
    all_ended_in_time(history, verdict);
}

/// What all programs would take together if none had been started anew a moment ago: each as much as the largest of its kind, which does
/// the same work.
fn as_warm_as_their_peers(resident_bytes: &BTreeMap<&str, u64>) -> u64 {
    let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
    for (program, bytes) in resident_bytes {
        let kind = largest.entry(program_of(program)).or_default();
        *kind = (*kind).max(*bytes);
    }
    resident_bytes.keys().map(|program| largest[program_of(program)]).sum()
}

/// After the last storm: from healing to the end of the last job.
fn all_ended_in_time(history: &[Entry], verdict: &mut Verdict) {
    let at = |event: &Event| history.iter().find(|entry| entry.event == *event).map(|entry| entry.at_ms);
    if let (Some(healed_ms), Some(drained_ms)) = (at(&Event::Healed), at(&Event::Drained)) {
        let took_ms = drained_ms.saturating_sub(healed_ms);
        verdict.counts.drained_after_ms = took_ms;
        if took_ms > whole_ms(ENDED) {
            let detail = format!(
                "the last storm: the last job ended {took_ms} ms after healing, the bound is {} ms",
                whole_ms(ENDED)
            );
            verdict.break_promise(Promise::Recovery, detail);
        }
    }
}
