//! A message on its way out, and the three kinds that the programs send.

use std::borrow::Cow;

use bytes::Bytes;
use protocol::envelope::{self, Bell, Invalidated};
use protocol::topology;

use super::{Broker, Delivery, Verdict};
use crate::trace::{self, Kind, Span, TraceParent};

/// Longest reason that is written into a header, in characters.
const REASON_CHARS_MAX: usize = 500;
const JSON: &str = "application/json";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub exchange: Cow<'static, str>,
    pub routing_key: String,
    pub message_id: String,
    /// The AMQP `type`.
    pub kind: Cow<'static, str>,
    /// The media type of the body, where it is known.
    pub content_type: Option<&'static str>,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Survives a restart of the broker.
    pub persistent: bool,
    /// Answered `Unroutable` when no queue takes it.
    pub mandatory: bool,
}

impl Message {
    /// The bell of a job, for the workers of its queue.
    #[must_use]
    pub fn bell(queue: &str, bell: &Bell) -> Self {
        let mut headers = vec![
            (envelope::HEADER_TASK.to_owned(), bell.task.to_string()),
            (envelope::HEADER_DISPATCH.to_owned(), bell.dispatch.to_string()),
        ];
        headers.extend(bell.trace.clone().map(|trace| (envelope::HEADER_TRACE.to_owned(), trace)));
        Self {
            exchange: Cow::Borrowed(topology::JOBS),
            routing_key: queue.to_owned(),
            message_id: bell.job_id.to_string(),
            kind: Cow::Borrowed(envelope::KIND_BELL),
            content_type: Some(JSON),
            headers,
            body: envelope::encode(bell).into(),
            persistent: true,
            mandatory: true,
        }
    }

    /// The sending of a bell as a step of its job's trace, if that is recorded.
    #[must_use]
    pub fn sending(&self, program: &'static str, broker: &Broker) -> Option<Span> {
        if !trace::is_on() {
            return None;
        }
        let trace = self.headers.iter().find(|(name, _)| name == envelope::HEADER_TRACE);
        let parent = TraceParent::recorded(trace.map(|(_, trace)| trace.as_str()))?;
        let mut span = Span::below(parent, program, Kind::Producer, format!("send {}", self.exchange))?;
        span.text("messaging.system", broker.system());
        span.text("messaging.operation.type", "send");
        span.text("messaging.operation.name", "publish");
        span.text("messaging.destination.name", self.exchange.clone());
        span.text("messaging.rabbitmq.destination.routing_key", self.routing_key.as_str());
        span.text("messaging.message.id", self.message_id.as_str());
        Some(span)
    }

    /// A sequenced invalidation, for whoever listens: no listener is no error.
    #[must_use]
    pub fn invalidated(event: &Invalidated) -> Self {
        Self {
            exchange: Cow::Borrowed(topology::CACHE_INVALIDATED),
            routing_key: String::new(),
            message_id: format!("{}-{}", event.epoch, event.seq),
            kind: Cow::Borrowed(envelope::KIND_INVALIDATED),
            content_type: Some(JSON),
            headers: Vec::new(),
            body: envelope::encode(event).into(),
            persistent: false,
            mandatory: false,
        }
    }

    /// It was sent, or was not.
    pub fn sent(span: Option<Span>, verdict: Verdict) {
        if let Some(mut span) = span
            && verdict != Verdict::Sent
        {
            span.failed(verdict.as_str());
        }
    }

    /// A delivery that is not ours, on its way to a parking queue.
    pub(crate) fn parked(queue: &'static str, original: &Delivery, reason: &str) -> Self {
        let mut headers: Vec<_> =
            original.headers.iter().filter(|(name, _)| name != topology::REASON_HEADER).cloned().collect();
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
        headers.push((topology::REASON_HEADER.to_owned(), reason));
        Self {
            exchange: Cow::Borrowed(topology::REJECTED),
            routing_key: queue.to_owned(),
            message_id: original.message_id.clone().unwrap_or_default(),
            kind: original.kind.clone().unwrap_or_default().into(),
            content_type: None,
            headers,
            body: original.body.clone(),
            persistent: true,
            mandatory: true,
        }
    }
}
