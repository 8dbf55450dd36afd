//! A slot over AMQP: the consumer's end, and the task that keeps a channel for it through outages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_lapin::Object;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::consuming::{Shown, shown};
use super::failure::Failure;
use super::slot_channel::SlotChannel;
use super::tell;
use crate::backoff::Backoff;
use crate::broker::delivery::{Outcome, Slot};
use crate::broker::{ConnectOptions, Delivery, metrics};

/// How long a pause may take; later the channel is given up, which has the same effect.
const PAUSE_DEADLINE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(500);

/// The one delivery on its way to the consumer's end. The task can take it back.
#[derive(Debug, Default)]
struct Handoff {
    waiting: Mutex<Option<Delivery>>,
    arrived: Notify,
}

impl Handoff {
    fn put(&self, delivery: Delivery) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery);
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<Delivery> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A slot that is not yet consuming, and the task that will.
pub(super) fn new(
    queue: &str,
    number: usize,
    options: &ConnectOptions,
    sessions: watch::Receiver<Shown>,
    closing: CancellationToken,
) -> (AmqpSlot, SlotTask) {
    let handoff = Arc::new(Handoff::default());
    let (pause, pause_wanted) = watch::channel(false);
    let (paused_sender, paused) = watch::channel(false);
    let (floor, cap) = options.backoff;
    let task = SlotTask {
        queue: queue.to_owned(),
        who: format!("{} slot {number}", options.who()),
        handoff: handoff.clone(),
        pause_wanted,
        paused: paused_sender,
        sessions,
        closing,
        backoff: Backoff::new(floor, floor * 2, cap),
        not_before: Instant::now(),
        held: None,
    };
    (AmqpSlot { handoff, pause, paused }, task)
}

/// The consumer's end. Dropping it ends the task.
pub(super) struct AmqpSlot {
    handoff: Arc<Handoff>,
    pause: watch::Sender<bool>,
    paused: watch::Receiver<bool>,
}

impl Slot for AmqpSlot {
    fn next(&mut self) -> BoxFuture<'_, Delivery> {
        async {
            loop {
                let arrived = self.handoff.arrived.notified();
                if let Some(delivery) = self.handoff.take() {
                    return delivery;
                }
                arrived.await;
            }
        }
        .boxed()
    }

    fn pause(&mut self) -> BoxFuture<'_, ()> {
        self.pause.send_replace(true);
        async {
            // A task that has ended delivers nothing either.
            drop(timeout(PAUSE_DEADLINE, self.paused.wait_for(|paused| *paused)).await);
        }
        .boxed()
    }

    fn resume(&mut self) {
        self.pause.send_replace(false);
    }
}

/// A delivery that is out: at most one.
struct Held {
    outcome: oneshot::Receiver<Outcome>,
    /// `None` once its channel is gone: the broker delivers it again, to somebody.
    delivery: Option<lapin::message::Delivery>,
}

/// Why consuming on one channel ended.
enum End {
    /// The consumer's end is gone, or the port is closing.
    Done,
    Failed(Failure),
}

pub(super) struct SlotTask {
    queue: String,
    /// Program, process and slot, for the management UI.
    who: String,
    handoff: Arc<Handoff>,
    pause_wanted: watch::Receiver<bool>,
    paused: watch::Sender<bool>,
    sessions: watch::Receiver<Shown>,
    closing: CancellationToken,
    backoff: Backoff,
    not_before: Instant,
    held: Option<Held>,
}

impl SlotTask {
    pub(super) async fn run(mut self) {
        while let Some(connection) = self.idle().await {
            let opened = tokio::select! {
                opened = SlotChannel::open(&connection, &self.queue, &self.who) => opened,
                // Looked at again in `idle`.
                _ = self.pause_wanted.changed() => continue,
                () = self.closing.cancelled() => return,
            };
            drop(connection);
            let failure = match opened {
                Err(failure) => failure,
                Ok(mut channel) => match self.follow(&mut channel).await {
                    End::Done => {
                        self.take_back(&mut channel);
                        self.settle_if_ready(&mut channel);
                        channel.flush().await;
                        return channel.close().await;
                    }
                    End::Failed(failure) => {
                        self.abandon();
                        channel.close().await;
                        failure
                    }
                },
            };
            tracing::debug!(queue = self.queue, %failure, "the slot is interrupted");
            self.not_before = Instant::now() + self.backoff.next_random();
        }
    }

    /// Until there is a reason and a connection to consume. A slot whose holder is still busy does not consume again, else a job would
    /// wait behind it. `None`: the task is over.
    async fn idle(&mut self) -> Option<Arc<Object>> {
        loop {
            let pause = *self.pause_wanted.borrow_and_update();
            self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
            let ready = !pause && self.held.is_none();
            let connection = async {
                sleep_until(self.not_before).await;
                shown(&mut self.sessions).await
            };
            tokio::select! {
                () = self.closing.cancelled() => return None,
                changed = self.pause_wanted.changed() => changed.ok()?,
                _ = outcome_of(&mut self.held) => self.held = None,
                connection = connection, if ready => return connection,
            }
        }
    }

    async fn follow(&mut self, channel: &mut SlotChannel) -> End {
        let closing = self.closing.clone();
        let mut tick = interval(TICK);
        loop {
            if let Err(failure) = self.steer(channel).await {
                return End::Failed(failure);
            }
            tokio::select! {
                () = closing.cancelled() => return End::Done,
                changed = self.pause_wanted.changed() => if changed.is_err() {
                    return End::Done;
                },
                outcome = outcome_of(&mut self.held) => self.settle(channel, outcome),
                next = channel.next() => match next {
                    Ok(delivery) => self.hand_over(channel, delivery),
                    Err(failure) => return End::Failed(failure),
                },
                _ = tick.tick() => if !channel.is_connected() {
                    return End::Failed(Failure::Ended("the channel is no longer connected".to_owned()));
                },
            }
        }
    }

    /// Makes the channel consume or not, as wanted.
    async fn steer(&mut self, channel: &mut SlotChannel) -> Result<(), Failure> {
        let pause = *self.pause_wanted.borrow_and_update();
        if pause && channel.is_consuming() {
            channel.cancel().await?;
            self.take_back(channel);
        }
        if !pause && !channel.is_consuming() && self.held.is_none() {
            channel.consume().await?;
            self.backoff.reset();
        }
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
        Ok(())
    }

    fn hand_over(&mut self, channel: &mut SlotChannel, mut delivery: lapin::message::Delivery) {
        if super::outgoing::is_canary(&delivery.properties) {
            channel.settle(delivery, Outcome::Ack);
            return;
        }
        metrics::delivered(&self.queue);
        let (settle, outcome) = oneshot::channel();
        self.handoff.put(incoming(&self.queue, &mut delivery, settle));
        self.held = Some(Held { outcome, delivery: Some(delivery) });
    }

    fn settle(&mut self, channel: &mut SlotChannel, outcome: Outcome) {
        if let Some(delivery) = self.held.take().and_then(|held| held.delivery) {
            channel.settle(delivery, outcome);
        }
    }

    fn settle_if_ready(&mut self, channel: &mut SlotChannel) {
        if let Some(outcome) = self.held.as_mut().and_then(|held| held.outcome.try_recv().ok()) {
            self.settle(channel, outcome);
        }
    }

    /// A delivery that nobody has fetched yet goes back.
    fn take_back(&mut self, channel: &mut SlotChannel) {
        if self.handoff.take().is_some() {
            self.settle(channel, Outcome::Requeue);
        }
    }

    /// The channel is gone: what nobody has fetched is forgotten, what is out can no longer be acknowledged.
    fn abandon(&mut self) {
        if self.handoff.take().is_some() {
            self.held = None;
        }
        if let Some(held) = &mut self.held {
            held.delivery = None;
        }
    }
}

async fn outcome_of(held: &mut Option<Held>) -> Outcome {
    match held {
        Some(held) => (&mut held.outcome).await.unwrap_or(Outcome::Dropped),
        None => std::future::pending().await,
    }
}

fn incoming(queue: &str, delivery: &mut lapin::message::Delivery, settle: oneshot::Sender<Outcome>) -> Delivery {
    // The body goes to the holder; the rest stays for the acknowledgement.
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let (headers, message_id, kind) =
        (super::outgoing::text_headers(properties), text(properties.message_id()), text(properties.kind()));
    // The task may be gone: then the broker has the message again.
    let mut incoming = Delivery::new(queue.to_owned(), std::mem::take(&mut delivery.data).into(), move |outcome| {
        tell(settle, outcome)
    });
    incoming.headers = headers;
    incoming.message_id = message_id;
    incoming.kind = kind;
    incoming.redelivered = delivery.redelivered;
    incoming
}
