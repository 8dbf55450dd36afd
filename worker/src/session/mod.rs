//! The worker's session at the store: heartbeats that renew its leases, and the news that it gets.
//!
//! The loops here decide nothing: when to beat is `pulse`'s, what a lease is worth is `lease_book`'s.

mod lease_book;
mod ledger;
mod pauses;
mod pulse;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::clock::now_ms;
use chassis::shutdown::Shutdown;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::ids::SessionId;
use protocol::key::{QueueName, TaskPattern};
use protocol::store_api::{Heartbeat, HeartbeatReply, Held};
use tokio::sync::watch;

pub(crate) use ledger::Ledger;

use self::pauses::Pauses;
use self::pulse::{Pulse, Wanted, period_ms};
use crate::metrics;
use crate::store::{Store, StoreError};

/// How long the store may hold the question for news.
const NEWS_WAIT: Duration = Duration::from_secs(20);
/// A heartbeat is given up after this at the latest; others have gone out by then.
const BEAT_DEADLINE_MAX: Duration = Duration::from_secs(5);
const BEAT_DEADLINE_MIN: Duration = Duration::from_millis(250);
/// Heartbeats on their way at once; beyond it the next one waits for an answer or a deadline.
const BEATS_MAX: usize = 8;

/// What the worker says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) queues: BTreeMap<QueueName, u64>,
    pub(crate) tasks: Vec<TaskPattern>,
}

/// One session. The store may forget it (a restart); then it is opened again under the same id.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    identity: Identity,
    store: Store,
    shutdown: Shutdown,
    pub(crate) ledger: Ledger,
    registered: watch::Sender<bool>,
    pauses: Pauses,
}

/// A heartbeat and its answer.
struct Beat {
    sent_ms: u64,
    registers: bool,
    held: Vec<Held>,
    answer: Result<HeartbeatReply, StoreError>,
}

impl Session {
    #[must_use]
    pub(crate) fn new(identity: Identity, store: Store, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            id: SessionId::generate(),
            identity,
            store,
            shutdown,
            ledger: Ledger::default(),
            registered: watch::Sender::new(false),
            pauses: Pauses::default(),
        })
    }

    /// The store does not know the session: open it anew with the next heartbeat, which goes out soon.
    pub(crate) fn unknown(&self) {
        let was_registered = self.registered.send_replace(false);
        if was_registered {
            tracing::info!(session = %self.id, "the store does not know the session: registering again");
        }
        self.ledger.hurry();
    }

    /// Completes when the store knows the session. Safe to cancel.
    pub(crate) async fn registered(&self) {
        // Cannot fail: `self` holds the sender.
        drop(self.registered.subscribe().wait_for(|registered| *registered).await);
    }

    /// Sends heartbeats for as long as it is polled.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut pulse = Pulse::default();
        let mut beats = FuturesUnordered::new();
        let mut has_progress = false;
        let mut told_drain = false;
        loop {
            let now = now_ms();
            self.ledger.stop_overdue(now);
            let register = !*self.registered.borrow();
            let wanted =
                Wanted { shortest_lease_ms: self.ledger.shortest_lease_ms(), progress: has_progress, register };
            let due = pulse.due_ms(wanted);
            let drains = self.shutdown.is_draining() && !told_drain;
            if (due <= now || drains) && beats.len() < BEATS_MAX {
                (has_progress, told_drain) = (false, self.shutdown.is_draining());
                pulse.sent(now);
                beats.push(Arc::clone(&self).beat(now, register));
                continue;
            }
            // A full house waits for an answer or a deadline, not for the time that has come already.
            let due = if beats.len() < BEATS_MAX { due } else { u64::MAX };
            let wake_ms = due.min(self.ledger.next_stop_ms().unwrap_or(u64::MAX)).saturating_sub(now);
            tokio::select! {
                Some(beat) = beats.next() => if self.take_answer(beat) { pulse.answered() },
                () = tokio::time::sleep(Duration::from_millis(wake_ms.min(pulse::PERIOD_MAX_MS))) => {}
                () = self.ledger.hurried() => {}
                () = self.ledger.progress().notified() => has_progress = true,
                () = self.shutdown.draining(), if !told_drain && beats.len() < BEATS_MAX => {}
            }
        }
    }

    async fn beat(self: Arc<Self>, sent_ms: u64, registers: bool) -> Beat {
        let held = self.ledger.beat();
        // A draining worker takes nothing more, so no bells are rung for it.
        let queues = if self.shutdown.is_draining() { BTreeMap::new() } else { self.identity.queues.clone() };
        let heartbeat = Heartbeat {
            session: self.id,
            register: registers,
            worker: self.identity.name.clone(),
            queues,
            tasks: self.identity.tasks.clone(),
            holds: held.clone(),
        };
        let period = Duration::from_millis(period_ms(self.ledger.shortest_lease_ms()));
        let answer = self.store.heartbeat(heartbeat, period.clamp(BEAT_DEADLINE_MIN, BEAT_DEADLINE_MAX)).await;
        Beat { sent_ms, registers, held, answer }
    }

    /// Whether the store heard us.
    fn take_answer(&self, beat: Beat) -> bool {
        match beat.answer {
            Ok(reply) => {
                metrics::heartbeat("answered");
                if beat.registers && !self.registered.send_replace(true) {
                    tracing::info!(session = %self.id, worker = self.identity.name, "registered at the store");
                }
                // First those that were renewed; what is lost is then taken out again.
                self.ledger.renewed(&beat.held, beat.sent_ms);
                reply.lost.into_iter().for_each(|who| self.ledger.lose(who));
                reply.cancelled.into_iter().for_each(|who| self.ledger.cancel(who));
                self.pauses.are(reply.paused);
                true
            }
            Err(StoreError::UnknownSession) => {
                metrics::heartbeat("unknown-session");
                self.ledger.unanswered(beat.held);
                self.unknown();
                true
            }
            Err(error) => {
                metrics::heartbeat("failed");
                tracing::debug!(%error, "a heartbeat was not answered");
                self.ledger.unanswered(beat.held);
                false
            }
        }
    }

    /// Asks for news for as long as it is polled: cancels, lost leases and pauses come at once.
    pub(crate) async fn listen(self: Arc<Self>) {
        let mut cursor = 0;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(100), Duration::from_secs(2));
        loop {
            self.registered().await;
            match self.store.news(self.id, cursor, NEWS_WAIT).await {
                Ok(news) => {
                    backoff.reset();
                    cursor = news.cursor;
                    news.lost.into_iter().for_each(|who| self.ledger.lose(who));
                    news.cancelled.into_iter().for_each(|who| self.ledger.cancel(who));
                    news.pauses.into_iter().for_each(|pause| self.pauses.hear(pause));
                    continue;
                }
                Err(StoreError::UnknownSession) => {
                    cursor = 0;
                    self.unknown();
                }
                Err(error) => tracing::debug!(%error, "no news"),
            }
            tokio::time::sleep(backoff.next_random()).await;
        }
    }
}
