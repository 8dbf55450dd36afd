//! One session of the publish connection: a window of unconfirmed messages on one channel that nobody else uses.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::{Confirmation, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::attribution::{Attribution, Confirmed, Key};
use super::failure::Failure;
use super::outgoing::{Outgoing, returned_key};
use super::publisher::Request;
use super::{RPC_DEADLINE, tell};
use crate::broker::{ConnectOptions, Link, Verdict, metrics};

const TICK: Duration = Duration::from_millis(250);
/// How long closing waits for the last confirms.
const DRAIN: Duration = Duration::from_secs(1);

pub(super) enum End {
    Closing,
    Failed(Failure),
}

type Answer = (Key, lapin::Result<Confirmation>);

/// Who waits for a publish.
enum Waiter {
    Caller(oneshot::Sender<Verdict>),
    Canary,
}

pub(super) struct Session<'a> {
    connection: &'a lapin::Connection,
    channel: lapin::Channel,
    options: &'a ConnectOptions,
    link: &'a watch::Sender<Link>,
    in_flight: FuturesUnordered<BoxFuture<'static, Answer>>,
    waiters: HashMap<Key, Waiter>,
    next_key: Key,
    /// Completed, not yet judged.
    completed: Vec<(Key, Confirmed)>,
    attribution: Attribution,
    progress_at: Instant,
    canaries: usize,
    canary_deadline: Instant,
    blocked: bool,
    was_up: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        connection: &'a lapin::Connection,
        channel: lapin::Channel,
        options: &'a ConnectOptions,
        link: &'a watch::Sender<Link>,
    ) -> Self {
        let now = Instant::now();
        Self {
            connection,
            channel,
            options,
            link,
            in_flight: FuturesUnordered::new(),
            waiters: HashMap::new(),
            next_key: 0,
            completed: Vec::new(),
            attribution: Attribution::default(),
            progress_at: now,
            canaries: 0,
            canary_deadline: now + RPC_DEADLINE,
            blocked: false,
            was_up: false,
        }
    }

    pub(super) fn was_up(&self) -> bool {
        self.was_up
    }

    pub(super) async fn run(&mut self, requests: &mut mpsc::Receiver<Request>, closing: &CancellationToken) -> End {
        // lapin splits its events between listeners, so there is one, here.
        let mut events = self.connection.events_listener().boxed();
        self.send_canaries().await;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stepped = tokio::select! {
                biased;
                () = closing.cancelled() => return self.drain(&mut events).await,
                Some(answer) = self.in_flight.next(), if !self.in_flight.is_empty() => self.collect(answer).await,
                event = events.next() => self.on_event(event),
                _ = tick.tick() => self.check(),
                Some(request) = requests.recv(), if !self.is_up() || self.in_flight.len() < self.options.window => {
                    self.accept(request).await;
                    self.judge()
                }
            };
            if let Err(failure) = stepped {
                return End::Failed(failure);
            }
        }
    }

    fn is_up(&self) -> bool {
        self.canaries == 0 && !self.blocked
    }

    async fn send_canaries(&mut self) {
        let who = self.options.who();
        let queues: Vec<_> =
            self.options.publishes_bells().map(|queue| Outgoing::queue_canary(queue.as_str(), &who)).collect();
        let canaries = if queues.is_empty() { vec![Outgoing::exchange_canary(&who)] } else { queues };
        self.canaries = canaries.len();
        for canary in canaries {
            self.start(canary, Waiter::Canary).await;
        }
    }

    async fn accept(&mut self, request: Request) {
        if !self.is_up() {
            tell(request.reply, Verdict::Busy);
        } else if !request.reply.is_closed() {
            // A caller that no longer waits was told `Unknown`; its message is spared the broker.
            self.start(request.outgoing, Waiter::Caller(request.reply)).await;
        }
    }

    /// Publishes. The future is polled once here, because lapin takes the delivery tag and queues the frames in its first poll: so both
    /// are in the same order, and no socket write is waited for.
    async fn start(&mut self, outgoing: Outgoing, waiter: Waiter) {
        let key = self.next_key;
        self.next_key += 1;
        if self.in_flight.is_empty() {
            self.progress_at = Instant::now();
        }
        self.waiters.insert(key, waiter);
        let channel = self.channel.clone();
        let mut publish = async move {
            let Outgoing { exchange, routing_key, body, options, properties } = outgoing.named(key);
            let published = channel.basic_publish(exchange, routing_key, options, &body, properties).await;
            let confirmed = match published {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (key, confirmed)
        }
        .boxed();
        match futures_util::poll!(&mut publish) {
            std::task::Poll::Ready(answer) => self.note(answer),
            std::task::Poll::Pending => self.in_flight.push(publish),
        }
    }

    /// Takes everything that has completed by now, then judges it together.
    async fn collect(&mut self, first: Answer) -> Result<(), Failure> {
        self.note(first);
        loop {
            let before = self.completed.len();
            while let Some(Some(answer)) = self.in_flight.next().now_or_never() {
                self.note(answer);
            }
            if self.completed.len() == before {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.judge()
    }

    fn note(&mut self, (key, answer): Answer) {
        let confirmed = match answer {
            Ok(Confirmation::Ack(None)) => Confirmed::Plain,
            // A return that names no publish of ours cannot be told apart from our own.
            Ok(Confirmation::Ack(Some(returned))) => {
                Confirmed::Returning(returned_key(&returned.delivery.properties).unwrap_or(key))
            }
            Ok(Confirmation::Nack(_)) => Confirmed::Refused,
            Ok(Confirmation::NotRequested) | Err(_) => Confirmed::Failed,
        };
        if confirmed != Confirmed::Failed {
            self.progress_at = Instant::now();
        }
        self.completed.push((key, confirmed));
    }

    fn judge(&mut self) -> Result<(), Failure> {
        if self.completed.is_empty() {
            return Ok(());
        }
        let completed = std::mem::take(&mut self.completed);
        for (key, verdict) in self.attribution.judge(&completed, self.in_flight.is_empty()) {
            match self.waiters.remove(&key) {
                Some(Waiter::Caller(reply)) => tell(reply, verdict),
                Some(Waiter::Canary) => self.on_canary(verdict)?,
                None => {}
            }
        }
        Ok(())
    }

    fn on_canary(&mut self, verdict: Verdict) -> Result<(), Failure> {
        if verdict != Verdict::Sent {
            return Err(Failure::Canary(verdict.as_str()));
        }
        self.canaries -= 1;
        self.tell_link();
        Ok(())
    }

    fn tell_link(&mut self) {
        let link = if self.blocked {
            Link::Blocked
        } else if self.canaries == 0 {
            self.was_up = true;
            Link::Up
        } else {
            return;
        };
        metrics::up(self.options.program.as_str(), "publish", link == Link::Up);
        if *self.link.borrow() != link {
            tracing::info!(program = self.options.program.as_str(), ?link, "link to the broker");
            self.link.send_replace(link);
        }
    }

    fn on_event(&mut self, event: Option<Event>) -> Result<(), Failure> {
        match event {
            Some(Event::ConnectionBlocked(_)) => {
                self.blocked = true;
                self.tell_link();
                // What is in flight may be stored once the alarm ends; nobody waits that long.
                for (_, waiter) in self.waiters.extract_if(|_, waiter| matches!(waiter, Waiter::Caller(_))) {
                    if let Waiter::Caller(reply) = waiter {
                        tell(reply, Verdict::Unknown);
                    }
                }
                Ok(())
            }
            Some(Event::ConnectionUnblocked) => {
                self.blocked = false;
                self.progress_at = Instant::now();
                self.canary_deadline = Instant::now() + RPC_DEADLINE;
                self.tell_link();
                Ok(())
            }
            Some(Event::Error(error)) => Err(Failure::Ended(error.to_string())),
            Some(_) => Ok(()),
            None => Err(Failure::Ended("no more events".to_owned())),
        }
    }

    /// The watchdog. A blocked connection is left alone: one that is dropped meanwhile keeps its thread, and still sends what it has.
    fn check(&self) -> Result<(), Failure> {
        if !self.connection.status().connected() || !self.channel.status().connected() {
            return Err(Failure::Ended("it is no longer connected".to_owned()));
        }
        if self.blocked {
            return Ok(());
        }
        if self.canaries > 0 && Instant::now() > self.canary_deadline {
            return Err(Failure::Canary("not confirmed in time"));
        }
        let deadline = self.options.confirm_deadline;
        if !self.in_flight.is_empty() && self.progress_at.elapsed() > deadline {
            return Err(Failure::NoConfirm(deadline));
        }
        Ok(())
    }

    /// Nothing new; what is in flight gets a moment to be confirmed.
    async fn drain(&mut self, events: &mut (impl Stream<Item = Event> + Unpin)) -> End {
        self.link.send_replace(Link::Down { reason: "closing".to_owned() });
        let deadline = Instant::now() + DRAIN;
        while !self.in_flight.is_empty() {
            let stepped = tokio::select! {
                Some(answer) = self.in_flight.next() => self.collect(answer).await,
                event = events.next() => self.on_event(event),
                () = tokio::time::sleep_until(deadline) => break,
            };
            if stepped.is_err() {
                break;
            }
        }
        End::Closing
    }
}
