//! What was read after what was acknowledged. Each key has one writer, which writes growing numbers and leaves the key when it does not
//! know what became of a write. Pure.

use std::collections::BTreeMap;

use super::{Promise, Verdict};
use crate::chaos::history::{Entry, Event, Fate};

pub(super) fn judge(history: &[Entry], verdict: &mut Verdict) {
    let mut acknowledged: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for entry in history {
        if let Event::Wrote { key, value, fate: Fate::Acknowledged, .. } = &entry.event {
            acknowledged.entry(key).or_default().push((entry.at_ms, *value));
        }
    }
    for entry in history {
        let Event::Read { key, value, began_ms, at } = &entry.event else { continue };
        verdict.counts.reads += 1;
        let acks = acknowledged.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
        let before = acks.iter().take_while(|(told_ms, _)| told_ms < began_ms).map(|(_, value)| *value).max();
        if let Some(expected) = before
            && value.is_none_or(|value| value < expected)
        {
            verdict.counts.stale_reads += 1;
            let told_ms = acks.iter().find(|(_, value)| *value == expected).map_or(0, |(told_ms, _)| *told_ms);
            let detail = format!(
                "{key} at {at}: {value:?} was read by a request that began {} ms after {expected} had been acknowledged",
                began_ms - told_ms
            );
            verdict.break_promise(Promise::NoStaleRead, detail);
        }
    }
}
