//! The outcome of a trial, as text and as JSON. Pure.

use serde::Serialize;

use super::faults::Fault;
use super::history::{Entry, Event, Moment};
use super::plan::Focus;
use super::reconcile::{Caches, Counts, Promise, Times, Verdict};

/// Breaches that are written out per promise; all are counted, and all are in the JSON.
const NAMED: usize = 10;
/// When each figure of the footprints was read.
const MEMORY_READ: &str = "before, storm 1, last, end";
const FIGURES_READ: &str = "before, end";

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Recovery {
    pub(super) fault: Fault,
    /// Nothing: not within the bound and half a minute more.
    pub(super) took_ms: Option<u64>,
    pub(super) bound_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Footprint {
    pub(super) program: String,
    /// Before, after the first storm, after the last, at the end.
    pub(super) resident_mib: [u64; 4],
    /// Before, at the end.
    pub(super) open_files: [u64; 2],
    pub(super) threads: [u64; 2],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) seed: u64,
    pub(super) jobs: u64,
    pub(super) seconds: u64,
    pub(super) focus: Focus,
    pub(super) clocks_moved: bool,
    pub(super) counts: Counts,
    /// Of a trial of the caches.
    pub(super) caches: Option<Caches>,
    pub(super) recoveries: Vec<Recovery>,
    /// How many faults the storms had.
    pub(super) storm_faults: usize,
    pub(super) footprints: Vec<Footprint>,
    pub(super) held: bool,
    pub(super) breaches: Vec<super::reconcile::Breach>,
}

/// What the trial was to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) seed: u64,
    pub(super) jobs: u64,
    pub(super) seconds: u64,
    pub(super) focus: Focus,
    pub(super) clocks_moved: bool,
}

impl Report {
    pub(super) fn new(trial: Trial, history: &[Entry], verdict: Verdict) -> Self {
        let Trial { seed, jobs, seconds, focus, clocks_moved } = trial;
        let in_storm = |entry: &&Entry| {
            matches!(entry.event, Event::Fault { phase: super::history::Phase::Begins, is_alone: false, .. })
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            seed,
            jobs,
            seconds,
            focus,
            clocks_moved,
            recoveries: history.iter().filter_map(recovery).collect(),
            storm_faults: history.iter().filter(in_storm).count(),
            footprints: footprints(history),
            held: verdict.breaches.is_empty(),
            counts: verdict.counts,
            caches: (focus == Focus::Caches).then_some(verdict.caches),
            breaches: verdict.breaches,
        }
    }

    pub(super) fn text(&self) -> String {
        let caches = self.caches.map(|caches| caches_text(&caches, &self.counts));
        let parts = [Some(self.head()), Some(self.jobs()), caches];
        let parts = parts.into_iter().flatten().chain([self.recoveries(), self.footprints(), self.promises()]);
        parts.collect::<Vec<_>>().join("\n\n")
    }

    fn head(&self) -> String {
        let clocks = if self.clocks_moved || self.focus == Focus::Caches {
            ""
        } else {
            "; no clock was moved: libfaketime is not installed"
        };
        format!(
            "Trial of {} s with {} jobs, seed {}: {} faults alone, {} in storms{clocks}",
            self.seconds,
            self.jobs,
            self.seed,
            self.recoveries.len(),
            self.storm_faults
        )
    }

    fn jobs(&self) -> String {
        let Counts {
            accepted,
            terminal,
            lost,
            unfinished,
            unexpected,
            handlers_started,
            overlapping_owners,
            outcomes_twice,
            open,
            reads,
            stale_reads,
            overloads,
            drained_after_ms,
            ..
        } = self.counts;
        format!(
            "accepted {accepted}   terminal {terminal}   lost {lost}   unfinished {unfinished}   unexpected {unexpected}\n\
             programs started {handlers_started}   overlapping owners {overlapping_owners}   outcomes twice {outcomes_twice}\n\
             submits never answered {open}   answers 429 or 503 {overloads}   reads {reads}   stale reads {stale_reads}\n\
             the last job ended {drained_after_ms} ms after healing"
        )
    }

    fn recoveries(&self) -> String {
        let mut text = format!("{:<36} {:>12} {:>9}", "fault", "over after", "bound");
        for Recovery { fault, took_ms, bound_ms } in &self.recoveries {
            let took = took_ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
            text.push_str(&format!("\n{:<36} {took:>12} {:>7} s", fault.to_string(), bound_ms / 1_000));
        }
        text
    }

    fn footprints(&self) -> String {
        let mut text = format!("{:<12} {:>31} {:>14} {:>12}", "", "MiB", "open files", "threads");
        text.push_str(&format!("\n{:<12} {:>31} {:>14} {:>12}", "", MEMORY_READ, FIGURES_READ, FIGURES_READ));
        for Footprint { program, resident_mib, open_files, threads } in &self.footprints {
            let pair = |[before, after]: [u64; 2]| format!("{before} {after:>5}");
            let [before, first, last, after] = resident_mib;
            let memory = format!("{before} {first:>7} {last:>6} {after:>7}");
            let (files, threads) = (pair(*open_files), pair(*threads));
            text.push_str(&format!("\n{program:<12} {memory:>31} {files:>14} {threads:>12}"));
        }
        text
    }

    fn promises(&self) -> String {
        let mut lines = Vec::new();
        for promise in Promise::ALL.into_iter().filter(|promise| promise.is_tried(self.focus)) {
            let broken: Vec<_> = self.breaches.iter().filter(|breach| breach.promise == promise).collect();
            if broken.is_empty() {
                lines.push(format!("held    {}", promise.words()));
                continue;
            }
            lines.push(format!("BROKEN  {}, {} times", promise.words(), broken.len()));
            lines.extend(broken.iter().take(NAMED).map(|breach| format!("        - {}", breach.detail)));
        }
        let words = if self.held { "Every promise held." } else { "A PROMISE WAS BROKEN." };
        lines.push(format!(
            "\n{words} The same again: longshore chaos{} --seed {} --jobs {} --seconds {}",
            if self.focus == Focus::Caches { " --cache" } else { "" },
            self.seed,
            self.jobs,
            self.seconds
        ));
        lines.join("\n")
    }
}

fn caches_text(caches: &Caches, counts: &Counts) -> String {
    let Caches {
        quiet_writes,
        quiet_invalidations,
        disturbed_writes,
        disturbed_invalidations,
        unfenced,
        slowest_answer_ms,
        near_hits_without_broker,
        acknowledged_without_broker,
        sequencers,
    } = *caches;
    let rows = [
        ("writes, nothing broken", quiet_writes),
        ("invalidations, nothing broken", quiet_invalidations),
        ("writes, under faults", disturbed_writes),
        ("invalidations, under faults", disturbed_invalidations),
    ];
    let mut text = format!("{:<36} {:>8} {:>9} {:>9} {:>9}", "fences", "closed", "p50", "p99", "max");
    for (name, Times { count, p50_us, p99_us, max_us }) in rows {
        let [p50, p99, max] = [p50_us, p99_us, max_us].map(|us| format!("{}.{} ms", us / 1_000, us % 1_000 / 100));
        text.push_str(&format!("\n{name:<36} {count:>8} {p50:>9} {p99:>9} {max:>9}"));
    }
    let Counts { near_hits, reads_with_token, labelled_stale, .. } = *counts;
    text.push_str(&format!(
        "\nended unfenced {unfenced}   slowest answer to an invalidation through the balancer {slowest_answer_ms} ms   terms of sequencers {sequencers}\n\
         near hits {near_hits}   reads with a token {reads_with_token}   answers labelled stale {labelled_stale}\n\
         without the broker: near hits {near_hits_without_broker}, acknowledged {acknowledged_without_broker}"
    ));
    text
}

fn recovery(entry: &Entry) -> Option<Recovery> {
    match entry.event {
        Event::Recovered { fault, took_ms, bound_ms } => Some(Recovery { fault, took_ms: Some(took_ms), bound_ms }),
        Event::NotRecovered { fault, .. } => {
            Some(Recovery { fault, took_ms: None, bound_ms: super::plan::whole_ms(fault.bound()) })
        }
        _ => None,
    }
}

fn footprints(history: &[Entry]) -> Vec<Footprint> {
    let mut footprints: Vec<Footprint> = Vec::new();
    for entry in history {
        let Event::Usage { program, moment, resident_bytes, open_files, threads } = &entry.event else { continue };
        let mib = resident_bytes >> 20;
        match (moment, footprints.iter_mut().find(|footprint| footprint.program == *program)) {
            (Moment::Before, None) => footprints.push(Footprint {
                program: program.clone(),
                resident_mib: [mib, 0, 0, 0],
                open_files: [*open_files, 0],
                threads: [*threads, 0],
            }),
            (Moment::FirstStorm, Some(footprint)) => footprint.resident_mib[1] = mib,
            (Moment::LastStorm, Some(footprint)) => footprint.resident_mib[2] = mib,
            (Moment::After, Some(footprint)) => {
                footprint.resident_mib[3] = mib;
                (footprint.open_files[1], footprint.threads[1]) = (*open_files, *threads);
            }
            _ => {}
        }
    }
    footprints
}
