//! Queues as a whole: paused, and nothing of them is rung or claimed until they are resumed; full, and nothing is opened in them.

use protocol::key::QueueName;
use protocol::problem::{Kind, Problem};
use protocol::queue::{FULL_RETRY_AFTER_S, Pause};
use protocol::store_api::{Change, QueuePause, Reply};
use protocol::time::Timestamp;

use super::{Decided, Transaction};
use crate::storage::{NewsItem, StorageError};

impl Transaction<'_> {
    /// Bells that are out already lie in the broker until a claim names them, is refused, and so puts their rows back.
    pub(super) fn set_paused(&mut self, name: &QueueName, paused: bool) -> Result<Decided, StorageError> {
        if !self.knows_queue(name) {
            return Ok(Err(no_such_queue(name)));
        }
        let queue = self.memory.queue(name.as_str());
        if queue.is_paused() != paused {
            queue.paused_at = paused.then_some(self.context.wall_ms);
            queue.unsaved = true;
            self.log(&Change::Queue { queue: name.clone(), paused })?;
            self.tell_consumers(name, paused);
            self.count(if paused { "queue_paused" } else { "queue_resumed" });
            self.memory.agitate(name.as_str());
            if !paused {
                self.signals.resumed.push(name.to_string());
            }
        }
        let paused_at = self.memory.queue(name.as_str()).paused_at.map(Timestamp::from_unix_ms);
        Ok(Ok(Reply::Pause(Pause { queue: name.to_string(), paused, paused_at })))
    }

    /// Why no further job of the queue, or of the tenant, may be opened now.
    pub(super) fn full(&mut self, tenant: i64, name: &str) -> Option<Problem> {
        let depth_max = self.context.settings.queue_depth_max;
        if self.memory.queue(name).depth.has_room(depth_max) {
            return self.tenant_full(tenant);
        }
        self.count("queue_full");
        let detail = format!("The queue {name} has {depth_max} open jobs, which is its limit; try again later.");
        Some(Kind::QueueFull.detail(detail).retry_after_s(FULL_RETRY_AFTER_S))
    }

    /// Jobs may name it, have named it, or somebody consumes it.
    fn knows_queue(&self, name: &QueueName) -> bool {
        self.context.settings.queues.contains(name.as_str()) || self.memory.queues.contains_key(name.as_str())
    }

    fn tell_consumers(&mut self, name: &QueueName, paused: bool) {
        let told = self.memory.live.consumers(name.as_str()).map(|session| session.id);
        let item = || NewsItem::Pause(QueuePause { queue: name.to_string(), paused });
        self.signals.news.extend(told.map(|session| (session, item())));
    }
}

fn no_such_queue(name: &QueueName) -> Problem {
    Kind::NotFound.detail(format!("There is no queue {name}; GET /queues lists them."))
}
