//! Where a commit tells those who wait: followers of the log, the dispatcher, the loops that wait for a time, the sessions.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::ids::Position;
use tokio::sync::{Notify, watch};

use crate::condition::Condition;
use crate::flows::Flows;
use crate::news::NewsBoard;
use crate::pull_desk::PullDesk;
use crate::storage::{BellSeq, Live, QueueNow, RungBell, Signals};

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) head: watch::Sender<Position>,
    /// The last log entry that asks for a fence, as far as it was written since the start.
    pub(crate) invalidation: watch::Sender<Position>,
    pub(crate) fenced_through: watch::Sender<Position>,
    /// The earliest time at which something may be due, Unix ms; `i64::MAX`: nothing.
    pub(crate) due_ms: watch::Sender<i64>,
    pub(crate) live: watch::Sender<Arc<Live>>,
    /// The highest bell given out.
    pub(crate) bells: watch::Sender<BellSeq>,
    pub(crate) gate: RingGate,
    pub(crate) outbox: Outbox,
    pub(crate) news: NewsBoard,
    pub(crate) pull_desk: PullDesk,
    pub(crate) flows: Flows,
    /// Something may be sent to a webhook.
    pub(crate) deliveries: Notify,
    /// Many jobs are to be retried.
    pub(crate) retries: Notify,
    pub(crate) condition: Condition,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            head: watch::Sender::new(Position(0)),
            invalidation: watch::Sender::new(Position(0)),
            fenced_through: watch::Sender::new(Position(0)),
            due_ms: watch::Sender::new(i64::MAX),
            live: watch::Sender::default(),
            bells: watch::Sender::new(BellSeq(0)),
            gate: RingGate::default(),
            outbox: Outbox::default(),
            news: NewsBoard::default(),
            pull_desk: PullDesk::default(),
            flows: Flows::default(),
            deliveries: Notify::new(),
            retries: Notify::new(),
            condition: Condition::default(),
        }
    }
}

impl Hub {
    /// Tells everybody what was committed.
    pub(crate) fn publish(&self, signals: Signals) {
        raise(&self.head, signals.head);
        raise(&self.fenced_through, signals.fenced_through);
        raise(&self.bells, signals.bells);
        if let Some(invalidation) = signals.invalidation {
            raise(&self.invalidation, invalidation);
        }
        if let Some(due_ms) = signals.due_ms {
            self.expect_due(due_ms);
        }
        if signals.retries {
            self.retries.notify_one();
        }
        if signals.deliveries {
            self.deliveries.notify_one();
        }
        for (session, item) in signals.news {
            self.news.post(session, item);
        }
        if let Some(live) = signals.live {
            self.news.keep_only(&live);
            metrics::gauge!("longshore_store_sessions").set(small(live.sessions().count()));
            self.live.send_replace(live);
        }
        signals.queues.into_iter().for_each(show);
        self.flows.add(signals.flows, chassis::clock::now_ms());
        for (transition, count) in signals.counts {
            metrics::counter!("longshore_store_transitions_total", "transition" => transition).increment(count);
        }
        self.condition.missed(&signals.missing);
        if signals.wrote {
            self.condition.written();
        }
        self.pull_desk.offer(signals.offers);
        self.pull_desk.resume(&signals.resumed);
        self.outbox.put(signals.rung);
    }
}

impl Hub {
    /// Something will be due then.
    pub(crate) fn expect_due(&self, due_ms: i64) {
        self.due_ms.send_if_modified(|earliest| {
            let earlier = due_ms < *earliest;
            *earliest = due_ms.min(*earliest);
            earlier
        });
    }
}

fn show(QueueNow { queue, depth, paused }: QueueNow) {
    let states = [("scheduled", depth.scheduled), ("queued", depth.queued), ("running", depth.running)];
    for (state, jobs) in states {
        let jobs = f64::from(u32::try_from(jobs).unwrap_or(u32::MAX));
        metrics::gauge!("longshore_queue_jobs", "queue" => queue.clone(), "state" => state).set(jobs);
    }
    metrics::gauge!("longshore_queue_paused", "queue" => queue).set(f64::from(u8::from(paused)));
}

fn small(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn raise<T: PartialOrd>(watched: &watch::Sender<T>, to: T) {
    watched.send_if_modified(|present| {
        let higher = to > *present;
        if higher {
            *present = to;
        }
        higher
    });
}

/// Bells that have a place and are to be published. There are at most as many as there are places in the windows.
#[derive(Debug)]
pub(crate) struct Outbox {
    // Held for one step on the list, never across an await.
    bells: Mutex<VecDeque<RungBell>>,
    filled: Notify,
    /// Bells put in whose fate is not known yet.
    unsettled: watch::Sender<usize>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { bells: Mutex::default(), filled: Notify::default(), unsettled: watch::Sender::new(0) }
    }
}

impl Outbox {
    pub(crate) fn put(&self, bells: Vec<RungBell>) {
        if !bells.is_empty() {
            self.unsettled.send_modify(|unsettled| *unsettled += bells.len());
            lock(&self.bells).extend(bells);
            self.filled.notify_one();
        }
    }

    /// The next bell. Cancel-safe.
    pub(crate) async fn take(&self) -> RungBell {
        loop {
            let filled = self.filled.notified();
            if let Some(bell) = lock(&self.bells).pop_front() {
                return bell;
            }
            filled.await;
        }
    }
}

impl Outbox {
    /// So many bells were sent, or their rows are ready again.
    pub(crate) fn settle(&self, bells: usize) {
        self.unsettled.send_modify(|unsettled| *unsettled = unsettled.saturating_sub(bells));
    }

    /// Waits until the fate of every bell is known. Cancel-safe.
    pub(crate) async fn settled(&self) {
        // Cannot fail: `self` holds the sender.
        drop(self.unsettled.subscribe().wait_for(|unsettled| *unsettled == 0).await);
    }
}

/// Whether rows may be rung now: the link to the broker is up, and the queue takes bells.
#[derive(Debug, Default)]
pub(crate) struct RingGate {
    // Held for one look or change, never across an await.
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    up: bool,
    closed: bool,
    backing_off: HashSet<String>,
}

impl RingGate {
    pub(crate) fn set_up(&self, up: bool) {
        lock(&self.state).up = up;
    }

    pub(crate) fn is_up(&self) -> bool {
        lock(&self.state).up
    }

    /// From now on nothing is rung.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
    }

    /// `true`: it was not backing off before.
    pub(crate) fn back_off(&self, queue: &str) -> bool {
        lock(&self.state).backing_off.insert(queue.to_owned())
    }

    pub(crate) fn reopen(&self, queue: &str) {
        lock(&self.state).backing_off.remove(queue);
    }

    pub(crate) fn is_open(&self, queue: &str) -> bool {
        let state = lock(&self.state);
        state.up && !state.closed && !state.backing_off.contains(queue)
    }

    pub(crate) fn any_open(&self, queues: &[String]) -> bool {
        let state = lock(&self.state);
        state.up && !state.closed && queues.iter().any(|queue| !state.backing_off.contains(queue))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
