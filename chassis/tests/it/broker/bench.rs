//! What a conformance check is given: connected brokers of either adapter, and the faults that both can show.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chassis::broker::{
    Broker, ConnectOptions, Delivery, EmbeddedBroker, Link, Message, Program, SlotConsumer, Source, Verdict, connect,
};
use chassis::testing::rabbit::{NodeConfig, ScratchNode};
use protocol::envelope::Bell;
use protocol::ids::{Dispatch, JobId};
use protocol::key::{QueueName, TaskName};
use protocol::time::Timestamp;
use protocol::topology::{self, Topology};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::proxy::Proxy;

/// Long enough for a reconnect on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The job queue of the checks, and the broker queue behind it.
pub(crate) const QUEUE: &str = "work";
pub(crate) const JOBS_QUEUE: &str = "jobs.work";

static SHARED: OnceCell<ScratchNode> = OnceCell::const_new();
static FAULTY: OnceCell<Mutex<ScratchNode>> = OnceCell::const_new();
static VHOSTS: AtomicU32 = AtomicU32::new(0);

/// The node that the checks share, each in a virtual host of its own.
pub(crate) async fn shared_node() -> &'static ScratchNode {
    SHARED.get_or_init(|| async { ScratchNode::start().await.unwrap() }).await
}

/// The node that is killed, frozen and alarmed, by one check at a time. It takes back what is held for six seconds.
pub(crate) async fn faulty_node() -> MutexGuard<'static, ScratchNode> {
    let start = async || {
        let config = NodeConfig {
            consumer_timeout: Some(Duration::from_secs(6)),
            advanced: Some("[{rabbit, [{channel_tick_interval, 1000}]}].\n".to_owned()),
            ..NodeConfig::default()
        };
        Mutex::new(ScratchNode::start_with(config).await.unwrap())
    };
    FAULTY.get_or_init(start).await.lock().await
}

/// A fresh virtual host with the topology of the checks.
pub(crate) async fn fresh_vhost(node: &ScratchNode) -> String {
    let name = format!("check-{}", VHOSTS.fetch_add(1, Ordering::Relaxed));
    node.management().make_vhost(&name, &[QUEUE]).await.unwrap();
    name
}

pub(crate) fn queues() -> Vec<QueueName> {
    vec![QueueName::try_from(QUEUE).unwrap()]
}

/// Options with short waits.
pub(crate) fn options(program: Program) -> ConnectOptions {
    let mut options = ConnectOptions::new(program, queues());
    options.backoff = (Duration::from_millis(50), Duration::from_millis(500));
    options
}

pub(crate) enum Bench {
    Embedded(EmbeddedBroker),
    Rabbit {
        node: &'static ScratchNode,
        vhost: String,
        proxy: Proxy,
    },
    /// The checks that hurt the node itself.
    Faulty {
        node: MutexGuard<'static, ScratchNode>,
        vhost: String,
    },
}

impl Bench {
    pub(crate) async fn embedded() -> Self {
        Self::Embedded(EmbeddedBroker::new(&Topology::new(&queues())))
    }

    pub(crate) async fn rabbit() -> Self {
        let node = shared_node().await;
        Self::Rabbit { node, vhost: fresh_vhost(node).await, proxy: Proxy::start(node.amqp_address()).await }
    }

    pub(crate) async fn faulty() -> Self {
        let mut node = faulty_node().await;
        let vhost = fresh_vhost(&node).await;
        node.has_new_queues();
        Self::Faulty { node, vhost }
    }

    pub(crate) fn source(&self) -> Source {
        let url = match self {
            Self::Embedded(broker) => return Source::Embedded(broker.clone()),
            Self::Rabbit { node, vhost, proxy } => {
                node.amqp_url_for("up", vhost).replace(&node.amqp_address().to_string(), &proxy.address().to_string())
            }
            Self::Faulty { node, vhost, .. } => node.amqp_url_for("up", vhost),
        };
        Source::url(&url).unwrap()
    }

    /// A broker whose link is up.
    pub(crate) async fn broker(&self) -> Broker {
        self.broker_with(options(Program::Up)).await
    }

    pub(crate) async fn broker_with(&self, options: ConnectOptions) -> Broker {
        let broker = connect(&self.source(), options).unwrap();
        until_link(&broker, |link| *link == Link::Up).await;
        broker
    }

    /// From now on the job queue takes no more than `max_length` messages.
    pub(crate) async fn limit(&self, max_length: u64) {
        match self {
            Self::Embedded(broker) => broker.limit(JOBS_QUEUE, max_length),
            Self::Rabbit { node, vhost, .. } => {
                let limits = serde_json::json!({"max-length": max_length, "overflow": "reject-publish"});
                node.management().set_policy(vhost, "small", "^jobs\\.work$", limits).await.unwrap();
            }
            Self::Faulty { .. } => panic!("not for this node"),
        }
    }

    /// Everybody is cut off and may come back at once.
    pub(crate) async fn cut(&self) {
        match self {
            Self::Embedded(broker) => {
                broker.stop();
                broker.start();
            }
            Self::Rabbit { proxy, .. } => proxy.cut(),
            Self::Faulty { .. } => panic!("not for this node"),
        }
    }

    /// What the broker answers is lost on the way, while what is said to it arrives.
    pub(crate) fn lose_answers(&self, lost: bool) {
        match self {
            Self::Embedded(broker) => broker.lose_confirms(lost),
            Self::Rabbit { proxy, .. } => proxy.lose_answers(lost),
            Self::Faulty { .. } => panic!("not for this node"),
        }
    }

    /// The broker goes away, gracefully or not, until [`Bench::start`].
    pub(crate) async fn stop(&mut self, gracefully: bool) {
        match self {
            Self::Embedded(broker) => broker.stop(),
            Self::Faulty { node, .. } if gracefully => node.stop().await.unwrap(),
            Self::Faulty { node, .. } => node.kill().await.unwrap(),
            Self::Rabbit { .. } => panic!("not for this node"),
        }
    }

    pub(crate) async fn start(&mut self) {
        match self {
            Self::Embedded(broker) => broker.start(),
            Self::Faulty { node, .. } => node.start_again().await.unwrap(),
            Self::Rabbit { .. } => panic!("not for this node"),
        }
    }

    /// An alarm: nothing is read from publishers.
    pub(crate) async fn alarm(&self, on: bool) {
        match self {
            Self::Embedded(broker) if on => broker.block(),
            Self::Embedded(broker) => broker.start(),
            Self::Faulty { node, .. } => node.memory_alarm(on).await.unwrap(),
            Self::Rabbit { .. } => panic!("not for this node"),
        }
    }
}

pub(crate) async fn until_link(broker: &Broker, wanted: impl Fn(&Link) -> bool) {
    let mut link = broker.link();
    let reached = tokio::time::timeout(SOON, link.wait_for(wanted)).await.map(|link| link.unwrap().clone());
    assert!(reached.is_ok(), "the link is still {:?}", *broker.link().borrow());
}

/// A bell for the checks' queue.
pub(crate) fn bell() -> Message {
    bell_for(QUEUE)
}

pub(crate) fn bell_for(queue: &str) -> Message {
    let task = TaskName::try_from("noop").unwrap();
    let trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    Message::bell(
        queue,
        &Bell::new(JobId::generate(), Dispatch(1), task, Timestamp::from_unix_ms(1_700_000_000_000), trace),
    )
}

pub(crate) async fn next(slot: &mut SlotConsumer) -> Delivery {
    tokio::time::timeout(SOON, slot.next()).await.expect("a delivery in time")
}

/// The next delivery at any of the slots.
pub(crate) async fn any_of(slots: &mut [SlotConsumer]) -> Delivery {
    let came = futures_util::future::select_all(slots.iter_mut().map(|slot| Box::pin(slot.next())));
    tokio::time::timeout(SOON, came).await.expect("a delivery in time").0
}

/// The delivery of this id at any of the slots; what else comes is acknowledged.
pub(crate) async fn next_of(slots: &mut [SlotConsumer], message_id: &str) -> Delivery {
    loop {
        let delivery = any_of(slots).await;
        if delivery.message_id.as_deref() == Some(message_id) {
            return delivery;
        }
        delivery.ack();
    }
}

/// Publishes until it is sent, as the store's dispatcher would.
pub(crate) async fn publish_surely(broker: &Broker, message: &Message) {
    chassis::testing::wait_until(SOON, "the publish is confirmed", async || {
        broker.publish(message.clone()).await == Verdict::Sent
    })
    .await;
}

pub(crate) async fn until_depth(broker: &Broker, queue: &str, depth: u64) {
    chassis::testing::wait_until(SOON, &format!("{queue} holds {depth}"), async || {
        broker.depth(queue).await == Some(depth)
    })
    .await;
}

/// Nothing more comes within a moment. (Absence can only be waited for.)
pub(crate) async fn nothing_comes(slot: &mut SlotConsumer) {
    let come = tokio::time::timeout(Duration::from_millis(300), slot.next()).await;
    assert!(come.is_err(), "unexpected: {come:?}");
}

pub(crate) use topology::{CACHE_INVALIDATED, JOBS_REJECTED};
