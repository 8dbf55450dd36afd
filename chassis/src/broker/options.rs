//! Where the broker is, who connects, and the bounds of the connection.

use std::time::Duration;

use protocol::key::QueueName;
use serde::Deserialize;
use thiserror::Error;

use super::EmbeddedBroker;
use crate::backoff::Backoff;
use crate::config::Fault;
use crate::instance;

/// Longest name of a process that is shown, in bytes: with what is put around it, it fits into the 255 of AMQP.
const NAME_BYTES_MAX: usize = 128;
const AMQP_URL: &str = "amqp://user:password@host:port/vhost; only `longshore up` has a broker of its own";

/// Which broker a program uses.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub enum Source {
    /// An AMQP URL, checked.
    Url(AmqpUrl),
    /// The broker inside `longshore up`.
    Embedded(EmbeddedBroker),
}

/// A checked AMQP URL. Shows host and vhost, never the password.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    pub(super) uri: lapin::uri::AMQPUri,
}

impl std::fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

impl std::fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}:{}/{}", authority.host, authority.port, self.uri.vhost)
    }
}

/// Why a broker URL was refused; the password is never part of the text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    #[error("is not an AMQP URL ({0}); accepted: amqp://user:password@host:port/vhost, or amqps:// for TLS")]
    Malformed(String),
}

impl Source {
    /// Checks an `AMQP_URL`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn url(url: &str) -> Result<Self, SourceError> {
        let uri = url.parse().map_err(SourceError::Malformed)?;
        Ok(Self::Url(AmqpUrl { uri }))
    }
}

impl Source {
    /// The broker of a program's `AMQP_URL`; what is wrong with it is noted.
    pub fn setting(url: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        if url.is_empty() {
            faults.push(Fault::missing("AMQP_URL", AMQP_URL));
            return None;
        }
        Self::url(url).map_err(|error| faults.push(Fault::sentence(format!("AMQP_URL {error}.")))).ok()
    }
}

impl TryFrom<String> for Source {
    type Error = SourceError;

    fn try_from(url: String) -> Result<Self, SourceError> {
        Self::url(&url)
    }
}

/// Shows host and vhost, never the password.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("embedded"),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({self})")
    }
}

/// Who connects: it decides the connection's name, what is asserted, and the names of exclusive queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    Gateway,
    Worker,
    CacheSvc,
    StoreSvc,
    /// Any of them inside `longshore up`, or a tool: it may use the whole topology.
    Up,
}

impl Program {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
            Self::CacheSvc => "cache-svc",
            Self::StoreSvc => "store-svc",
            Self::Up => "up",
        }
    }
}

/// How to connect. `new` has the defaults; tests shorten the times.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub program: Program,
    /// Which process of the program, for the management UI: host and process id, unless somebody knows better.
    pub name: String,
    /// The job queues that this program rings or consumes.
    pub queues: Vec<QueueName>,
    /// Unconfirmed publishes at a time: 256 for throughput, 64 where the p99 matters.
    pub window: usize,
    /// Publishes that may wait for a place in the window; beyond it they are `Busy`.
    pub waiting_max: usize,
    pub publish_deadline: Duration,
    /// AMQP heartbeat: a dead broker is seen after twice this.
    pub heartbeat: Duration,
    /// No confirm for this long while something is in flight: the session is given up.
    pub confirm_deadline: Duration,
    /// Bounds of the pause before the next attempt to connect (full jitter, doubling).
    pub backoff: (Duration, Duration),
    /// Declare what is missing instead of only asserting it: `longshore up`.
    pub declare_missing: bool,
}

impl ConnectOptions {
    #[must_use]
    pub fn new(program: Program, queues: Vec<QueueName>) -> Self {
        Self {
            program,
            name: instance::by_process(),
            queues,
            window: 256,
            waiting_max: 1_024,
            publish_deadline: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            confirm_deadline: Duration::from_secs(10),
            backoff: (Duration::from_millis(200), Duration::from_secs(2)),
            declare_missing: false,
        }
    }
}

impl ConnectOptions {
    /// The same under a better name than host and process id.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The pauses between attempts to connect.
    pub(super) fn pauses(&self) -> Backoff {
        let (floor, cap) = self.backoff;
        Backoff::new(floor, floor * 2, cap)
    }

    /// The start of the name, as much as fits into what AMQP names.
    pub(super) fn short_name(&self) -> &str {
        self.name.get(..self.name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default()
    }

    /// Program and process, such as `gateway host:5000`.
    pub(super) fn who(&self) -> String {
        format!("{} {}", self.program.as_str(), self.short_name())
    }

    /// The job queues whose bells this program rings.
    pub(super) fn publishes_bells(&self) -> impl Iterator<Item = &QueueName> {
        let publishes = matches!(self.program, Program::Gateway | Program::StoreSvc | Program::Up);
        self.queues.iter().filter(move |_| publishes)
    }
}

/// Why the adapter could not be started; a broker that is away is no such reason.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("the thread for AMQP cannot be started")]
    Runtime(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn urls_are_checked_and_passwords_hidden() {
        let check = |url: &str, shown: Result<&str, &str>| {
            let found = Source::url(url).map(|source| format!("{source:?}")).map_err(|error| error.to_string());
            match shown {
                Ok(shown) => assert_eq!(found.as_deref(), Ok(shown), "{url}"),
                Err(part) => assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{url}: {found:?}"),
            }
        };
        check("amqp://user:secret@127.0.0.1:5672/longshore", Ok("Source(127.0.0.1:5672/longshore)"));
        check("amqp://127.0.0.1", Ok("Source(127.0.0.1:5672//)"));
        check("amqps://user:secret@broker.example", Ok("Source(broker.example:5671//)"));
        check("http://127.0.0.1", Err("not an AMQP URL"));
        check("", Err("not an AMQP URL"));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let who = |name: &str| ConnectOptions::new(Program::Worker, Vec::new()).named(name).who();
        assert_eq!(who("reports"), "worker reports");
        assert_eq!(who(&"ü".repeat(200)), format!("worker {}", "ü".repeat(NAME_BYTES_MAX / 2)));
        assert_eq!(who(&format!("a{}", "ü".repeat(200))).len(), "worker ".len() + NAME_BYTES_MAX - 1);
    }

    /// When each of many clients that lost the broker together tries again until it is back: the first attempt after that, ms later.
    fn come_back_after_ms(clients: usize, away: Duration, random: &mut SmallRng) -> Vec<u128> {
        let options = ConnectOptions::new(Program::Worker, Vec::new());
        let comes_back = |_| {
            let (mut pauses, mut at) = (options.pauses(), Duration::ZERO);
            while at < away {
                at += pauses.next(random.random());
            }
            (at - away).as_millis()
        };
        (0..clients).map(comes_back).collect()
    }

    #[test]
    fn many_clients_come_back_one_after_the_other_and_soon() {
        const CLIENTS: usize = 50;
        let mut random = SmallRng::seed_from_u64(53);
        for away_ms in [1_000, 5_000, 10_000, 60_000, 600_000] {
            let after_ms = come_back_after_ms(CLIENTS, Duration::from_millis(away_ms), &mut random);
            assert!(after_ms.iter().all(|after_ms| *after_ms <= 2_000), "{after_ms:?}");
            for begin_ms in 0..20 {
                let tenth = begin_ms * 100..begin_ms * 100 + 100;
                let together = after_ms.iter().filter(|after_ms| tenth.contains(*after_ms)).count();
                assert!(together <= CLIENTS / 4, "{together} of {CLIENTS} in one tenth of a second: {after_ms:?}");
            }
        }
    }
}
