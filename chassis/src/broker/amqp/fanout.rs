//! A fanout subscription over AMQP: an exclusive queue of a fresh name for each attempt, and a gap each time it begins anew.

use std::sync::Arc;
use std::time::Duration;

use deadpool_lapin::Object;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use protocol::topology;
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::RPC_DEADLINE;
use super::consuming::{Shown, shown};
use super::failure::{Failure, within};
use crate::broker::{ConnectOptions, FeedSender, metrics};

/// Unacknowledged events at a time: it bounds what lapin holds for a reader that is behind.
const PREFETCH: u16 = 512;
/// Acknowledged together. Losing or repeating an event is no harm here, so `multiple` is right.
const ACK_EVERY: usize = 256;
/// Bound of the queue in the broker while this process is frozen. What it drops shows as a jump in the events' numbers, and correctness
/// rests on the renewals alone.
const QUEUED_MAX: i64 = 100_000;
const TICK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Fanout {
    pub(super) exchange: String,
    pub(super) feed: FeedSender,
    pub(super) sessions: watch::Receiver<Shown>,
    pub(super) options: Arc<ConnectOptions>,
    pub(super) closing: CancellationToken,
}

impl Fanout {
    pub(super) async fn run(mut self) {
        let (feed, closing) = (self.feed.clone(), self.closing.clone());
        tokio::select! {
            () = feed.closed() => {}
            () = closing.cancelled() => {}
            () = self.sessions() => {}
        }
    }

    async fn sessions(&mut self) {
        let mut backoff = self.options.pauses();
        while let Some(connection) = shown(&mut self.sessions).await {
            match self.begin(&connection).await {
                Ok((channel, consumer)) => {
                    backoff.reset();
                    self.feed.gap();
                    self.follow(&channel, consumer).await;
                    drop(timeout(RPC_DEADLINE, channel.close(200, "done".into())).await);
                }
                Err(failure) => tracing::warn!(exchange = self.exchange, %failure, "cannot subscribe"),
            }
            drop(connection);
            tokio::time::sleep(backoff.next_random()).await;
        }
    }

    async fn begin(&self, connection: &Object) -> Result<(Channel, Consumer), Failure> {
        let (program, name) = (self.options.program.as_str(), self.options.short_name());
        let queue = topology::subscription_queue(&self.exchange, program, name, rand::random());
        let channel = within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?;
        let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        within(RPC_DEADLINE, "basic.qos", qos).await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(QUEUED_MAX));
        let declared = channel.queue_declare(queue.as_str().into(), options, arguments);
        within(RPC_DEADLINE, "declaring an exclusive queue", declared).await?;
        let bound = channel.queue_bind(
            queue.as_str().into(),
            self.exchange.as_str().into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(RPC_DEADLINE, "binding an exclusive queue", bound).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(queue.as_str().into(), self.options.who().into(), options, FieldTable::default());
        let consumer = within(RPC_DEADLINE, "consuming an exclusive queue", consumer).await?;
        Ok((channel, consumer))
    }

    /// Until the stream ends, with or without an error.
    async fn follow(&self, channel: &Channel, mut consumer: Consumer) {
        let mut tick = interval(TICK);
        loop {
            let first = tokio::select! {
                next = consumer.next() => match next {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(_)) | None => return,
                },
                _ = tick.tick() => {
                    if !channel.status().connected() {
                        return;
                    }
                    continue;
                }
            };
            let mut last = self.hand_on(first);
            for _ in 1..ACK_EVERY {
                let Some(Some(Ok(delivery))) = consumer.next().now_or_never() else { break };
                last = self.hand_on(delivery);
            }
            if timeout(RPC_DEADLINE, last.ack(BasicAckOptions { multiple: true })).await.is_err() {
                return;
            }
        }
    }

    fn hand_on(&self, mut delivery: Delivery) -> Delivery {
        metrics::deliveries(&self.exchange).increment(1);
        self.feed.message(std::mem::take(&mut delivery.data).into());
        delivery
    }
}
