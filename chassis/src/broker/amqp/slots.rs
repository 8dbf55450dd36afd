//! The slots of one queue over AMQP: the task that keeps a channel for them through outages, on which they share consumers. One channel and one
//! task for all, because each wake-up then serves all that has come, on both sides of the connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::Counter;
use deadpool_lapin::Object;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::consuming::{Shown, shown};
use super::failure::{Failure, LastSaid};
use super::outgoing::{is_canary, text_headers};
use super::sharing::{ConsumerId, Sharing};
use super::slot::{Board, Desk};
use super::slots_channel::SlotsChannel;
use crate::backoff::Backoff;
use crate::broker::delivery::Outcome;
use crate::broker::{ConnectOptions, Delivery, metrics};

const TICK: Duration = Duration::from_millis(500);

/// A slot, as the task sees it.
struct Seat {
    desk: Arc<Desk>,
    pause: bool,
    /// The tag of the delivery that is out, on this channel: one of a channel that is gone, the broker delivers again, to somebody.
    held: Option<u64>,
    /// Its holder is.
    gone: bool,
}

/// Why consuming on one channel ended.
enum End {
    /// The port is closing.
    Done,
    /// There are no slots any more.
    Empty,
    /// Nothing came for long.
    Quiet,
    Failed(Failure),
}

pub(super) struct SlotsTask {
    queue: String,
    /// Program and process, for the management UI.
    who: String,
    board: Arc<Board>,
    seats: BTreeMap<usize, Seat>,
    sharing: Sharing,
    sessions: watch::Receiver<Shown>,
    closing: CancellationToken,
    backoff: Backoff,
    not_before: Instant,
    deliveries: Counter,
    said: LastSaid,
}

impl SlotsTask {
    pub(super) fn new(
        queue: &str,
        board: Arc<Board>,
        options: &ConnectOptions,
        sessions: watch::Receiver<Shown>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            queue: queue.to_owned(),
            who: options.who(),
            board,
            seats: BTreeMap::new(),
            sharing: Sharing::default(),
            sessions,
            closing,
            backoff: options.pauses(),
            not_before: Instant::now(),
            deliveries: metrics::deliveries(queue),
            said: LastSaid::default(),
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(connection) = self.idle().await {
            let opened = tokio::select! {
                opened = SlotsChannel::open(&connection, &self.queue, &self.who) => opened,
                () = self.closing.cancelled() => return,
            };
            drop(connection);
            let failure = match opened {
                Err(failure) => failure,
                Ok(mut channel) => match self.follow(&mut channel).await {
                    End::Done => {
                        self.give_back(&mut channel);
                        channel.flush().await;
                        return channel.close().await;
                    }
                    End::Empty | End::Quiet => {
                        self.abandon();
                        channel.flush().await;
                        channel.close().await;
                        continue;
                    }
                    End::Failed(failure) => {
                        self.abandon();
                        channel.close().await;
                        failure
                    }
                },
            };
            metrics::consuming(&self.queue, false);
            let reason = failure.to_string();
            if self.said.is_new(&reason) {
                tracing::warn!(queue = self.queue, reason, "consuming a queue is interrupted");
            }
            self.not_before = Instant::now() + self.backoff.next_random();
        }
    }

    /// Until there is a slot that may consume, and a connection. `None`: the task is over.
    async fn idle(&mut self) -> Option<Arc<Object>> {
        loop {
            self.hear();
            self.seats.retain(|_, seat| !seat.gone);
            self.seats.values().for_each(|seat| seat.desk.tell_paused(seat.pause));
            let ready = self.sharing.is_ready();
            let connection = async {
                sleep_until(self.not_before).await;
                shown(&mut self.sessions).await
            };
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = self.board.rung.notified() => {}
                connection = connection, if ready => return connection,
            }
        }
    }

    async fn follow(&mut self, channel: &mut SlotsChannel) -> End {
        let (closing, board) = (self.closing.clone(), Arc::clone(&self.board));
        let mut tick = interval(TICK);
        if let Err(failure) = self.listen(channel).await {
            return End::Failed(failure);
        }
        metrics::consuming(&self.queue, true);
        self.backoff.reset();
        self.said.forget();
        loop {
            let stepped = tokio::select! {
                () = closing.cancelled() => return End::Done,
                () = board.rung.notified() => self.listen(channel).await,
                next = channel.next() => self.take_all(channel, next).await,
                _ = tick.tick() => if !channel.is_connected() {
                    Err(Failure::Ended("the channel is no longer connected".to_owned()))
                } else if !self.sharing.renew(&channel.quiet()) {
                    Ok(())
                } else if channel.is_idle() {
                    return End::Quiet;
                } else {
                    self.share(channel).await
                },
            };
            if let Err(failure) = stepped {
                return End::Failed(failure);
            }
            if self.seats.is_empty() {
                return End::Empty;
            }
        }
    }

    /// Writes down what was said at the desks, all of it at once: a desk is named on the board only until it was heard.
    fn hear(&mut self) -> Heard {
        let mut all = Heard::default();
        for (desk, said) in self.board.hear() {
            let number = desk.number;
            all.heard.push(number);
            let seat = self.seats.entry(number).or_insert_with(|| Seat { desk, pause: false, held: None, gone: false });
            (seat.pause, seat.gone) = (said.pause || said.gone, said.gone);
            if let Some(outcome) = said.outcome {
                all.settled.extend(seat.held.take().map(|tag| (tag, outcome)));
                self.sharing.free(number);
            }
            if seat.gone {
                all.settled.extend(seat.held.take().map(|tag| (tag, Outcome::Requeue)));
                self.sharing.remove(number);
            } else {
                self.sharing.want(number, !seat.pause);
            }
        }
        all
    }

    /// Does what was said at the desks.
    async fn listen(&mut self, channel: &mut SlotsChannel) -> Result<(), Failure> {
        let Heard { heard, settled } = self.hear();
        settle(channel, settled);
        self.share(channel).await?;
        for number in heard {
            if self.seats.get(&number).is_some_and(|seat| seat.pause) {
                self.take_back(channel, number);
            }
            if let Some(seat) = self.seats.get(&number) {
                seat.desk.tell_paused(seat.pause);
            }
        }
        self.seats.retain(|_, seat| !seat.gone);
        Ok(())
    }

    /// Begins and ends consumers for the slots as they are now.
    async fn share(&mut self, channel: &mut SlotsChannel) -> Result<(), Failure> {
        for consumer in self.sharing.end_some() {
            channel.cancel(consumer).await?;
        }
        if let Some((consumer, prefetch)) = self.sharing.begin_one() {
            channel.consume(consumer, prefetch).await?;
        }
        Ok(())
    }

    /// Hands over what has come, and everything else that has come by now.
    async fn take_all(
        &mut self,
        channel: &mut SlotsChannel,
        first: Result<(ConsumerId, Option<lapin::message::Delivery>), Failure>,
    ) -> Result<(), Failure> {
        let mut next = Some(first);
        while let Some(came) = next {
            match came? {
                (consumer, Some(delivery)) => self.hand_over(channel, consumer, delivery),
                (consumer, None) if self.sharing.ended(consumer) => self.share(channel).await?,
                (_, None) => return Err(Failure::Ended("the broker ended a consumer".to_owned())),
            }
            next = channel.next_now();
        }
        Ok(())
    }

    fn hand_over(&mut self, channel: &mut SlotsChannel, consumer: ConsumerId, mut delivery: lapin::message::Delivery) {
        let tag = delivery.delivery_tag;
        if is_canary(&delivery.properties) {
            return channel.ack(vec![tag]);
        }
        let number = self.sharing.take(consumer);
        let Some(seat) = number.and_then(|number| self.seats.get_mut(&number)) else {
            // It was on its way when the last slot of its consumer left.
            return channel.requeue(tag);
        };
        self.deliveries.increment(1);
        let desk = Arc::clone(&seat.desk);
        seat.desk.put(incoming(&self.queue, &mut delivery, move |outcome| {
            desk.say(|said| said.outcome = Some(outcome));
        }));
        seat.held = Some(tag);
    }

    /// A delivery that nobody has fetched yet goes back.
    fn take_back(&mut self, channel: &mut SlotsChannel, number: usize) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        if let Some(delivery) = seat.desk.take() {
            // Its outcome is told here and now.
            delivery.forget();
            if let Some(tag) = seat.held.take() {
                channel.requeue(tag);
            }
            self.sharing.free(number);
        }
    }

    /// The port is closing: what nobody has fetched goes back, and what was settled is told.
    fn give_back(&mut self, channel: &mut SlotsChannel) {
        settle(channel, self.hear().settled);
        for number in self.seats.keys().copied().collect::<Vec<_>>() {
            self.take_back(channel, number);
        }
    }

    /// The channel is given up: what nobody has fetched is forgotten, what is out can no longer be acknowledged.
    fn abandon(&mut self) {
        self.sharing.reset();
        for (number, seat) in &mut self.seats {
            seat.held = None;
            if let Some(delivery) = seat.desk.take() {
                delivery.forget();
                self.sharing.free(*number);
            }
        }
    }
}

/// What was said at the desks.
#[derive(Default)]
struct Heard {
    heard: Vec<usize>,
    /// The deliveries that are done with, by tag.
    settled: Vec<(u64, Outcome)>,
}

fn settle(channel: &mut SlotsChannel, settled: Vec<(u64, Outcome)>) {
    let mut done = Vec::with_capacity(settled.len());
    for (tag, outcome) in settled {
        match outcome {
            Outcome::Ack => done.push(tag),
            Outcome::Requeue => channel.requeue(tag),
            Outcome::Dropped => channel.requeue_later(tag),
        }
    }
    channel.ack(done);
}

fn incoming(
    queue: &str,
    delivery: &mut lapin::message::Delivery,
    settle: impl FnOnce(Outcome) + Send + 'static,
) -> Delivery {
    // The body goes to the holder; the rest stays for the acknowledgement.
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let (headers, message_id, kind) =
        (text_headers(properties), text(properties.message_id()), text(properties.kind()));
    let mut incoming = Delivery::new(queue.to_owned(), std::mem::take(&mut delivery.data).into(), settle);
    incoming.headers = headers;
    incoming.message_id = message_id;
    incoming.kind = kind;
    incoming.redelivered = delivery.redelivered;
    incoming
}
