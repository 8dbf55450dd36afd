//! The slots of one queue over AMQP: the task that keeps a channel for them through outages, on which each has a consumer of its own. One
//! channel and one task for all, because each wake-up then serves all that has come, on both sides of the connection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::Counter;
use deadpool_lapin::Object;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::consuming::{Shown, shown};
use super::failure::Failure;
use super::outgoing::{is_canary, text_headers};
use super::slot::{Board, Desk};
use super::slots_channel::{Consumer, SlotsChannel};
use crate::backoff::Backoff;
use crate::broker::delivery::Outcome;
use crate::broker::{ConnectOptions, Delivery, metrics};

const TICK: Duration = Duration::from_millis(500);

/// A delivery that is out: at most one for each slot.
struct Held {
    /// `None` once its channel is gone: the broker delivers it again, to somebody.
    delivery: Option<lapin::message::Delivery>,
}

/// A slot, as the task sees it.
struct Seat {
    desk: Arc<Desk>,
    pause: bool,
    held: Option<Held>,
    consumer: Option<Consumer>,
    /// How many consumers it has had.
    begun: usize,
    /// Its holder is.
    gone: bool,
}

impl Seat {
    fn new(desk: Arc<Desk>) -> Self {
        Self { desk, pause: false, held: None, consumer: None, begun: 0, gone: false }
    }

    /// A slot whose holder is still busy does not begin to consume, else a job would wait behind it.
    fn may_begin(&self) -> bool {
        !self.pause && self.consumer.is_none() && self.held.is_none()
    }

    /// The channel is gone: what nobody has fetched is forgotten, what is out can no longer be acknowledged.
    fn abandon(&mut self) {
        self.consumer = None;
        if let Some(delivery) = self.desk.take() {
            delivery.forget();
            self.held = None;
        }
        if let Some(held) = &mut self.held {
            held.delivery = None;
        }
    }
}

/// Why consuming on one channel ended.
enum End {
    /// The port is closing.
    Done,
    /// There are no slots any more.
    Empty,
    Failed(Failure),
}

pub(super) struct SlotsTask {
    queue: String,
    /// Program and process, for the management UI.
    who: String,
    board: Arc<Board>,
    seats: BTreeMap<usize, Seat>,
    sessions: watch::Receiver<Shown>,
    closing: CancellationToken,
    backoff: Backoff,
    not_before: Instant,
    deliveries: Counter,
}

impl SlotsTask {
    pub(super) fn new(
        queue: &str,
        board: Arc<Board>,
        options: &ConnectOptions,
        sessions: watch::Receiver<Shown>,
        closing: CancellationToken,
    ) -> Self {
        let (floor, cap) = options.backoff;
        Self {
            queue: queue.to_owned(),
            who: options.who(),
            board,
            seats: BTreeMap::new(),
            sessions,
            closing,
            backoff: Backoff::new(floor, floor * 2, cap),
            not_before: Instant::now(),
            deliveries: metrics::deliveries(queue),
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
                    End::Empty => {
                        channel.flush().await;
                        channel.close().await;
                        continue;
                    }
                    End::Failed(failure) => {
                        self.seats.values_mut().for_each(Seat::abandon);
                        channel.close().await;
                        failure
                    }
                },
            };
            tracing::debug!(queue = self.queue, %failure, "the slots are interrupted");
            self.not_before = Instant::now() + self.backoff.next_random();
        }
    }

    /// Until there is a slot that may consume, and a connection. `None`: the task is over.
    async fn idle(&mut self) -> Option<Arc<Object>> {
        loop {
            for (number, outcome) in self.hear() {
                if let (Some(seat), Some(_)) = (self.seats.get_mut(&number), outcome) {
                    seat.held = None;
                }
            }
            self.seats.retain(|_, seat| !seat.gone);
            self.seats.values().for_each(|seat| seat.desk.tell_paused(seat.pause));
            let ready = self.seats.values().any(Seat::may_begin);
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
        if let Err(failure) = self.begin(channel).await {
            return End::Failed(failure);
        }
        self.backoff.reset();
        loop {
            let stepped = tokio::select! {
                () = closing.cancelled() => return End::Done,
                () = board.rung.notified() => self.listen(channel).await,
                next = channel.next() => self.take_all(channel, next),
                _ = tick.tick() => if channel.is_connected() {
                    Ok(())
                } else {
                    Err(Failure::Ended("the channel is no longer connected".to_owned()))
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

    /// On a new channel.
    async fn begin(&mut self, channel: &mut SlotsChannel) -> Result<(), Failure> {
        self.settle_heard(channel);
        let all = self.seats.keys().copied().collect();
        self.steer_each(channel, all).await
    }

    /// Writes down what was said at the desks, all of it at once: a desk is named on the board only until it was heard. Returns their numbers,
    /// with the outcome that was told.
    fn hear(&mut self) -> Vec<(usize, Option<Outcome>)> {
        let mut heard = Vec::new();
        for (desk, said) in self.board.hear() {
            heard.push((desk.number, said.outcome));
            let seat = self.seats.entry(desk.number).or_insert_with(|| Seat::new(desk));
            (seat.pause, seat.gone) = (said.pause || said.gone, said.gone);
        }
        heard
    }

    /// Settles what is said to be done with. Returns the desks at which something was said.
    fn settle_heard(&mut self, channel: &mut SlotsChannel) -> Vec<usize> {
        let heard = self.hear();
        for (number, outcome) in &heard {
            if let (Some(seat), Some(outcome)) = (self.seats.get_mut(number), outcome) {
                settle(seat, channel, *outcome);
            }
        }
        heard.into_iter().map(|(number, _)| number).collect()
    }

    /// Does what was said at the desks.
    async fn listen(&mut self, channel: &mut SlotsChannel) -> Result<(), Failure> {
        let heard = self.settle_heard(channel);
        self.steer_each(channel, heard).await
    }

    /// Makes these slots consume or not, as wanted; those whose holders are gone leave.
    async fn steer_each(&mut self, channel: &mut SlotsChannel, numbers: Vec<usize>) -> Result<(), Failure> {
        for number in numbers {
            let Entry::Occupied(mut seat) = self.seats.entry(number) else { continue };
            steer(seat.get_mut(), channel).await?;
            if seat.get().gone {
                settle(&mut seat.remove(), channel, Outcome::Requeue);
            }
        }
        Ok(())
    }

    /// Hands over what has come, and everything else that has come by now.
    fn take_all(
        &mut self,
        channel: &mut SlotsChannel,
        first: Result<(Consumer, Option<lapin::message::Delivery>), Failure>,
    ) -> Result<(), Failure> {
        let mut next = Some(first);
        while let Some(came) = next {
            let (consumer, delivery) = came?;
            self.hand_over(channel, consumer, delivery)?;
            next = channel.next_now();
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        channel: &mut SlotsChannel,
        consumer: Consumer,
        delivery: Option<lapin::message::Delivery>,
    ) -> Result<(), Failure> {
        let seat = self.seats.get_mut(&consumer.slot).filter(|seat| seat.consumer == Some(consumer));
        match (seat, delivery) {
            (Some(_), None) => return Err(Failure::Ended("the broker ended a consumer".to_owned())),
            // The end of a consumer that was cancelled.
            (None, None) => {}
            (_, Some(delivery)) if is_canary(&delivery.properties) => channel.settle(delivery, Outcome::Ack),
            // It was on its way when its consumer was cancelled.
            (None, Some(delivery)) => channel.settle(delivery, Outcome::Requeue),
            (Some(seat), Some(mut delivery)) => {
                self.deliveries.increment(1);
                let desk = Arc::clone(&seat.desk);
                seat.desk.put(incoming(&self.queue, &mut delivery, move |outcome| {
                    desk.say(|said| said.outcome = Some(outcome));
                }));
                seat.held = Some(Held { delivery: Some(delivery) });
            }
        }
        Ok(())
    }

    /// The port is closing: what nobody has fetched goes back, and what was settled is told.
    fn give_back(&mut self, channel: &mut SlotsChannel) {
        self.settle_heard(channel);
        for seat in self.seats.values_mut() {
            take_back(seat, channel);
        }
    }
}

async fn steer(seat: &mut Seat, channel: &mut SlotsChannel) -> Result<(), Failure> {
    if seat.pause
        && let Some(consumer) = seat.consumer.take()
    {
        channel.cancel(consumer).await?;
        take_back(seat, channel);
    }
    if seat.may_begin() {
        seat.begun += 1;
        let consumer = Consumer { slot: seat.desk.number, count: seat.begun };
        channel.consume(consumer).await?;
        seat.consumer = Some(consumer);
    }
    seat.desk.tell_paused(seat.pause);
    Ok(())
}

fn settle(seat: &mut Seat, channel: &mut SlotsChannel, outcome: Outcome) {
    if let Some(delivery) = seat.held.take().and_then(|held| held.delivery) {
        channel.settle(delivery, outcome);
    }
}

/// A delivery that nobody has fetched yet goes back.
fn take_back(seat: &mut Seat, channel: &mut SlotsChannel) {
    if let Some(delivery) = seat.desk.take() {
        // Its outcome is told here and now.
        delivery.forget();
        settle(seat, channel, Outcome::Requeue);
    }
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
