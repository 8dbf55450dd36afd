//! What RabbitMQ and lapin can do together when there is nothing else: the measure of every job through this broker. Publish, confirm,
//! consume, acknowledge, in one process, by one task that keeps a window of messages open.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

const BODY: [u8; 200] = [b'x'; 200];
/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Sends `messages` through the quorum queue `queue`, to be found under `url`, and returns when all are confirmed, consumed and acknowledged.
/// At most `window` are between their publish and their delivery, and as many are prefetched.
///
/// # Errors
/// When the broker refuses, returns or loses one.
pub async fn round_trips(url: &str, queue: &str, messages: u64, window: u16) -> anyhow::Result<()> {
    let connect = || Connection::connect(url, ConnectionProperties::default());
    let (publishing, consuming) = (connect().await?, connect().await?);
    let channel = publishing.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let receiving = consuming.create_channel().await?;
    receiving.basic_qos(window, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = receiving.basic_consume(queue.into(), "bare".into(), options, FieldTable::default()).await?;
    let (mut confirms, mut acks) = (FuturesUnordered::new(), FuturesUnordered::new());
    let (mut sent, mut confirmed, mut received, mut acked) = (0, 0, 0, 0);
    while confirmed < messages || acked < messages {
        tokio::select! {
            Some(confirm) = confirms.next() => {
                let confirm: lapin::Result<Confirmation> = confirm;
                anyhow::ensure!(matches!(confirm?, Confirmation::Ack(None)), "a message was refused or returned");
                confirmed += 1;
            }
            Some(delivery) = deliveries.next() => {
                let delivery = delivery?;
                received += 1;
                acks.push(async move { delivery.ack(BasicAckOptions::default()).await });
            }
            Some(ack) = acks.next() => {
                let ack: lapin::Result<bool> = ack;
                ack?;
                acked += 1;
            }
            () = std::future::ready(()), if sent < messages && sent - confirmed < u64::from(window) && sent - received < u64::from(window) => {
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
                let channel = channel.clone();
                let mut publish = Box::pin(async move { channel.basic_publish("".into(), queue.into(), options, &BODY, properties).await?.await });
                // Once at once, so that the frames leave in order and together.
                match futures_util::poll!(&mut publish) {
                    std::task::Poll::Ready(confirm) => { anyhow::ensure!(matches!(confirm?, Confirmation::Ack(None)), "a message was refused or returned"); confirmed += 1; }
                    std::task::Poll::Pending => confirms.push(publish),
                }
                sent += 1;
            }
        }
    }
    // What closes the channel is behind the last acknowledgement.
    receiving.close(200, "done".into()).await?;
    publishing.close(200, "done".into()).await?;
    consuming.close(200, "done".into()).await?;
    Ok(())
}
