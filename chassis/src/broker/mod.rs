//! The broker behind one port with two adapters: RabbitMQ over AMQP, and queues in memory for `longshore up`. Publishes end in a typed
//! verdict within a deadline, slot consumers and subscriptions survive outages. Only this module names lapin.
//!
//! Nothing here is a promise about a job: the store is the truth, can ring every bell again, and a claim makes duplicates harmless.

mod amqp;
#[cfg(feature = "testing")]
pub mod bare;
mod delivery;
mod embedded;
mod message;
mod metrics;
mod options;
mod subscription;
mod watched;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use protocol::key::QueueName;
use tokio::sync::watch;

use crate::finding::Finding;

pub use delivery::{Delivery, SlotConsumer};
pub use embedded::EmbeddedBroker;
pub use message::Message;
pub use options::{AmqpUrl, ConnectError, ConnectOptions, Program, Source, SourceError};
pub use subscription::{Event, Subscription};
pub use watched::watch_health;

#[cfg(feature = "scratch")]
pub(crate) use amqp::{Place, probe};
pub(crate) use subscription::{FeedSender, feed};

/// Silences lapin in the log: its errors come back as values and are said in our own words, once. By itself it says each of them three
/// times at each attempt to connect.
pub(crate) const LOG_FILTER: &str = "lapin=off";

/// A connected broker, shared by a whole program.
pub type Broker = Arc<dyn Port>;

/// How one publish ended. It is known within the publish deadline (5 s by default), whatever the broker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The broker has it in a queue, on disk where it has one.
    Sent,
    /// No queue is bound for the routing key; only a mandatory message gets this verdict.
    Unroutable,
    /// The broker refused it: the queue is full.
    Rejected,
    /// It was handed over and no answer came: it may be in the queue, or come to be in it later.
    Unknown,
    /// It was not handed over: no link, a blocked broker, or too many messages already waiting here.
    Busy,
}

impl Verdict {
    /// The label of metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unroutable => "unroutable",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Busy => "busy",
        }
    }
}

/// The publishing side's view of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Publishes answer `Busy` at once. The reason is made for people.
    Down { reason: String },
    /// A canary came back confirmed from every queue that this program publishes to.
    Up,
    /// The broker has an alarm (memory, disk) and reads nothing more: publishes answer `Busy` at once.
    Blocked,
}

/// What the programs ask of a broker.
pub trait Port: Send + Sync + std::fmt::Debug {
    /// Publishes one message. Dropping the future does not take the message back.
    fn publish(&self, message: Message) -> BoxFuture<'static, Verdict>;

    /// A slot: at most one delivery is out at a time, and none waits behind it.
    fn consume(&self, queue: &str) -> SlotConsumer;

    /// Everything published to a fanout exchange from now on, through an exclusive queue of a fresh name.
    fn subscribe(&self, exchange: &str) -> Subscription;

    /// How many messages are ready in the queue, or `None` when the broker cannot be asked.
    fn depth(&self, queue: &str) -> BoxFuture<'static, Option<u64>>;

    /// Puts what is not ours aside, in `jobs.rejected` or `cache.rejected`: the body unchanged, the reason in a header. Acknowledge the
    /// delivery only after `Sent`.
    fn park(&self, queue: &'static str, original: &Delivery, reason: &str) -> BoxFuture<'static, Verdict> {
        self.publish(Message::parked(queue, original, reason))
    }

    /// The state of the publishing side; `Up` only after a confirmed canary.
    fn link(&self) -> watch::Receiver<Link>;

    /// What OpenTelemetry's conventions call it.
    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    /// Writes out what was acknowledged and closes the connections, within 2 s. Consumers stay silent afterwards, publishes are `Busy`.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Looks at a RabbitMQ as this program would use it with these job queues: whether it is there, lets the user in, has what it should have with
/// the right arguments, and takes and confirms messages; and what the user may do. Nothing is left behind but canaries.
pub async fn examine(url: &AmqpUrl, program: Program, queues: &[QueueName]) -> Vec<Finding> {
    amqp::examine::examine(&url.uri, program, queues).await
}

/// Starts the adapter for a source. It returns at once, also when the broker is away: the link says when it came.
///
/// # Errors
/// When the thread for AMQP cannot be started.
pub fn connect(source: &Source, options: ConnectOptions) -> Result<Broker, ConnectError> {
    match source {
        Source::Embedded(broker) => Ok(Arc::new(broker.clone())),
        Source::Url(url) => amqp::connect(&url.uri, options),
    }
}
