//! The broker inside `longshore up`: bounded queues in memory behind the same port as AMQP. It starts empty at each start, which costs
//! nothing, because the store is the truth and rings again.

#[cfg(any(test, feature = "testing"))]
mod faults;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use protocol::envelope::KIND_CANARY;
use protocol::topology::Topology;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::state::{State, Stored, Tag};
use super::delivery::{DROPPED_PAUSE, Outcome, Slot};
use super::{Delivery, Link, Message, Port, SlotConsumer, Subscription, Verdict, feed, metrics};

/// A handle on the broker; clones share its queues.
#[derive(Clone, Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held for one step on the queues, never across an await.
    state: Mutex<State>,
    link: watch::Sender<Link>,
    /// Answer `Unknown` although the message was taken: what a lost confirm looks like.
    #[cfg(any(test, feature = "testing"))]
    confirms_lost: std::sync::atomic::AtomicBool,
}

impl EmbeddedBroker {
    /// Empty queues for the whole topology.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(topology)),
            link: watch::Sender::new(Link::Up),
            #[cfg(any(test, feature = "testing"))]
            confirms_lost: std::sync::atomic::AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_up(&self) -> bool {
        *self.link.borrow() == Link::Up
    }

    /// Consumers go on while publishers are blocked, as with an alarm in RabbitMQ.
    fn delivers(&self) -> bool {
        !matches!(*self.link.borrow(), Link::Down { .. })
    }

    fn publish(&self, message: &Message) -> Verdict {
        if !self.is_up() {
            return Verdict::Busy;
        }
        let verdict = self.state().publish(message);
        #[cfg(any(test, feature = "testing"))]
        if self.confirms_lost.load(std::sync::atomic::Ordering::Relaxed) {
            return Verdict::Unknown;
        }
        verdict
    }
}

impl Port for EmbeddedBroker {
    fn system(&self) -> &'static str {
        "longshore"
    }

    fn publish(&self, message: Message) -> BoxFuture<'static, Verdict> {
        let shared = self.shared.clone();
        async move {
            let verdict = shared.publish(&message);
            metrics::published(verdict);
            verdict
        }
        .boxed()
    }

    fn consume(&self, queue: &str) -> SlotConsumer {
        SlotConsumer::new(EmbeddedSlot {
            shared: self.shared.clone(),
            queue: queue.to_owned(),
            changed: self.shared.state().changed(queue),
            hold: Arc::new(Hold::default()),
            paused: false,
        })
    }

    fn subscribe(&self, exchange: &str) -> Subscription {
        let (sender, subscription) = feed();
        self.shared.state().subscribe(exchange, sender);
        subscription
    }

    fn depth(&self, queue: &str) -> BoxFuture<'static, Option<u64>> {
        let depth = if self.shared.delivers() { self.shared.state().depth(queue) } else { None };
        std::future::ready(depth).boxed()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    /// The broker belongs to all programs of the process, so one of them closes nothing.
    fn close(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

/// What a slot has out.
#[derive(Debug, Default)]
struct Hold {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    tag: Option<Tag>,
    not_before: Option<Instant>,
}

impl Hold {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EmbeddedSlot {
    shared: Arc<Shared>,
    queue: String,
    /// `None`: there is no such queue, so nothing will ever come.
    changed: Option<Arc<Notify>>,
    hold: Arc<Hold>,
    paused: bool,
}

impl EmbeddedSlot {
    async fn wait(&self) -> Delivery {
        let Some(queue_changed) = &self.changed else {
            tracing::warn!(queue = self.queue, "consuming a queue that does not exist");
            return std::future::pending().await;
        };
        let mut link = self.shared.link.subscribe();
        loop {
            // Listening begins before the look, so that no change is missed.
            let (ready, settled) = (queue_changed.notified(), self.hold.changed.notified());
            tokio::pin!(ready, settled);
            ready.as_mut().enable();
            settled.as_mut().enable();
            link.borrow_and_update();
            if let Some(delivery) = self.try_next() {
                return delivery;
            }
            let pause = self.hold.held().not_before;
            tokio::select! {
                () = ready => {}
                () = settled => {}
                _ = link.changed() => {}
                () = until(pause) => self.hold.held().not_before = None,
            }
        }
    }

    fn try_next(&self) -> Option<Delivery> {
        let mut held = self.hold.held();
        if self.paused || held.tag.is_some() || held.not_before.is_some() || !self.shared.delivers() {
            return None;
        }
        let (tag, stored) = self.take()?;
        held.tag = Some(tag);
        drop(held);
        metrics::deliveries(&self.queue).increment(1);
        Some(self.delivery(tag, stored))
    }

    /// The next message that is not a canary: those are never handed out.
    fn take(&self) -> Option<(Tag, Stored)> {
        let mut state = self.shared.state();
        loop {
            let (tag, stored) = state.take(&self.queue)?;
            if stored.message.kind != KIND_CANARY {
                return Some((tag, stored));
            }
            state.ack(&self.queue, tag);
        }
    }

    fn delivery(&self, tag: Tag, stored: Stored) -> Delivery {
        let (shared, hold, queue) = (self.shared.clone(), self.hold.clone(), self.queue.clone());
        let settle = move |outcome| {
            match outcome {
                Outcome::Ack => drop(shared.state().ack(&queue, tag)),
                Outcome::Requeue | Outcome::Dropped => shared.state().requeue(&queue, tag),
            }
            let mut held = hold.held();
            if held.tag == Some(tag) {
                held.tag = None;
                if outcome == Outcome::Dropped {
                    held.not_before = Some(Instant::now() + DROPPED_PAUSE);
                }
                drop(held);
                hold.changed.notify_one();
            }
        };
        let Message { message_id, kind, headers, body, .. } = stored.message;
        let mut delivery = Delivery::new(self.queue.clone(), body, settle);
        delivery.headers = headers;
        delivery.message_id = Some(message_id).filter(|id| !id.is_empty());
        delivery.kind = Some(kind.into_owned()).filter(|kind| !kind.is_empty());
        delivery.redelivered = stored.deliveries > 0;
        delivery
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl Slot for EmbeddedSlot {
    fn next(&mut self) -> BoxFuture<'_, Delivery> {
        self.wait().boxed()
    }

    fn pause(&mut self) -> BoxFuture<'_, ()> {
        self.paused = true;
        std::future::ready(()).boxed()
    }

    fn resume(&mut self) {
        // What was handed to its lease no longer fills the slot.
        self.paused = false;
    }
}

impl Drop for EmbeddedSlot {
    fn drop(&mut self) {
        let tag = self.hold.held().tag.take();
        if let Some(tag) = tag {
            self.shared.state().requeue(&self.queue, tag);
        }
    }
}
