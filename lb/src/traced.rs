//! A request as a step of a trace (W3C Trace Context).

use chassis::http::TRACEPARENT;
use chassis::trace::TraceParent;
use http::header::{HeaderMap, HeaderName, HeaderValue};

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Which step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) this: TraceParent,
    /// The client's step; none if the trace begins here.
    pub(crate) parent_id: Option<u64>,
}

/// Takes the next step in the client's trace, or the first one of a trace, and writes it into the head. A client that is not trusted
/// does not decide whether a trace is recorded: it could have all of them recorded. Two traces, or none that is well-formed, are none.
pub(crate) fn next_step(headers: &mut HeaderMap, trusts: bool, draw: impl FnOnce() -> bool) -> Step {
    let mut stated = headers.get_all(TRACEPARENT).iter();
    let parent = match (stated.next(), stated.next()) {
        (Some(only), None) => only.to_str().ok().and_then(TraceParent::parse),
        _ => None,
    };
    if parent.is_none() {
        // It goes with the trace that was not understood (W3C Trace Context §3.3).
        headers.remove(TRACESTATE);
    }
    let this = parent.map_or_else(TraceParent::random, TraceParent::child);
    let is_said = trusts && parent.is_some();
    let this = if is_said { this } else { this.sampled(draw()) };
    if let Ok(line) = HeaderValue::try_from(this.to_string()) {
        headers.insert(TRACEPARENT, line);
    }
    Step { this, parent_id: parent.map(TraceParent::span_id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn step(stated: &[&str], trusts: bool, draw: bool) -> (Step, HeaderMap) {
        let mut headers = HeaderMap::new();
        for line in stated {
            headers.append(TRACEPARENT, line.parse().unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        let step = next_step(&mut headers, trusts, || draw);
        assert_eq!(headers[TRACEPARENT], step.this.to_string());
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        (step, headers)
    }

    #[test]
    fn a_clients_trace_goes_on_and_we_say_whether_it_is_recorded() {
        let client = TraceParent::parse(CLIENTS).unwrap();
        for (trusts, draw, is_recorded) in [(false, false, false), (false, true, true), (true, false, true)] {
            let (step, headers) = step(&[CLIENTS], trusts, draw);
            assert_eq!((step.this.trace_id(), step.parent_id), (client.trace_id(), Some(client.span_id())));
            assert_eq!(step.this.is_sampled(), is_recorded, "trusts: {trusts}, drawn: {draw}");
            assert!(headers.contains_key(TRACESTATE));
        }
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        for stated in [&[][..], &["00-1-2-01"], &[CLIENTS, CLIENTS]] {
            for draw in [false, true] {
                let (step, headers) = step(stated, true, draw);
                assert_eq!((step.parent_id, step.this.is_sampled()), (None, draw), "{stated:?}");
                assert!(!headers.contains_key(TRACESTATE));
            }
        }
    }
}
