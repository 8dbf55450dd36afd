//! What the store says of its own condition: whether its database takes writes, and whether it lacks what it had acknowledged.

use std::sync::Arc;

use chassis::health::Health;
use protocol::ids::JobId;
use tokio::sync::watch;

use crate::hub::Hub;

const BEHIND: &str = "longshore_store_behind_broker_total";

#[derive(Debug)]
pub(crate) struct Condition {
    /// Why the last write failed.
    unwritable: watch::Sender<Option<String>>,
    /// How often somebody named a job that was lost.
    missed: watch::Sender<u64>,
}

impl Default for Condition {
    fn default() -> Self {
        Self { unwritable: watch::Sender::new(None), missed: watch::Sender::new(0) }
    }
}

impl Condition {
    /// Something was written.
    pub(crate) fn written(&self) {
        self.unwritable.send_if_modified(|reason| reason.take().is_some());
    }

    pub(crate) fn not_written(&self, reason: &str) {
        self.unwritable.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(reason);
            if is_new {
                *known = Some(reason.to_owned());
            }
            is_new
        });
    }

    /// Bells or workers named these jobs, which must have been acknowledged and are not here: a disk did not keep what it said was written,
    /// or the file is an older one.
    pub(crate) fn missed(&self, jobs: &[JobId]) {
        if jobs.is_empty() {
            return;
        }
        for job_id in jobs {
            tracing::error!(%job_id, "store_behind_broker: this job was accepted and is not in the database. Find out what the disk lost, \
                restore the newest backup if it has more, and have clients submit again what they sent last");
        }
        let times = u64::try_from(jobs.len()).unwrap_or(u64::MAX);
        metrics::counter!(BEHIND).increment(times);
        self.missed.send_modify(|before| *before += times);
    }
}

/// Keeps the health as the condition is. What was lost stays lost: it is said until the store is started again, on whatever an operator made of it.
pub(crate) async fn show(hub: Arc<Hub>, health: Health) {
    metrics::counter!(BEHIND).increment(0);
    let (mut unwritable, mut missed) = (hub.condition.unwritable.subscribe(), hub.condition.missed.subscribe());
    loop {
        match &*unwritable.borrow_and_update() {
            Some(reason) => health.lost("writes", reason.clone()),
            None => health.found("writes"),
        }
        let times = *missed.borrow_and_update();
        if times > 0 {
            health.lost(
                "history",
                format!("accepted jobs are not in the database; bells and workers named some {times} times"),
            );
        }
        // Neither can fail: the hub holds the senders.
        tokio::select! {
            changed = unwritable.changed() => drop(changed),
            changed = missed.changed() => drop(changed),
        }
    }
}
