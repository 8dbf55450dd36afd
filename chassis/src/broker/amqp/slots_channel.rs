//! The channel of the slots of one queue: consume, cancel, settle, each with a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deadpool_lapin::Object;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt, StreamExt, stream};
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::time::{Instant, sleep, timeout};

use super::RPC_DEADLINE;
use super::failure::{Failure, within};
use super::sharing::ConsumerId;
use crate::broker::delivery::DROPPED_PAUSE;
use crate::broker::metrics;

const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);
/// A consumer on which nothing came for so long, though a slot is free, is begun anew; when nothing is out, on a new channel. When a queue is
/// deleted and there again at once, RabbitMQ 3.10 begins the consumer anew by itself, says nothing, and then drops what it delivers to it: it
/// stays unacknowledged, and nobody can see it from here. Closing the channel gives it back.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// `None`: the consumer's stream has ended.
type Came = (ConsumerId, Option<lapin::Result<Delivery>>);

pub(super) struct SlotsChannel {
    channel: Channel,
    queue: String,
    /// Program and process, for the management UI.
    who: String,
    deliveries: SelectAll<BoxStream<'static, Came>>,
    /// What has come and is not settled, by delivery tag.
    unsettled: BTreeSet<u64>,
    /// Acks wait for the socket, so they are polled together with everything else instead of one after the other.
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
    /// When something came on each consumer, or it was begun.
    last_came: BTreeMap<ConsumerId, Instant>,
}

/// What was told to the broker of a delivery, and of `count - 1` before it.
struct Settled {
    tag: u64,
    count: u64,
    written: bool,
}

#[derive(Clone, Copy)]
enum Settle {
    Ack { multiple: bool },
    Requeue { after: Duration },
}

impl SlotsChannel {
    pub(super) async fn open(connection: &Object, queue: &str, who: &str) -> Result<Self, Failure> {
        let channel = within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?;
        let (queue, who) = (queue.to_owned(), who.to_owned());
        let (deliveries, settling) = (SelectAll::new(), FuturesUnordered::new());
        let (unsettled, last_came) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { channel, queue, who, deliveries, unsettled, settling, last_came })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.channel.status().connected()
    }

    /// The consumers that may be deaf: nothing came for long.
    pub(super) fn quiet(&self) -> Vec<ConsumerId> {
        let quiet = self.last_came.iter().filter(|(_, came)| came.elapsed() >= QUIET_MAX);
        quiet.map(|(consumer, _)| *consumer).collect()
    }

    /// Whether nobody would miss the channel.
    pub(super) fn is_idle(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Begins a consumer that is sent at most so many deliveries which are not settled.
    pub(super) async fn consume(&mut self, consumer: ConsumerId, prefetch: u16) -> Result<(), Failure> {
        // Of the consumers that begin from now on, not of the channel.
        let qos = self.channel.basic_qos(prefetch, BasicQosOptions::default());
        within(RPC_DEADLINE, "basic.qos", qos).await?;
        let (tag, options) = (self.tag(consumer), BasicConsumeOptions::default());
        let consuming =
            self.channel.basic_consume(self.queue.as_str().into(), tag.into(), options, FieldTable::default());
        let deliveries = within(RPC_DEADLINE, "basic.consume", consuming).await?;
        let until_end = deliveries.map(Some).chain(stream::once(async { None }));
        self.last_came.insert(consumer, Instant::now());
        self.deliveries.push(until_end.map(move |came| (consumer, came)).boxed());
        Ok(())
    }

    /// Ends a consumer. What had been sent to it meanwhile still comes, then its end; what is out can still be settled.
    pub(super) async fn cancel(&mut self, consumer: ConsumerId) -> Result<(), Failure> {
        let tag = self.tag(consumer);
        let cancelled = self.channel.basic_cancel(tag.into(), BasicCancelOptions::default());
        within(RPC_DEADLINE, "basic.cancel", cancelled).await
    }

    fn tag(&self, consumer: ConsumerId) -> String {
        format!("{} #{consumer}", self.who)
    }

    /// The next delivery, while what is being settled goes on; `None` for a consumer that has ended. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<(ConsumerId, Option<Delivery>), Failure> {
        loop {
            tokio::select! {
                Some((consumer, came)) = self.deliveries.next() => {
                    let refused = |source| Failure::Refused { what: "consuming", source };
                    let delivery = came.transpose().map_err(refused)?;
                    match delivery {
                        Some(_) => self.last_came.insert(consumer, Instant::now()),
                        None => self.last_came.remove(&consumer),
                    };
                    self.unsettled.extend(delivery.iter().map(|delivery| delivery.delivery_tag));
                    return Ok((consumer, delivery));
                }
                Some(settled) = self.settling.next() => self.note(&settled),
                else => std::future::pending().await,
            }
        }
    }

    /// A delivery that has come already.
    pub(super) fn next_now(&mut self) -> Option<Result<(ConsumerId, Option<Delivery>), Failure>> {
        self.next().now_or_never()
    }

    /// Acknowledges deliveries; those before which nothing else is out with one frame.
    pub(super) fn ack(&mut self, mut tags: Vec<u64>) {
        tags.sort_unstable();
        let oldest = tags.iter().zip(&self.unsettled).take_while(|(tag, oldest)| tag == oldest).count();
        let (together, single) = tags.split_at(oldest);
        if let Some(last) = together.last() {
            self.settle(*last, together.len() as u64, Settle::Ack { multiple: true });
        }
        for tag in single {
            self.settle(*tag, 1, Settle::Ack { multiple: false });
        }
        for tag in &tags {
            self.unsettled.remove(tag);
        }
    }

    /// Back to the queue.
    pub(super) fn requeue(&mut self, tag: u64) {
        if self.unsettled.remove(&tag) {
            self.settle(tag, 1, Settle::Requeue { after: Duration::ZERO });
        }
    }

    /// Back to the queue after a pause. It stays unsettled, so that no ack includes it meanwhile.
    pub(super) fn requeue_later(&mut self, tag: u64) {
        self.settle(tag, 1, Settle::Requeue { after: DROPPED_PAUSE });
    }

    /// Polled once here, in which lapin queues the frame: so the frames are in the order of the calls, and no ack of many overtakes a requeue.
    fn settle(&mut self, tag: u64, count: u64, settle: Settle) {
        let channel = self.channel.clone();
        let mut settling = async move {
            let written = match settle {
                Settle::Ack { multiple } => channel.basic_ack(tag, BasicAckOptions { multiple }).await,
                Settle::Requeue { after } => {
                    if !after.is_zero() {
                        sleep(after).await;
                    }
                    let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                    channel.basic_nack(tag, options).await
                }
            };
            Settled { tag, count, written: written.is_ok() }
        }
        .boxed();
        match (&mut settling).now_or_never() {
            Some(settled) => self.note(&settled),
            None => self.settling.push(settling),
        }
    }

    fn note(&mut self, settled: &Settled) {
        self.unsettled.remove(&settled.tag);
        metrics::acked(settled.count, settled.written);
    }

    /// Writes out what is being settled.
    pub(super) async fn flush(&mut self) {
        let written = async {
            while let Some(settled) = self.settling.next().await {
                self.note(&settled);
            }
        };
        drop(timeout(FLUSH_DEADLINE, written).await);
    }

    pub(super) async fn close(self) {
        drop(timeout(CLOSE_DEADLINE, self.channel.close(200, "done".into())).await);
    }
}
