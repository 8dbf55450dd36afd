//! Rings: publishes the bells that were given a place, and watches over those that are out.
//!
//! The writer gives out places in the transaction that frees them or adds rows, so nothing is polled; here are the broker and time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::broker::{Broker, Link, Message, Verdict};
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::health::Health;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::store_api::BellId;
use tokio::time::Instant;

use crate::PROGRAM;
use crate::hub::Hub;
use crate::storage::RungBell;
use crate::writer::Writer;

/// Publishes in flight.
const IN_FLIGHT: usize = 256;
/// Bounds of the pause of a queue that took no bell.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_BASE: Duration = Duration::from_millis(400);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Follows the link: rows are rung only while it is up.
pub(crate) async fn follow_link(broker: Broker, hub: Arc<Hub>, writer: Writer, health: Health) {
    let mut link = broker.link();
    loop {
        let state = link.borrow_and_update().clone();
        hub.gate.set_up(state == Link::Up);
        match state {
            Link::Up => {
                health.found("broker");
                writer.nudge().await;
            }
            Link::Down { reason } => health.lost("broker", reason),
            Link::Blocked => health.lost("broker", "blocked by an alarm"),
        }
        if link.changed().await.is_err() {
            return;
        }
    }
}

/// Publishes what is in the outbox.
pub(crate) async fn publish(broker: Broker, hub: Arc<Hub>, writer: Writer) {
    let mut publisher = Publisher { broker, hub, writer, pauses: HashMap::new() };
    let mut in_flight = FuturesUnordered::new();
    let mut failed: Vec<RungBell> = Vec::new();
    let mut giving_back = FuturesUnordered::new();
    loop {
        if !failed.is_empty() && giving_back.is_empty() {
            giving_back.push(give_back(publisher.writer.clone(), std::mem::take(&mut failed)));
        }
        let reopen_at = publisher.next_reopening();
        tokio::select! {
            bell = publisher.hub.outbox.take(), if in_flight.len() < IN_FLIGHT => {
                in_flight.push(publish_one(publisher.broker.clone(), bell, Turn::First));
            }
            Some((bell, turn, verdict)) = in_flight.next() => match verdict {
                Verdict::Sent => publisher.sent(&bell),
                // It may be there: another copy costs one refused claim, a lost one would cost the bell timeout.
                Verdict::Unknown if turn == Turn::First => {
                    in_flight.push(publish_one(publisher.broker.clone(), bell, Turn::Second));
                }
                Verdict::Unroutable | Verdict::Rejected | Verdict::Busy | Verdict::Unknown => {
                    publisher.back_off(&bell.queue, verdict);
                    failed.push(bell);
                }
            },
            Some(given_back) = giving_back.next() => publisher.hub.outbox.settle(given_back),
            () = tokio::time::sleep_until(reopen_at.unwrap_or_else(Instant::now)), if reopen_at.is_some() => {
                publisher.reopen_due().await;
            }
        }
    }
}

/// Bells that did not go out, as far as we know: their rows are ready again. Says how many they were.
async fn give_back(writer: Writer, bells: Vec<RungBell>) -> usize {
    let ids: Vec<BellId> = bells.iter().map(RungBell::id).collect();
    if let Err(error) = writer.step(move |transitions| transitions.unring(&ids)).await {
        // Their places are freed as lost ones later.
        tracing::warn!(%error, "bells could not be given back");
    }
    bells.len()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

async fn publish_one(broker: Broker, bell: RungBell, turn: Turn) -> (RungBell, Turn, Verdict) {
    fault_point(FaultPoint::StoreBeforePublish);
    let message = Message::bell(&bell.queue, &bell.bell);
    let span = message.sending(PROGRAM, &broker);
    let verdict = broker.publish(message).await;
    Message::sent(span, verdict);
    fault_point(FaultPoint::StoreBeforeMark);
    metrics::counter!("longshore_store_bells_total", "verdict" => verdict.as_str()).increment(1);
    (bell, turn, verdict)
}

struct Publisher {
    broker: Broker,
    hub: Arc<Hub>,
    writer: Writer,
    pauses: HashMap<String, Pause>,
}

/// A queue that took no bell pauses, longer each time in a row.
struct Pause {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Publisher {
    fn sent(&mut self, bell: &RungBell) {
        self.hub.outbox.settle(1);
        if self.pauses.get(&bell.queue).is_some_and(|pause| pause.until.is_none()) {
            self.pauses.remove(&bell.queue);
        }
    }

    fn back_off(&mut self, queue: &str, verdict: Verdict) {
        let fresh = || Pause { backoff: Backoff::new(PAUSE_MIN, PAUSE_BASE, PAUSE_MAX), until: None };
        let pause = self.pauses.entry(queue.to_owned()).or_insert_with(fresh);
        if pause.until.is_none() {
            let wait = pause.backoff.next_random();
            tracing::warn!(queue, verdict = verdict.as_str(), ?wait, "a bell could not be sent");
            pause.until = Some(Instant::now() + wait);
            self.hub.gate.back_off(queue);
        }
    }

    fn next_reopening(&self) -> Option<Instant> {
        self.pauses.values().filter_map(|pause| pause.until).min()
    }

    async fn reopen_due(&mut self) {
        let now = Instant::now();
        for (queue, pause) in &mut self.pauses {
            if pause.until.is_some_and(|until| until <= now) {
                pause.until = None;
                self.hub.gate.reopen(queue);
            }
        }
        self.writer.nudge().await;
    }
}
