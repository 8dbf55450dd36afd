//! The channel of the slots of one queue: consume, cancel, settle, each with a deadline. A consumer for each slot, with prefetch 1.

use std::time::Duration;

use deadpool_lapin::Object;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt, StreamExt, stream};
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::time::{sleep, timeout};

use super::RPC_DEADLINE;
use super::failure::{Failure, within};
use crate::broker::delivery::{DROPPED_PAUSE, Outcome};
use crate::broker::metrics;

const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);

/// A consumer of a slot: the slot's number, and how many it has had with this one. No two of a channel get the same tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Consumer {
    pub(super) slot: usize,
    pub(super) count: usize,
}

/// `None`: the consumer's stream has ended.
type Came = (Consumer, Option<lapin::Result<Delivery>>);

pub(super) struct SlotsChannel {
    channel: Channel,
    queue: String,
    /// Program and process, for the management UI.
    who: String,
    deliveries: SelectAll<BoxStream<'static, Came>>,
    /// Acks wait for the socket, so they are polled together with everything else instead of one after the other.
    settling: FuturesUnordered<BoxFuture<'static, bool>>,
}

impl SlotsChannel {
    pub(super) async fn open(connection: &Object, queue: &str, who: &str) -> Result<Self, Failure> {
        let channel = within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?;
        // Of each consumer, not of the channel.
        within(RPC_DEADLINE, "basic.qos", channel.basic_qos(1, BasicQosOptions::default())).await?;
        let (queue, who) = (queue.to_owned(), who.to_owned());
        let (deliveries, settling) = (SelectAll::new(), FuturesUnordered::new());
        Ok(Self { channel, queue, who, deliveries, settling })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.channel.status().connected()
    }

    pub(super) async fn consume(&mut self, consumer: Consumer) -> Result<(), Failure> {
        let (tag, options) = (self.tag(consumer), BasicConsumeOptions::default());
        let consuming =
            self.channel.basic_consume(self.queue.as_str().into(), tag.into(), options, FieldTable::default());
        let deliveries = within(RPC_DEADLINE, "basic.consume", consuming).await?;
        let until_end = deliveries.map(Some).chain(stream::once(async { None }));
        self.deliveries.push(until_end.map(move |came| (consumer, came)).boxed());
        Ok(())
    }

    /// Ends a consumer. What had been sent to it meanwhile still comes; what is out can still be settled.
    pub(super) async fn cancel(&mut self, consumer: Consumer) -> Result<(), Failure> {
        let tag = self.tag(consumer);
        let cancelled = self.channel.basic_cancel(tag.into(), BasicCancelOptions::default());
        within(RPC_DEADLINE, "basic.cancel", cancelled).await
    }

    fn tag(&self, consumer: Consumer) -> String {
        format!("{} slot {} #{}", self.who, consumer.slot, consumer.count)
    }

    /// The next delivery, while what is being settled goes on; `None` for a consumer that has ended. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<(Consumer, Option<Delivery>), Failure> {
        loop {
            tokio::select! {
                Some((consumer, came)) = self.deliveries.next() => {
                    let refused = |source| Failure::Refused { what: "consuming", source };
                    return came.transpose().map(|delivery| (consumer, delivery)).map_err(refused);
                }
                Some(written) = self.settling.next() => metrics::acked(written),
                else => std::future::pending().await,
            }
        }
    }

    /// A delivery that has come already.
    pub(super) fn next_now(&mut self) -> Option<Result<(Consumer, Option<Delivery>), Failure>> {
        self.next().now_or_never()
    }

    pub(super) fn settle(&mut self, delivery: Delivery, outcome: Outcome) {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let settling = async move {
            let written = match outcome {
                Outcome::Ack => delivery.ack(BasicAckOptions::default()).await,
                Outcome::Requeue => delivery.nack(requeue).await,
                Outcome::Dropped => {
                    sleep(DROPPED_PAUSE).await;
                    delivery.nack(requeue).await
                }
            };
            matches!(written, Ok(true))
        };
        self.settling.push(settling.boxed());
    }

    /// Writes out what is being settled.
    pub(super) async fn flush(&mut self) {
        let written = async {
            while let Some(written) = self.settling.next().await {
                metrics::acked(written);
            }
        };
        drop(timeout(FLUSH_DEADLINE, written).await);
    }

    pub(super) async fn close(self) {
        drop(timeout(CLOSE_DEADLINE, self.channel.close(200, "done".into())).await);
    }
}
