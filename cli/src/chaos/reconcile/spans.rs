//! When which fault lasted. Pure.

use crate::chaos::faults::Fault;
use crate::chaos::history::{Entry, Event, Phase};

/// One fault, from its begin until the service had got over it, or, in a storm, until it was healed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) fault: Fault,
    pub(super) is_alone: bool,
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

impl Span {
    pub(super) fn meets(&self, from_ms: u64, until_ms: u64) -> bool {
        self.from_ms <= until_ms && from_ms <= self.until_ms
    }
}

/// Until a fault that came alone is got over, it counts as lasting.
pub(super) fn spans(history: &[Entry]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for Entry { at_ms, event } in history {
        match event {
            Event::Fault { fault, phase: Phase::Begins, is_alone } => {
                spans.push(Span { fault: *fault, is_alone: *is_alone, from_ms: *at_ms, until_ms: u64::MAX });
            }
            Event::Fault { fault, phase: Phase::Healed, is_alone: false }
            | Event::Recovered { fault, .. }
            | Event::NotRecovered { fault, .. } => {
                if let Some(span) = spans.iter_mut().rev().find(|span| span.fault == *fault) {
                    span.until_ms = *at_ms;
                }
            }
            _ => {}
        }
    }
    spans
}
