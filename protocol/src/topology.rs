//! The AMQP topology as plain data: exchanges, queues, bindings, policies, users. `rabbitmq/definitions.json` is written from it,
//! programs assert it passively, `longshore up` declares from it what is missing, and the embedded broker is built from it.

use crate::key::QueueName;

/// Direct exchange of job bells; the routing key is the queue's name.
pub const JOBS: &str = "jobs";
/// Fanout exchange to which anyone publishes invalidations.
pub const CACHE_INVALIDATE: &str = "cache.invalidate";
/// The durable queue behind [`CACHE_INVALIDATE`], read by the sequencer.
pub const CACHE_INTAKE: &str = "cache.intake";
/// Fanout exchange of sequenced invalidations; each gateway has an exclusive queue on it.
pub const CACHE_INVALIDATED: &str = "cache.invalidated";
/// Direct exchange for messages that are not ours; the routing key is the parking queue's name. It exists so that a consumer may
/// park without a right to publish to `jobs` or to the default exchange, which reaches every queue.
pub const REJECTED: &str = "rejected";
/// Where unreadable bells are parked.
pub const JOBS_REJECTED: &str = "jobs.rejected";
/// Where unreadable invalidations are parked.
pub const CACHE_REJECTED: &str = "cache.rejected";
/// Where bells past the delivery limit go, for the store to triage.
pub const JOBS_DEAD: &str = "jobs.dead";
/// Header of a parked message: why it was parked.
pub const REASON_HEADER: &str = "x-longshore-reason";
/// The virtual host of the committed definitions.
pub const VHOST: &str = "longshore";

/// Deliveries of one bell before the broker gives up on it: a backstop, attempts are counted in the store.
pub const DELIVERY_LIMIT: u32 = 50;
/// Deliveries of one invalidation before it is put aside: only one that makes its consumer's connection fail comes so often.
pub const INTAKE_DELIVERY_LIMIT: u32 = 10;
/// Most messages in a parking queue (and in `jobs.dead`); the oldest are dropped beyond it.
pub const PARKED_MAX: u64 = 10_000;
/// Most messages in a job queue or in the intake; beyond it publishes are refused. The dispatch window keeps our own bells far below.
pub const QUEUED_MAX: u64 = 100_000;

/// Job queue names that would collide with `jobs.dead` and `jobs.rejected`.
pub const RESERVED_QUEUES: [&str; 2] = ["dead", "rejected"];

/// The broker queue that carries the bells of a job queue.
#[must_use]
pub fn jobs_queue(queue: &str) -> String {
    format!("jobs.{queue}")
}

/// A fresh name for an exclusive queue on a fanout exchange: `cache.invalidated.gateway.host:5000.c0ffee42`. Fresh for each attempt, because the
/// broker may still hold the former one for a connection that it has not yet given up.
#[must_use]
pub fn subscription_queue(exchange: &str, program: &str, name: &str, random: u32) -> String {
    format!("{exchange}.{program}.{name}.{random:08x}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    Direct,
    Fanout,
}

impl ExchangeKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
        }
    }
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub name: String,
    pub kind: ExchangeKind,
}

/// What happens to a publish when the queue is at its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    RejectPublish,
    DropHead,
}

impl Overflow {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RejectPublish => "reject-publish",
            Self::DropHead => "drop-head",
        }
    }
}

/// The limits of a queue: rendered as a policy in the definitions, so that an operator can change them without deleting the queue,
/// and as arguments where a program declares the queue itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_length: u64,
    pub overflow: Overflow,
    /// After so many deliveries the message goes to this queue, by way of the default exchange.
    pub dead_letter: Option<(u32, &'static str)>,
}

impl Limits {
    /// Dead-lettering at least once exists only for queues that refuse publishes when full.
    #[must_use]
    pub fn dead_letter_strategy(&self) -> &'static str {
        match self.overflow {
            Overflow::RejectPublish => "at-least-once",
            Overflow::DropHead => "at-most-once",
        }
    }
}

/// A durable quorum queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    pub limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub exchange: &'static str,
    pub queue: String,
    pub routing_key: String,
}

/// A policy that gives the queues matching `pattern` their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: &'static str,
    pub pattern: &'static str,
    pub priority: u32,
    pub limits: Limits,
}

/// A user with the least rights that its program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: &'static str,
    /// `administrator` for the management UI, else none.
    pub tags: &'static [&'static str],
    pub configure: &'static str,
    pub write: &'static str,
    pub read: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub exchanges: Vec<Exchange>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
    pub policies: Vec<Policy>,
    pub users: Vec<User>,
}

const BELLS: Limits = Limits {
    max_length: QUEUED_MAX,
    overflow: Overflow::RejectPublish,
    dead_letter: Some((DELIVERY_LIMIT, JOBS_DEAD)),
};
const PARKED: Limits = Limits { max_length: PARKED_MAX, overflow: Overflow::DropHead, dead_letter: None };
/// Bells past their limit; one that even the store cannot take is put aside for good.
const DEAD: Limits = Limits { dead_letter: Some((DELIVERY_LIMIT, JOBS_REJECTED)), ..PARKED };
const INTAKE: Limits = Limits {
    max_length: QUEUED_MAX,
    overflow: Overflow::RejectPublish,
    dead_letter: Some((INTAKE_DELIVERY_LIMIT, CACHE_REJECTED)),
};

impl Topology {
    /// Everything that the programs need for these job queues.
    #[must_use]
    pub fn new(job_queues: &[QueueName]) -> Self {
        let exchange = |name: &str, kind| Exchange { name: name.to_owned(), kind };
        let queue = |name: &str, limits| Queue { name: name.to_owned(), limits };
        let bind = |exchange, queue: &str, routing_key: &str| Binding {
            exchange,
            queue: queue.to_owned(),
            routing_key: routing_key.to_owned(),
        };
        let mut topology = Self {
            exchanges: vec![
                exchange(JOBS, ExchangeKind::Direct),
                exchange(CACHE_INVALIDATE, ExchangeKind::Fanout),
                exchange(CACHE_INVALIDATED, ExchangeKind::Fanout),
                exchange(REJECTED, ExchangeKind::Direct),
            ],
            queues: vec![
                queue(JOBS_DEAD, DEAD),
                queue(JOBS_REJECTED, PARKED),
                queue(CACHE_INTAKE, INTAKE),
                queue(CACHE_REJECTED, PARKED),
            ],
            bindings: vec![
                bind(CACHE_INVALIDATE, CACHE_INTAKE, ""),
                bind(REJECTED, JOBS_REJECTED, JOBS_REJECTED),
                bind(REJECTED, CACHE_REJECTED, CACHE_REJECTED),
            ],
            policies: policies(),
            users: users(),
        };
        for name in job_queues {
            let full = jobs_queue(name.as_str());
            topology.bindings.push(bind(JOBS, &full, name.as_str()));
            topology.queues.push(Queue { name: full, limits: BELLS });
        }
        topology
    }
}

fn policies() -> Vec<Policy> {
    vec![
        Policy { name: "bells", pattern: r"^jobs\.", priority: 1, limits: BELLS },
        Policy { name: "intake", pattern: r"^cache\.intake$", priority: 1, limits: INTAKE },
        Policy { name: "dead", pattern: r"^jobs\.dead$", priority: 2, limits: DEAD },
        Policy { name: "parked", pattern: r"^(jobs|cache)\.rejected$", priority: 2, limits: PARKED },
    ]
}

/// Asserting (a passive declare) needs no right at all; binding needs write on the queue and read on the exchange.
fn users() -> Vec<User> {
    vec![
        User {
            name: "gateway",
            tags: &[],
            configure: r"^cache\.invalidated\.gateway\..+$",
            write: r"^(jobs|cache\.invalidated\.gateway\..+)$",
            read: r"^cache\.invalidated(\.gateway\..+)?$",
        },
        User {
            name: "worker",
            tags: &[],
            configure: "^$",
            write: "^rejected$",
            read: r"^jobs\.(?!dead$|rejected$).+$",
        },
        User { name: "store-svc", tags: &[], configure: "^$", write: "^(jobs|rejected)$", read: r"^jobs\.dead$" },
        User {
            name: "cache-svc",
            tags: &[],
            configure: "^$",
            write: r"^(cache\.invalidated|rejected)$",
            read: r"^cache\.intake$",
        },
        User {
            name: "up",
            tags: &[],
            configure: r"^(jobs|cache|rejected)(\..+)?$",
            // The default exchange is the dead-letter exchange of the queues that it declares.
            write: r"^(amq\.default|(jobs|cache|rejected)(\..+)?)$",
            read: r"^(jobs|cache|rejected)(\..+)?$",
        },
        User { name: "admin", tags: &["administrator"], configure: ".*", write: ".*", read: ".*" },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(queues: &[&str]) -> Topology {
        let names: Vec<QueueName> = queues.iter().map(|name| QueueName::try_from(*name).expect("valid")).collect();
        Topology::new(&names)
    }

    #[test]
    fn every_job_queue_is_bound_under_its_own_name() {
        let topology = topology(&["default", "reports"]);
        for name in ["default", "reports"] {
            let full = jobs_queue(name);
            assert!(topology.queues.iter().any(|queue| queue.name == full && queue.limits == BELLS));
            assert!(topology.bindings.iter().any(|b| b.exchange == JOBS && b.queue == full && b.routing_key == name));
        }
    }

    #[test]
    fn bindings_name_what_exists() {
        let topology = topology(&["default"]);
        for binding in &topology.bindings {
            assert!(topology.exchanges.iter().any(|exchange| exchange.name == binding.exchange), "{binding:?}");
            assert!(topology.queues.iter().any(|queue| queue.name == binding.queue), "{binding:?}");
        }
    }

    #[test]
    fn reserved_names_are_not_job_queues() {
        for name in RESERVED_QUEUES {
            assert!(QueueName::try_from(name).is_err(), "{name}");
        }
    }
}
