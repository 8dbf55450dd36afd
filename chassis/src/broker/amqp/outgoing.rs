//! Messages in AMQP's own terms, both ways.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use protocol::envelope::KIND_CANARY;
use protocol::topology;

use super::attribution::Key;
use crate::broker::Message;

const PERSISTENT: u8 = 2;
/// A canary that no consumer took leaves its queue after this long, in ms.
const CANARY_EXPIRATION_MS: &str = "1000";

/// A message that fits into AMQP: exchange, routing key, id and kind have at most 255 bytes.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) body: Bytes,
    pub(super) options: BasicPublishOptions,
    pub(super) properties: BasicProperties,
}

impl Outgoing {
    /// `None` if a name is too long. `who` sends it, for the management UI.
    pub(super) fn new(message: Message, who: &str) -> Option<Self> {
        let short = |text: &str| ShortString::try_new(text).ok();
        let mut properties = BasicProperties::default().with_app_id(short(who)?);
        if !message.message_id.is_empty() {
            properties = properties.with_message_id(short(&message.message_id)?);
        }
        if !message.kind.is_empty() {
            properties = properties.with_type(short(&message.kind)?);
        }
        if let Some(content_type) = message.content_type {
            properties = properties.with_content_type(short(content_type)?);
        }
        if message.persistent {
            properties = properties.with_delivery_mode(PERSISTENT);
        }
        let mut headers = FieldTable::default();
        for (name, value) in message.headers {
            headers.insert(short(&name)?, AMQPValue::LongString(LongString::from(value)));
        }
        Some(Self {
            exchange: short(&message.exchange)?,
            routing_key: short(&message.routing_key)?,
            body: message.body,
            options: BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() },
            properties: properties.with_headers(headers),
        })
    }

    /// Proves that a job queue takes and confirms messages, which a passive declare does not: a queue that lost its leader still answers
    /// it. It goes through the exchange like a bell, so the binding is proven too. A slot consumer drops it unseen; without a consumer
    /// it expires after a second, which in a queue with a dead-letter target means `jobs.dead`, where the store's consumer drops it or the
    /// bound of that queue does. So canaries cannot pile up in any queue.
    pub(super) fn queue_canary(queue: &str, who: &str) -> Self {
        Self::canary(topology::JOBS, queue, true, who)
    }

    /// For a program that publishes to no job queue: proves the link and the exchange; no queue is bound for its key.
    pub(super) fn exchange_canary(who: &str) -> Self {
        Self::canary(topology::REJECTED, KIND_CANARY, false, who)
    }

    fn canary(exchange: &str, routing_key: &str, mandatory: bool, who: &str) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            body: Bytes::from_static(b"{}"),
            options: BasicPublishOptions { mandatory, ..BasicPublishOptions::default() },
            properties: BasicProperties::default()
                .with_type(KIND_CANARY.into())
                .with_app_id(who.into())
                .with_expiration(CANARY_EXPIRATION_MS.into()),
        }
    }

    /// Gives it a correlation id, which names the publish within its session: a returned message carries it back, and unlike the message id
    /// (a job's) no two publishes share it.
    pub(super) fn named(self, key: Key) -> Self {
        Self { properties: self.properties.with_correlation_id(key.to_string().into()), ..self }
    }
}

/// Which publish a returned message was.
pub(super) fn returned_key(properties: &BasicProperties) -> Option<Key> {
    properties.correlation_id().as_ref()?.as_str().parse().ok()
}

pub(super) fn is_canary(properties: &BasicProperties) -> bool {
    properties.kind().as_ref().is_some_and(|kind| kind.as_str() == KIND_CANARY)
}

/// Headers that are text or numbers; what is nested (`x-death`) stays behind.
pub(super) fn text_headers(properties: &BasicProperties) -> Vec<(String, String)> {
    let Some(headers) = properties.headers() else { return Vec::new() };
    let pairs = headers.inner().iter();
    pairs.filter_map(|(name, value)| text(value).map(|value| (name.as_str().to_owned(), value))).collect()
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::ShortShortInt(value) => Some(value.to_string()),
        AMQPValue::ShortShortUInt(value) => Some(value.to_string()),
        AMQPValue::ShortInt(value) => Some(value.to_string()),
        AMQPValue::ShortUInt(value) => Some(value.to_string()),
        AMQPValue::LongInt(value) => Some(value.to_string()),
        AMQPValue::LongUInt(value) => Some(value.to_string()),
        AMQPValue::LongLongInt(value) => Some(value.to_string()),
        _ => None,
    }
}
