//! The port over AMQP 0-9-1. Each program has one connection for publishing and one for consuming, owned by tasks on a runtime of their
//! own, because busy handlers would starve the heartbeats.
//!
//! lapin's recovery stays off: it repeats bindings, leaves consumers hanging after a channel error, and keeps confirms waiting through an
//! outage. Any error and any end of a stream means a new session here.

mod assert;
mod attribution;
mod connector;
mod consuming;
mod depth;
pub(super) mod examine;
mod failure;
mod fanout;
mod outgoing;
mod probe;
mod publisher;
mod rights;
mod session;
mod sharing;
mod slot;
mod slots;
mod slots_channel;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::uri::AMQPUri;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Broker, ConnectError, ConnectOptions, Link, Message, Port, SlotConsumer, Subscription, Verdict, feed, metrics,
};
use crate::task::Tasks;
use connector::Connector;
use consuming::{Consuming, Shown};
use depth::{Ask, Depths};
use fanout::Fanout;
use outgoing::Outgoing;
use publisher::{Publisher, Request};
use slot::{AmqpSlot, Board};
use slots::SlotsTask;

#[cfg(feature = "scratch")]
#[cfg(any(test, feature = "scratch"))]
pub(crate) use probe::{Place, probe};

/// A broker that has not answered a method for this long is given up.
const RPC_DEADLINE: Duration = Duration::from_secs(5);
/// Closing waits this long for the consumers, and again for the connections.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
const ASKS_MAX: usize = 64;

#[derive(Debug)]
struct AmqpBroker {
    options: Arc<ConnectOptions>,
    requests: mpsc::Sender<Request>,
    asks: mpsc::Sender<Ask>,
    link: Arc<watch::Sender<Link>>,
    sessions: watch::Receiver<Shown>,
    /// Given out so far, to number the next one.
    slots: AtomicUsize,
    /// By queue: where its slots are told to the task that keeps their channel.
    boards: Mutex<BTreeMap<String, Arc<Board>>>,
    /// Slots, subscriptions, asks: they end first, while the connections still stand.
    consumers: Tasks,
    consumers_closing: CancellationToken,
    connections: Tasks,
    connections_closing: CancellationToken,
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

pub(super) fn connect(uri: &AMQPUri, options: ConnectOptions) -> Result<Broker, ConnectError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("amqp")
        .enable_all()
        .build()
        .map_err(ConnectError::Runtime)?;
    let handle = runtime.handle().clone();
    let options = Arc::new(options);
    let connector = |side: &str| Connector::new(uri, &options, side, handle.clone());
    let (requests, requested) = mpsc::channel(options.waiting_max);
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let link = Arc::new(watch::Sender::new(Link::Down { reason: "connecting".to_owned() }));
    let (shown, sessions) = watch::channel(None);
    let (consumers, connections) = (Tasks::on(handle.clone()), Tasks::on(handle.clone()));
    let (consumers_closing, connections_closing) = (CancellationToken::new(), CancellationToken::new());
    let publisher = Publisher {
        connector: connector("publish"),
        options: options.clone(),
        requests: requested,
        link: link.clone(),
        closing: connections_closing.clone(),
        was_missing: false,
    };
    let consuming = Consuming {
        connector: connector("consume"),
        options: options.clone(),
        shown,
        closing: connections_closing.clone(),
    };
    drop(connections.spawn("amqp publish", publisher.run()));
    drop(connections.spawn("amqp consume", consuming.run()));
    drop(consumers.spawn("amqp depth", Depths { asks: asked, sessions: sessions.clone() }.run()));
    Ok(Arc::new(AmqpBroker {
        options,
        requests,
        asks,
        link,
        sessions,
        slots: AtomicUsize::new(0),
        boards: Mutex::default(),
        consumers,
        consumers_closing,
        connections,
        connections_closing,
        runtime: Some(runtime),
    }))
}

/// Answers somebody who may no longer be there.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::trace!("nobody waits for the answer any more");
    }
}

impl Port for AmqpBroker {
    fn publish(&self, message: Message) -> BoxFuture<'static, Verdict> {
        let (asked_at, deadline) = (Instant::now(), self.options.publish_deadline);
        let handed = self.hand_over(message);
        async move {
            let verdict = match handed {
                // The owner drops the reply when its session ends: what was in flight is unknown.
                Ok(answer) => {
                    timeout(deadline, answer).await.map_or(Verdict::Unknown, |v| v.unwrap_or(Verdict::Unknown))
                }
                Err(verdict) => verdict,
            };
            metrics::published(verdict);
            metrics::confirmed(asked_at.elapsed());
            verdict
        }
        .boxed()
    }

    fn consume(&self, queue: &str) -> SlotConsumer {
        let number = self.slots.fetch_add(1, Ordering::Relaxed) + 1;
        SlotConsumer::new(AmqpSlot::new(number, &self.board(queue)))
    }

    fn subscribe(&self, exchange: &str) -> Subscription {
        let (sender, subscription) = feed();
        let fanout = Fanout {
            exchange: exchange.to_owned(),
            feed: sender,
            sessions: self.sessions.clone(),
            options: self.options.clone(),
            closing: self.consumers_closing.clone(),
        };
        drop(self.consumers.spawn("amqp fanout", fanout.run()));
        subscription
    }

    fn depth(&self, queue: &str) -> BoxFuture<'static, Option<u64>> {
        let (reply, answer) = oneshot::channel();
        let asked = self.asks.try_send(Ask { queue: queue.to_owned(), reply });
        async move {
            asked.ok()?;
            timeout(RPC_DEADLINE, answer).await.ok()?.ok()?
        }
        .boxed()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (consumers, connections) = (self.consumers.clone(), self.connections.clone());
        let (consumers_closing, connections_closing) =
            (self.consumers_closing.clone(), self.connections_closing.clone());
        async move {
            consumers_closing.cancel();
            if let Err(busy) = consumers.join(CLOSE_DEADLINE).await {
                tracing::debug!(%busy, "consumers did not end in time");
            }
            connections_closing.cancel();
            if let Err(busy) = connections.join(CLOSE_DEADLINE).await {
                tracing::warn!(%busy, "connections did not close in time");
            }
        }
        .boxed()
    }
}

impl AmqpBroker {
    /// The board of a queue; with its first slot begins the task that keeps their channel.
    fn board(&self, queue: &str) -> Arc<Board> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        let board = boards.entry(queue.to_owned()).or_insert_with(|| {
            let board = Arc::new(Board::default());
            let (sessions, closing) = (self.sessions.clone(), self.consumers_closing.clone());
            let task = SlotsTask::new(queue, Arc::clone(&board), &self.options, sessions, closing);
            drop(self.consumers.spawn("amqp slots", task.run()));
            board
        });
        Arc::clone(board)
    }

    fn hand_over(&self, message: Message) -> Result<oneshot::Receiver<Verdict>, Verdict> {
        if *self.link.borrow() != Link::Up {
            return Err(Verdict::Busy);
        }
        let Some(outgoing) = Outgoing::new(message, &self.options.who()) else {
            tracing::error!("a name in a message is longer than 255 bytes, so AMQP cannot carry it");
            return Err(Verdict::Rejected);
        };
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { outgoing, reply }).map_err(|_| Verdict::Busy)?;
        Ok(answer)
    }
}

impl Drop for AmqpBroker {
    fn drop(&mut self) {
        self.consumers_closing.cancel();
        self.connections_closing.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
