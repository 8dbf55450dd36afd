//! What tests do to the embedded broker: stop, start, wipe, block, lose confirms.

use std::sync::atomic::Ordering;

use super::{EmbeddedBroker, Link};

impl EmbeddedBroker {
    /// As if the broker had died: publishes are `Busy`, nothing is delivered, what was out will be delivered again.
    pub fn stop(&self) {
        self.shared.link.send_replace(Link::Down { reason: "stopped".to_owned() });
        self.shared.state().requeue_all();
    }

    /// Back again, with what the queues held.
    pub fn start(&self) {
        self.shared.link.send_replace(Link::Up);
        let state = self.shared.state();
        state.gap();
        state.wake_all();
    }

    /// Empties every queue, whether stopped or not.
    pub fn wipe(&self) {
        self.shared.state().wipe();
    }

    /// As an alarm does: publishes are `Busy`, deliveries go on. `start` ends it.
    pub fn block(&self) {
        self.shared.link.send_replace(Link::Blocked);
    }

    /// Takes messages but answers `Unknown`.
    pub fn lose_confirms(&self, lost: bool) {
        self.shared.confirms_lost.store(lost, Ordering::Relaxed);
    }

    /// Another bound for a queue.
    pub fn limit(&self, queue: &str, max_length: u64) {
        self.shared.state().limit(queue, max_length);
    }
}
