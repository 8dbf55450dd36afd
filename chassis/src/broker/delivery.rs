//! The receiving side of a slot: one delivery at a time, settled by its holder.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// How long a delivery that its holder lost stays away.
pub(crate) const DROPPED_PAUSE: Duration = Duration::from_secs(1);

/// What the holder did with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ack,
    Requeue,
    /// Lost by its holder, in a panic for example: requeued after a pause, so that it cannot spin.
    Dropped,
}

type Settle = Box<dyn FnOnce(Outcome) + Send>;

/// One delivered message. Acknowledge it once its effect is durable; dropped unsettled it comes back after a second.
pub struct Delivery {
    pub body: Bytes,
    pub headers: Vec<(String, String)>,
    pub message_id: Option<String>,
    /// The AMQP `type`.
    pub kind: Option<String>,
    /// The queue that it was consumed from.
    pub queue: String,
    /// It was delivered before, to somebody who did not acknowledge it.
    pub redelivered: bool,
    settle: Option<Settle>,
}

impl Delivery {
    pub(crate) fn new(queue: String, body: Bytes, settle: impl FnOnce(Outcome) + Send + 'static) -> Self {
        let settle: Settle = Box::new(settle);
        Self {
            body,
            headers: Vec::new(),
            message_id: None,
            kind: None,
            queue,
            redelivered: false,
            settle: Some(settle),
        }
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Done with it. Returns at once; the broker may still deliver it again, so the effect must be repeatable.
    pub fn ack(self) {
        self.settle(Outcome::Ack);
    }

    /// Back to the queue, for somebody else. Only while draining: each time counts towards the delivery limit.
    pub fn requeue(self) {
        self.settle(Outcome::Requeue);
    }

    /// It is settled in another way.
    pub(crate) fn forget(mut self) {
        self.settle = None;
    }

    fn settle(mut self, outcome: Outcome) {
        if let Some(settle) = self.settle.take() {
            settle(outcome);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(Outcome::Dropped);
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("queue", &self.queue)
            .field("message_id", &self.message_id)
            .field("kind", &self.kind)
            .field("redelivered", &self.redelivered)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What an adapter does for a slot. `next` must be safe to cancel.
pub(crate) trait Slot: Send {
    fn next(&mut self) -> BoxFuture<'_, Delivery>;
    fn pause(&mut self) -> BoxFuture<'_, ()>;
    fn resume(&mut self);
}

/// A consumer of one queue, with one delivery at a time. It comes back by itself after the broker was away. Dropped, it gives
/// back what it held unacknowledged.
pub struct SlotConsumer {
    slot: Box<dyn Slot>,
}

impl SlotConsumer {
    pub(crate) fn new(slot: impl Slot + 'static) -> Self {
        Self { slot: Box::new(slot) }
    }

    /// The next delivery: waits as long as it takes, also through outages, and for ever once the broker is closed or the slot is
    /// paused. The next one comes only when the former is settled. Safe to cancel.
    pub async fn next(&mut self) -> Delivery {
        self.slot.next().await
    }

    /// Stops consuming: once this returns no delivery comes, and one that was on its way is back in the queue. A delivery already handed
    /// out can still be acknowledged, which is how a long job is handed to its lease: pause, ack, go on, resume when free. Takes 5 s at most.
    pub async fn pause(&mut self) {
        self.slot.pause().await;
    }

    /// Consumes again after a pause.
    pub fn resume(&mut self) {
        self.slot.resume();
    }
}

impl std::fmt::Debug for SlotConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotConsumer").finish_non_exhaustive()
    }
}
