//! What RabbitMQ and lapin can do together when there is nothing else: the measure of every job through this broker. Publish, confirm,
//! consume, acknowledge, in one process, by one task that keeps a window of messages open.

use std::task::Poll;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};

const BODY: [u8; 200] = [b'x'; 200];
/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;
const CONSUMER: &str = "bare";

/// Sends `messages` through the quorum queue `queue`, to be found under `url`, and returns when all are confirmed, consumed and acknowledged.
/// At most `window` are between their publish and their delivery, and as many are prefetched. What lay in the queue before is dropped.
///
/// # Errors
/// When the broker refuses, returns or loses one.
pub async fn round_trips(url: &str, queue: &str, messages: u64, window: u16) -> anyhow::Result<()> {
    let connect = || Connection::connect(url, ConnectionProperties::default());
    let (publishing, consuming) = (connect().await?, connect().await?);
    let channel = publishing.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let receiving = consuming.create_channel().await?;
    receiving.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
    receiving.basic_qos(window, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let deliveries = receiving.basic_consume(queue.into(), CONSUMER.into(), options, FieldTable::default()).await?;
    run(&channel, deliveries, queue, messages, u64::from(window)).await?;
    // The answer is behind all acknowledgements on the same channel; without it, closing would overtake the last of them.
    receiving.basic_cancel(CONSUMER.into(), BasicCancelOptions::default()).await?;
    publishing.close(200, "done".into()).await?;
    consuming.close(200, "done".into()).await?;
    Ok(())
}

async fn run(
    channel: &Channel,
    mut deliveries: Consumer,
    queue: &str,
    messages: u64,
    window: u64,
) -> anyhow::Result<()> {
    let (mut confirms, mut acks) = (FuturesUnordered::new(), FuturesUnordered::new());
    let (mut sent, mut confirmed, mut received, mut acked) = (0, 0, 0, 0);
    while confirmed < messages || acked < messages {
        let may_send = sent < messages && sent < confirmed + window && sent < received + window;
        tokio::select! {
            Some(confirm) = confirms.next() => {
                in_the_queue(&confirm)?;
                confirmed += 1;
            }
            delivery = deliveries.next() => {
                let delivery = delivery.ok_or_else(|| anyhow::anyhow!("the broker ended the consumer"))??;
                received += 1;
                acks.push(async move { delivery.ack(BasicAckOptions::default()).await });
            }
            Some(ack) = acks.next() => {
                anyhow::ensure!(ack?, "an acknowledgement was not written");
                acked += 1;
            }
            () = std::future::ready(()), if may_send => {
                sent += 1;
                let mut publish = publish(channel.clone(), queue.to_owned());
                // Polled at once, so that the frames leave in order and together.
                match futures_util::poll!(&mut publish) {
                    Poll::Pending => confirms.push(publish),
                    Poll::Ready(confirm) => {
                        in_the_queue(&confirm)?;
                        confirmed += 1;
                    }
                }
            }
        }
    }
    Ok(())
}

fn publish(channel: Channel, queue: String) -> BoxFuture<'static, lapin::Result<Confirmation>> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    Box::pin(async move { channel.basic_publish("".into(), queue.into(), options, &BODY, properties).await?.await })
}

fn in_the_queue(confirm: &lapin::Result<Confirmation>) -> anyhow::Result<()> {
    anyhow::ensure!(matches!(confirm, Ok(Confirmation::Ack(None))), "a message did not reach the queue: {confirm:?}");
    Ok(())
}
