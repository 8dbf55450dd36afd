//! W3C Trace Context: the one line that ties a request, its job and the worker's run together; and the steps of a trace that are recorded
//! and sent to whoever collects them (OTLP), if the operator names a receiver.

use std::fmt;

mod export;
mod span;

pub(crate) use export::start;
pub use export::{begins, flush, is_on};
pub use span::{Kind, Span};

/// The flag that says that the steps of the trace are recorded.
const SAMPLED: u8 = 1;

/// A `traceparent`, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// The header's value; None if it is malformed or one of the forbidden all-zero ids.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-');
        let version = lower_hex(parts.next()?, 2)?;
        let trace_id = lower_hex(parts.next()?, 32)?;
        let parent_id = u64::try_from(lower_hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(lower_hex(parts.next()?, 2)?).ok()?;
        // A later version may append parts; version 00 has none, and ff is forbidden.
        let is_whole = version != 0xff && (version != 0 || parts.next().is_none());
        (is_whole && trace_id != 0 && parent_id != 0).then_some(TraceParent { trace_id, parent_id, flags })
    }

    /// A new trace.
    pub fn random() -> TraceParent {
        TraceParent { trace_id: rand::random::<u128>().max(1), parent_id: rand::random::<u64>().max(1), flags: 0 }
    }

    /// The same trace, one step further.
    #[must_use]
    pub fn child(self) -> TraceParent {
        TraceParent { parent_id: rand::random::<u64>().max(1), ..self }
    }

    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// Which step of the trace it names.
    pub fn span_id(self) -> u64 {
        self.parent_id
    }

    /// Whether the steps of the trace are recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same step, of a trace whose steps are recorded, or are not.
    #[must_use]
    pub fn sampled(self, yes: bool) -> TraceParent {
        let flags = if yes { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        TraceParent { flags, ..self }
    }

    /// Of a job or a message: its trace, if steps of it are to be recorded here. Reads nothing where none are.
    pub fn recorded(text: Option<&str>) -> Option<TraceParent> {
        if !is_on() {
            return None;
        }
        text.and_then(TraceParent::parse).filter(|trace| trace.is_sampled())
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_lines_are_taken() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceParent::parse(good).unwrap().to_string(), good);
        assert!(TraceParent::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
        for bad in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_child_stays_in_the_trace() {
        let trace = TraceParent::random();
        let child = trace.child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child, trace);
        assert_eq!(TraceParent::parse(&child.to_string()), Some(child));
    }

    #[test]
    fn whether_a_trace_is_recorded_is_said_in_its_last_digit() {
        let trace = TraceParent::random();
        assert!(!trace.is_sampled() && trace.to_string().ends_with("-00"));
        let sampled = trace.sampled(true);
        assert!(sampled.child().is_sampled() && sampled.to_string().ends_with("-01"));
        assert_eq!(sampled.sampled(false), trace);
    }
}
