//! Asserts that what a program publishes to exists, by passive declares, which need no right and see existence only. `longshore up` may
//! declare what is missing.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use protocol::topology::{self, Exchange, Limits, Queue, Topology};

use super::RPC_DEADLINE;
use super::failure::{Failure, within};
use crate::broker::{ConnectOptions, Program};

/// A quorum queue younger than about a second loses confirmed messages, and its leader, when the broker is killed. So nothing that was just
/// declared is used before this.
const DECLARED_PAUSE: Duration = Duration::from_secs(3);

/// Asserts everything that `options` says this program publishes to, or declares it. `was_missing`: at the last look something was not
/// there, so that what is there now is fresh.
pub(super) async fn publishing(
    connection: &Connection,
    options: &ConnectOptions,
    was_missing: bool,
) -> Result<(), Failure> {
    let whole = Topology::new(&options.queues);
    let needed = Needed::new(&whole, options);
    let missing = needed.missing(connection).await?;
    if missing.is_empty() {
        if was_missing {
            tokio::time::sleep(DECLARED_PAUSE).await;
        }
        return Ok(());
    }
    if !options.declare_missing {
        return Err(Failure::Missing(missing.join(", ")));
    }
    tracing::info!(missing = missing.join(", "), "declaring what the broker lacks");
    let missing = Needed::all(&whole).missing(connection).await?;
    declare(connection, &whole, &missing).await?;
    tokio::time::sleep(DECLARED_PAUSE).await;
    Ok(())
}

/// What is asked for.
pub(super) struct Needed<'a> {
    exchanges: Vec<&'a Exchange>,
    queues: Vec<&'a Queue>,
}

impl<'a> Needed<'a> {
    fn new(whole: &'a Topology, options: &ConnectOptions) -> Self {
        let exchange = |name: &str| match options.program {
            Program::Gateway => name == topology::JOBS,
            Program::StoreSvc => name == topology::JOBS || name == topology::REJECTED,
            Program::Worker => name == topology::REJECTED,
            Program::CacheSvc => name == topology::CACHE_INVALIDATED || name == topology::REJECTED,
            Program::Up => true,
        };
        let bells: Vec<_> = options.publishes_bells().map(|queue| topology::jobs_queue(queue.as_str())).collect();
        let queue = |name: &String| options.program == Program::Up || options.declare_missing || bells.contains(name);
        Self {
            exchanges: whole.exchanges.iter().filter(|e| options.declare_missing || exchange(&e.name)).collect(),
            queues: whole.queues.iter().filter(|q| queue(&q.name)).collect(),
        }
    }

    /// The whole topology.
    pub(super) fn all(whole: &'a Topology) -> Self {
        Self { exchanges: whole.exchanges.iter().collect(), queues: whole.queues.iter().collect() }
    }

    /// Names of what does not exist.
    pub(super) async fn missing(&self, connection: &Connection) -> Result<Vec<String>, Failure> {
        let mut asserting = Asserting::on(connection);
        let mut missing = Vec::new();
        for exchange in &self.exchanges {
            if !asserting.exchange(exchange).await? {
                missing.push(exchange.name.clone());
            }
        }
        for queue in &self.queues {
            if !asserting.queue(&queue.name).await? {
                missing.push(queue.name.clone());
            }
        }
        Ok(missing)
    }
}

/// A channel for asserting: "not found" ends it, so that it is opened again when needed.
struct Asserting<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl<'a> Asserting<'a> {
    fn on(connection: &'a Connection) -> Self {
        Self { connection, channel: None }
    }

    async fn exchange(&mut self, exchange: &Exchange) -> Result<bool, Failure> {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let channel = self.channel().await?;
        let kind = kind(exchange);
        let declared = channel.exchange_declare(exchange.name.as_str().into(), kind, options, FieldTable::default());
        let declared = within(RPC_DEADLINE, "asserting an exchange", declared).await;
        self.found(declared)
    }

    async fn queue(&mut self, name: &str) -> Result<bool, Failure> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        let declared = channel.queue_declare(name.into(), options, FieldTable::default());
        let declared = within(RPC_DEADLINE, "asserting a queue", declared).await.map(drop);
        self.found(declared)
    }

    fn found(&mut self, declared: Result<(), Failure>) -> Result<bool, Failure> {
        match declared {
            Ok(()) => Ok(true),
            Err(failure) if failure.is_not_found() => {
                self.channel = None;
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn channel(&mut self) -> Result<Channel, Failure> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = within(RPC_DEADLINE, "opening a channel", self.connection.create_channel()).await?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }
}

async fn declare(connection: &Connection, whole: &Topology, missing: &[String]) -> Result<(), Failure> {
    let channel = within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await?;
    for exchange in whole.exchanges.iter().filter(|exchange| missing.contains(&exchange.name)) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let name = exchange.name.as_str().into();
        let declared = channel.exchange_declare(name, kind(exchange), options, FieldTable::default());
        within(RPC_DEADLINE, "declaring an exchange", declared).await?;
    }
    for queue in whole.queues.iter().filter(|queue| missing.contains(&queue.name)) {
        let options = QueueDeclareOptions::durable();
        let declared = channel.queue_declare(queue.name.as_str().into(), options, arguments(&queue.limits));
        within(RPC_DEADLINE, "declaring a queue", declared).await?;
    }
    for binding in &whole.bindings {
        let bound = channel.queue_bind(
            binding.queue.as_str().into(),
            binding.exchange.into(),
            binding.routing_key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(RPC_DEADLINE, "binding a queue", bound).await?;
    }
    Ok(())
}

pub(super) fn kind(exchange: &Exchange) -> ExchangeKind {
    match exchange.kind {
        topology::ExchangeKind::Direct => ExchangeKind::Direct,
        topology::ExchangeKind::Fanout => ExchangeKind::Fanout,
    }
}

/// A policy needs the management API; arguments say the same.
pub(super) fn arguments(limits: &Limits) -> FieldTable {
    let mut table = FieldTable::default();
    let mut text = |name: &str, value: &str| {
        table.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    text("x-queue-type", "quorum");
    text("x-overflow", limits.overflow.as_str());
    if let Some((_, queue)) = limits.dead_letter {
        text("x-dead-letter-exchange", "");
        text("x-dead-letter-routing-key", queue);
        text("x-dead-letter-strategy", limits.dead_letter_strategy());
    }
    let mut number = |name: &str, value: u64| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        table.insert(name.into(), AMQPValue::LongLongInt(value));
    };
    number("x-max-length", limits.max_length);
    if let Some((delivery_limit, _)) = limits.dead_letter {
        number("x-delivery-limit", delivery_limit.into());
    }
    table
}
