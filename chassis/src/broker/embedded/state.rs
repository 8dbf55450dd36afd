//! The queues of the embedded broker: routing, bounds, redelivery. Pure state, no waiting; the adapter around it holds the lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use protocol::topology::{Limits, Overflow, Topology};
use tokio::sync::Notify;

use crate::broker::{FeedSender, Message, Verdict};

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) message: Message,
    /// How often it was delivered before.
    pub(super) deliveries: u32,
}

/// Names one delivery; a delivery of a consumer that is gone names nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tag(u64);

#[derive(Debug)]
struct Queue {
    limits: Limits,
    ready: VecDeque<Stored>,
    /// In the order of delivery, so that what comes back comes back in order.
    unacked: BTreeMap<Tag, Stored>,
    changed: Arc<Notify>,
}

/// Everything that the embedded broker holds.
#[derive(Debug)]
pub(super) struct State {
    queues: HashMap<String, Queue>,
    bindings: Vec<(String, String, String)>,
    fanouts: Vec<String>,
    subscribers: HashMap<String, Vec<FeedSender>>,
    next_tag: u64,
}

impl State {
    pub(super) fn new(topology: &Topology) -> Self {
        let fanout = |kind| kind == protocol::topology::ExchangeKind::Fanout;
        Self {
            queues: topology.queues.iter().map(|queue| (queue.name.clone(), Queue::new(queue.limits))).collect(),
            bindings: topology
                .bindings
                .iter()
                .map(|bound| (bound.exchange.to_owned(), bound.routing_key.clone(), bound.queue.clone()))
                .collect(),
            fanouts: topology.exchanges.iter().filter(|e| fanout(e.kind)).map(|e| e.name.clone()).collect(),
            subscribers: HashMap::new(),
            next_tag: 0,
        }
    }

    /// Routes like RabbitMQ: all queues that match must take the message, else it is rejected.
    pub(super) fn publish(&mut self, message: &Message) -> Verdict {
        let listeners = self.announce(message);
        let targets = self.route(message);
        if targets.is_empty() && listeners == 0 && message.mandatory {
            return Verdict::Unroutable;
        }
        let mut verdict = Verdict::Sent;
        for name in targets {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            if !queue.push(Stored { message: message.clone(), deliveries: 0 }) {
                verdict = Verdict::Rejected;
            }
        }
        verdict
    }

    fn route(&self, message: &Message) -> Vec<String> {
        let fanout = self.fanouts.iter().any(|name| *name == message.exchange);
        let matches =
            |exchange: &String, key: &String| *exchange == message.exchange && (fanout || *key == message.routing_key);
        self.bindings.iter().filter(|(exchange, key, _)| matches(exchange, key)).map(|(_, _, q)| q.clone()).collect()
    }

    fn announce(&mut self, message: &Message) -> usize {
        let Some(subscribers) = self.subscribers.get_mut(message.exchange.as_ref()) else { return 0 };
        subscribers.retain(|subscriber| subscriber.message(message.body.clone()));
        subscribers.len()
    }

    pub(super) fn subscribe(&mut self, exchange: &str, subscriber: FeedSender) {
        subscriber.gap();
        self.subscribers.entry(exchange.to_owned()).or_default().push(subscriber);
    }

    /// Takes the next ready message of a queue.
    pub(super) fn take(&mut self, queue: &str) -> Option<(Tag, Stored)> {
        let queue = self.queues.get_mut(queue)?;
        let stored = queue.ready.pop_front()?;
        self.next_tag += 1;
        let tag = Tag(self.next_tag);
        queue.unacked.insert(tag, stored.clone());
        Some((tag, stored))
    }

    /// Forgets a delivery; `false` if it was no longer out.
    pub(super) fn ack(&mut self, queue: &str, tag: Tag) -> bool {
        self.queues.get_mut(queue).is_some_and(|queue| queue.unacked.remove(&tag).is_some())
    }

    /// Puts a delivery back to the front, or into the dead-letter queue when it was delivered too often.
    pub(super) fn requeue(&mut self, queue: &str, tag: Tag) {
        let Some(from) = self.queues.get_mut(queue) else { return };
        let Some(mut stored) = from.unacked.remove(&tag) else { return };
        stored.deliveries += 1;
        match from.limits.dead_letter {
            Some((limit, dead)) if stored.deliveries > limit => {
                if let Some(dead) = self.queues.get_mut(dead) {
                    dead.push(Stored { deliveries: 0, ..stored });
                }
            }
            _ => from.put_back(stored),
        }
    }

    pub(super) fn depth(&self, queue: &str) -> Option<u64> {
        self.queues.get(queue).map(|queue| queue.ready.len() as u64)
    }

    /// Wakes one waiter for each message that becomes ready in the queue; `None` if there is no such queue.
    pub(super) fn changed(&self, queue: &str) -> Option<Arc<Notify>> {
        self.queues.get(queue).map(|queue| queue.changed.clone())
    }
}

/// What faults do to the queues.
#[cfg(any(test, feature = "testing"))]
impl State {
    /// Tells every subscriber that it may have missed something.
    pub(super) fn gap(&self) {
        self.subscribers.values().flatten().for_each(FeedSender::gap);
    }

    /// What a restart does: everything that was out is ready again, in its old order.
    pub(super) fn requeue_all(&mut self) {
        for queue in self.queues.values_mut() {
            while let Some((_, mut stored)) = queue.unacked.pop_last() {
                stored.deliveries += 1;
                queue.put_back(stored);
            }
        }
    }

    /// What a lost disk does: the queues are there, and empty.
    pub(super) fn wipe(&mut self) {
        for queue in self.queues.values_mut() {
            queue.ready.clear();
            queue.unacked.clear();
        }
    }

    pub(super) fn wake_all(&self) {
        self.queues.values().for_each(|queue| queue.changed.notify_waiters());
    }

    pub(super) fn limit(&mut self, queue: &str, max_length: u64) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.limits.max_length = max_length;
        }
    }
}

impl Queue {
    fn new(limits: Limits) -> Self {
        Self { limits, ready: VecDeque::new(), unacked: BTreeMap::new(), changed: Arc::new(Notify::new()) }
    }

    /// `false`: full, refused.
    fn push(&mut self, stored: Stored) -> bool {
        if self.ready.len() as u64 >= self.limits.max_length {
            match self.limits.overflow {
                Overflow::RejectPublish => return false,
                Overflow::DropHead => drop(self.ready.pop_front()),
            }
        }
        self.ready.push_back(stored);
        self.changed.notify_one();
        true
    }

    fn put_back(&mut self, stored: Stored) {
        self.ready.push_front(stored);
        self.changed.notify_one();
    }
}
