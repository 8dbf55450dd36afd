//! What a user may do, found out without doing it: RabbitMQ looks at the rights before anything else, so a request that must fail for another
//! reason says whether the right is there.

use lapin::options::{
    BasicConsumeOptions, ExchangeBindOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};
use protocol::topology::{self, Queue, jobs_queue, subscription_queue};

use super::RPC_DEADLINE;
use super::assert::arguments;
use super::failure::{Failure, within};
use crate::broker::{ConnectOptions, Program};

/// An exchange that nobody has: a binding to it fails, after the right to write at the other end was looked at.
const NOBODYS_EXCHANGE: &str = "longshore.nobodys";

/// Whether a queue is as the topology says.
pub(super) enum Alike {
    Yes,
    /// The broker's words about the difference.
    No(String),
    /// The user may not declare it.
    Unseen,
}

/// Compares by declaring what is there: as the definitions do, whose limits are policies, or as `longshore up` does, whose limits are arguments.
pub(super) async fn compare(connection: &Connection, queue: &Queue) -> Result<Alike, Failure> {
    let mut imported = FieldTable::default();
    imported.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let mut words = Vec::new();
    for arguments in [imported, arguments(&queue.limits)] {
        let channel = open(connection).await?;
        let declared = channel.queue_declare(queue.name.as_str().into(), QueueDeclareOptions::durable(), arguments);
        match within(RPC_DEADLINE, "declaring a queue", declared).await {
            Ok(_) => return Ok(Alike::Yes),
            Err(failure) if failure.is_access_refused() => return Ok(Alike::Unseen),
            Err(failure) if failure.is_precondition_failed() => {
                words.push(failure.reply_text());
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Alike::No(words.join("; nor as `longshore up` declares it: ")))
}

/// What of all that the program does its user may not do, each as the end of a sentence.
pub(super) async fn denied(
    connection: &Connection,
    options: &ConnectOptions,
    is_there: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Failure> {
    let program = options.program;
    let mut denied = Vec::new();
    for exchange in publishes_to(program).iter().filter(|exchange| is_there(exchange)) {
        if !may_publish(connection, exchange).await? {
            denied.push(format!("publish to {exchange}"));
        }
    }
    for queue in consumes(options).iter().filter(|queue| is_there(queue)) {
        if !may_consume(connection, queue).await? {
            denied.push(format!("consume {queue}"));
        }
    }
    if matches!(program, Program::Gateway | Program::Up) && is_there(topology::CACHE_INVALIDATED) {
        denied.extend(subscribe(connection, options).await?);
    }
    Ok(denied)
}

fn publishes_to(program: Program) -> &'static [&'static str] {
    match program {
        Program::Gateway => &[topology::JOBS],
        Program::Worker => &[topology::REJECTED],
        Program::StoreSvc => &[topology::JOBS, topology::REJECTED],
        Program::CacheSvc => &[topology::CACHE_INVALIDATED, topology::REJECTED],
        Program::Up => &[topology::JOBS, topology::CACHE_INVALIDATED, topology::REJECTED],
    }
}

fn consumes(options: &ConnectOptions) -> Vec<String> {
    let bells = options.queues.iter().map(|queue| jobs_queue(queue.as_str()));
    let one = |queue: &str| vec![queue.to_owned()];
    match options.program {
        Program::Gateway => Vec::new(),
        Program::Worker => bells.collect(),
        Program::StoreSvc => one(topology::JOBS_DEAD),
        Program::CacheSvc => one(topology::CACHE_INTAKE),
        Program::Up => bells.chain([topology::JOBS_DEAD.to_owned(), topology::CACHE_INTAKE.to_owned()]).collect(),
    }
}

/// By a binding from an exchange that is not there. The right to read that one is looked at second, so a refusal counts if it names the first.
async fn may_publish(connection: &Connection, exchange: &str) -> Result<bool, Failure> {
    let channel = open(connection).await?;
    let options = ExchangeBindOptions::default();
    let bound =
        channel.exchange_bind(exchange.into(), NOBODYS_EXCHANGE.into(), "".into(), options, FieldTable::default());
    match within(RPC_DEADLINE, "binding an exchange", bound).await {
        Err(failure) if failure.is_access_refused() => Ok(!failure.reply_text().contains(&format!("'{exchange}'"))),
        Err(failure) if failure.is_not_found() => Ok(true),
        Err(failure) => Err(failure),
        Ok(()) => Ok(true),
    }
}

/// By a consumer whose priority is no number.
async fn may_consume(connection: &Connection, queue: &str) -> Result<bool, Failure> {
    let channel = open(connection).await?;
    let mut wrong = FieldTable::default();
    wrong.insert("x-priority".into(), AMQPValue::LongString("none".into()));
    let consumed = channel.basic_consume(queue.into(), "doctor".into(), BasicConsumeOptions::default(), wrong);
    match within(RPC_DEADLINE, "consuming a queue", consumed).await {
        Err(failure) if failure.is_access_refused() => Ok(false),
        Err(failure) if failure.is_precondition_failed() => Ok(true),
        Err(failure) => Err(failure),
        // A broker that does not mind: the consumer ends with its channel.
        Ok(_) => {
            within(RPC_DEADLINE, "closing a channel", channel.close(200, "goodbye".into())).await?;
            Ok(true)
        }
    }
}

/// An exclusive queue of our own on the fanout exchange, as gateways have one.
async fn subscribe(connection: &Connection, options: &ConnectOptions) -> Result<Option<String>, Failure> {
    let channel = open(connection).await?;
    let exchange = topology::CACHE_INVALIDATED;
    let name = subscription_queue(exchange, options.program.as_str(), "doctor", rand::random());
    let declare = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let subscribed = async {
        channel.queue_declare(name.as_str().into(), declare, FieldTable::default()).await?;
        let bind = QueueBindOptions::default();
        channel.queue_bind(name.as_str().into(), exchange.into(), "".into(), bind, FieldTable::default()).await?;
        channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await
    };
    match within(RPC_DEADLINE, "subscribing", subscribed).await {
        Ok(_) => Ok(None),
        Err(failure) if failure.is_access_refused() => Ok(Some(format!("subscribe to {exchange}"))),
        Err(failure) => Err(failure),
    }
}

async fn open(connection: &Connection) -> Result<Channel, Failure> {
    within(RPC_DEADLINE, "opening a channel", connection.create_channel()).await
}
