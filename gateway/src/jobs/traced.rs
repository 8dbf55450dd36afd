//! The making of a job as a step of the trace of its request; what becomes of the job is below it.

use chassis::trace::{Kind, Span, TraceParent};
use protocol::store_api::{Create, Created};

use crate::PROGRAM;

/// Begins it if the trace is recorded, and gives it to the job in the place of the request.
pub(crate) fn making(create: &mut Create) -> Option<Span> {
    let parent = TraceParent::recorded(create.trace.as_deref())?;
    let mut span = Span::below(parent, PROGRAM, Kind::Producer, format!("create {}", create.queue))?;
    span.text("messaging.system", "longshore");
    span.text("messaging.operation.type", "create");
    span.text("messaging.operation.name", "create");
    span.text("messaging.destination.name", create.queue.to_string());
    span.text("longshore.task", create.task.to_string());
    create.trace = Some(span.traceparent().to_string());
    Some(span)
}

/// It is on disk, or is not.
pub(crate) fn made<E>(span: Option<Span>, answer: &Result<Created, E>) {
    let Some(mut span) = span else { return };
    match answer {
        Ok(created) => {
            span.text("longshore.job_id", created.job_id.to_string());
            if created.replayed.is_some() {
                span.text("longshore.replay", "true");
            }
        }
        Err(_) => span.failed("not-created"),
    }
}
