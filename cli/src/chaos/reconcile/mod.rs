//! Holds the service to its promises, given the history and nothing else. Pure: whoever has the JSONL can judge again.

mod data;
mod fences;
mod jobs;
mod owners;
mod spans;
mod times;

use serde::Serialize;

pub(super) use fences::{Caches, Times};
pub(super) use times::has_grown;

use super::history::{Entry, Event};
use super::plan::Focus;

/// The promises of design.md, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Promise {
    NothingLost,
    OneOwner,
    OneOutcome,
    HonestStatus,
    NoStaleRead,
    ReadYourWrites,
    FencedInTime,
    WithoutBroker,
    BrokerRestartsNothing,
    Bounded,
    Recovery,
}

impl Promise {
    pub(super) const ALL: [Self; 11] = [
        Self::NothingLost,
        Self::OneOwner,
        Self::OneOutcome,
        Self::HonestStatus,
        Self::NoStaleRead,
        Self::ReadYourWrites,
        Self::FencedInTime,
        Self::WithoutBroker,
        Self::BrokerRestartsNothing,
        Self::Bounded,
        Self::Recovery,
    ];

    /// Whether a trial of this focus puts it to the test.
    pub(super) fn is_tried(self, focus: Focus) -> bool {
        match self {
            Self::ReadYourWrites | Self::FencedInTime | Self::WithoutBroker => focus == Focus::Caches,
            Self::OneOwner | Self::BrokerRestartsNothing => focus == Focus::Everything,
            _ => true,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NothingLost => "no accepted job is lost (1)",
            Self::OneOwner => "one owner at a time (2)",
            Self::OneOutcome => "one recorded outcome (2)",
            Self::HonestStatus => "honest status, never a hang (3)",
            Self::NoStaleRead => "no stale read after an acknowledgement (4)",
            Self::ReadYourWrites => "who shows a write's token reads that write (4)",
            Self::FencedInTime => "fences close in time, or a 503 says so (4)",
            Self::WithoutBroker => "near caches serve, fenced, without the broker (4)",
            Self::BrokerRestartsNothing => "the broker's faults start nothing twice (5)",
            Self::Bounded => "everything is bounded (6)",
            Self::Recovery => "recovery within its bound (7)",
        }
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Breach {
    pub(super) promise: Promise,
    pub(super) detail: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) submits: u64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    /// Never answered, or so that it stayed open whether there is a job.
    pub(super) open: u64,
    /// Accepted jobs that have ended, as the store lists them.
    pub(super) terminal: u64,
    pub(super) lost: u64,
    pub(super) unfinished: u64,
    pub(super) unexpected: u64,
    pub(super) handlers_started: u64,
    pub(super) overlapping_owners: u64,
    pub(super) outcomes_twice: u64,
    pub(super) reads: u64,
    pub(super) near_hits: u64,
    pub(super) reads_with_token: u64,
    /// Answers that say of themselves that they may be stale.
    pub(super) labelled_stale: u64,
    pub(super) stale_reads: u64,
    pub(super) overloads: u64,
    /// From the healing after the last storm to the end of the last job.
    pub(super) drained_after_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) counts: Counts,
    pub(super) caches: Caches,
    pub(super) breaches: Vec<Breach>,
}

impl Verdict {
    fn break_promise(&mut self, promise: Promise, detail: String) {
        self.breaches.push(Breach { promise, detail });
    }
}

/// Judges a whole history, which is in the order of time.
pub(super) fn reconcile(history: &[Entry]) -> Verdict {
    let mut verdict = Verdict::default();
    jobs::judge(history, &mut verdict);
    owners::judge(history, &mut verdict);
    data::judge(history, &mut verdict);
    times::judge(history, &mut verdict);
    if history.iter().any(|entry| matches!(entry.event, Event::Trial { focus: Focus::Caches, .. })) {
        fences::judge(history, &mut verdict);
    }
    for entry in history {
        if let Event::Panicked { program, line } = &entry.event {
            verdict.break_promise(Promise::Bounded, format!("{program} panicked: {line}"));
        }
    }
    verdict
}

#[cfg(test)]
mod fences_tests;
#[cfg(test)]
mod tests;
