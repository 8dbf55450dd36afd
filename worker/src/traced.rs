//! A job at a worker as steps of its trace: its claim, each attempt, and the recording of how that ended.

use chassis::trace::{self, Kind, Span, TraceParent};
use protocol::envelope::Bell;
use protocol::ids::JobId;
use protocol::store_api::Claimed;

const PROGRAM: &str = "worker";

/// A bell that was delivered, until its job is ours or somebody else's.
pub(crate) fn claiming(bell: &Bell) -> Option<Span> {
    let parent = TraceParent::recorded(bell.trace.as_deref())?;
    let mut span = Span::below(parent, PROGRAM, Kind::Client, format!("claim {}", bell.task))?;
    span.text("messaging.system", "longshore");
    span.text("messaging.operation.type", "receive");
    span.text("messaging.operation.name", "claim");
    span.text("longshore.job_id", bell.job_id.to_string());
    Some(span)
}

/// What became of the claim.
pub(crate) fn claimed(span: Option<Span>, answer: &'static str) {
    if let Some(mut span) = span {
        span.text("longshore.claim", answer);
    }
}

/// An attempt. Those of the first run are in the trace of the submit; a later run is another matter, maybe days after: it has a trace of its own that
/// refers to that one. A job that no request submitted begins one, too.
pub(crate) fn attempt(job_id: JobId, claimed: &Claimed) -> Option<Span> {
    if !trace::is_on() {
        return None;
    }
    let name = format!("process {}", claimed.task);
    let known = claimed.trace.as_deref().and_then(TraceParent::parse);
    let mut span = match known {
        Some(submit) if claimed.run == 1 => Span::below(submit, PROGRAM, Kind::Consumer, name)?,
        Some(submit) => {
            let own = TraceParent::random().sampled(submit.is_sampled());
            let mut span = Span::begin(own, None, PROGRAM, Kind::Consumer, name)?;
            span.link(submit);
            span
        }
        None => Span::begin(TraceParent::random().sampled(trace::begins()), None, PROGRAM, Kind::Consumer, name)?,
    };
    span.text("messaging.system", "longshore");
    span.text("messaging.operation.type", "process");
    span.text("messaging.operation.name", "process");
    span.text("messaging.destination.name", claimed.queue.as_str());
    span.text("longshore.task", claimed.task.as_str());
    span.text("longshore.job_id", job_id.to_string());
    span.number("longshore.run", claimed.run);
    span.number("longshore.attempt", claimed.attempt);
    Some(span)
}

/// The handler has ended.
pub(crate) fn ended(span: Option<Span>, outcome: &'static str, is_good: bool) {
    let Some(mut span) = span else { return };
    span.text("longshore.outcome", outcome);
    if !is_good {
        span.failed(outcome);
    }
}

/// Until the store has recorded how it ended.
pub(crate) fn completing(attempt: Option<TraceParent>, job_id: JobId) -> Option<Span> {
    let mut span = Span::below(attempt?, PROGRAM, Kind::Client, "complete")?;
    span.text("messaging.system", "longshore");
    span.text("messaging.operation.type", "settle");
    span.text("messaging.operation.name", "complete");
    span.text("longshore.job_id", job_id.to_string());
    Some(span)
}
