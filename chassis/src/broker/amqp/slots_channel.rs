//! The channel of one slot: consume, cancel, settle, each with a deadline.

use std::time::Duration;

use deadpool_lapin::Object;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::{sleep, timeout};

use super::RPC_DEADLINE;
use super::failure::{Failure, within};
use crate::broker::delivery::{DROPPED_PAUSE, Outcome};
use crate::broker::metrics;

const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);

pub(super) struct SlotChannel {
    channel: Channel,
    queue: String,
    /// Who consumes.
    who: String,
    /// How often it began to: no two consumers of a channel get the same tag.
    begun: usize,
    consumer: Option<Consumer>,
    /// Acks wait for the socket, so they are polled together with everything else instead of one after the other.
    settling: FuturesUnordered<BoxFuture<'static, bool>>,
}

impl SlotChannel {
    pub(super) async fn open(connection: &Object, queue: &str, who: &str) -> Result<Self, Failure> {
        let channel = within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?;
        within(RPC_DEADLINE, "basic.qos", channel.basic_qos(1, BasicQosOptions::default())).await?;
        let (queue, who) = (queue.to_owned(), who.to_owned());
        Ok(Self { channel, queue, who, begun: 0, consumer: None, settling: FuturesUnordered::new() })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.channel.status().connected()
    }

    pub(super) fn is_consuming(&self) -> bool {
        self.consumer.is_some()
    }

    pub(super) async fn consume(&mut self) -> Result<(), Failure> {
        self.begun += 1;
        let tag = format!("{} #{}", self.who, self.begun);
        let options = BasicConsumeOptions::default();
        let consumer =
            self.channel.basic_consume(self.queue.as_str().into(), tag.into(), options, FieldTable::default());
        self.consumer = Some(within(RPC_DEADLINE, "basic.consume", consumer).await?);
        Ok(())
    }

    /// Ends consuming. What had been sent meanwhile goes back to the queue; what is out can still be settled.
    pub(super) async fn cancel(&mut self) -> Result<(), Failure> {
        let Some(mut consumer) = self.consumer.take() else { return Ok(()) };
        let cancelled = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        within(RPC_DEADLINE, "basic.cancel", cancelled).await?;
        // The broker has answered, so the stream holds all that will ever come, and ends.
        while let Ok(Some(Ok(stray))) = timeout(CLOSE_DEADLINE, consumer.next()).await {
            self.settle(stray, Outcome::Requeue);
        }
        Ok(())
    }

    /// The next delivery, while what is being settled goes on. A stream that ends without an error (the queue was deleted) is a failure
    /// too. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Delivery, Failure> {
        loop {
            tokio::select! {
                next = next_of(&mut self.consumer) => return match next {
                    Some(Ok(delivery)) => Ok(delivery),
                    Some(Err(source)) => Err(Failure::Refused { what: "consuming", source }),
                    None => Err(Failure::Ended("the broker ended the consumer".to_owned())),
                },
                Some(written) = self.settling.next() => metrics::acked(written),
            }
        }
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

async fn next_of(consumer: &mut Option<Consumer>) -> Option<lapin::Result<Delivery>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}
