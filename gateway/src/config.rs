//! The gateway's settings, all checked before a port is bound.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::broker;
use chassis::config::{
    Address, Addresses, Common, ConfigError, Fault, Listen, Names, Source, check_range, load_checked,
};
use chassis::internal::InternalKey;
use protocol::key::QueueName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::access::{self, WhoMay};
use crate::data::demand::StalePolicy;

/// The documentation and the defaults of the settings.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The largest body of one request.
pub(crate) const BODY_BYTES: u64 = 1 << 20;

/// What a gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// What is shown to the store and the cache.
    pub internal: InternalKey,
    pub store_url: Addresses,
    pub cache_url: Addresses,
    pub broker: broker::Source,
    /// The queues that jobs may name; at least one.
    pub queues: Vec<QueueName>,
    pub store_deadline: Duration,
    pub connections_max: usize,
    pub waiters_max: usize,
    pub streams_max: usize,
    pub stream_heartbeat: Duration,
    pub bodies_bytes_max: usize,
    pub near_bytes_max: u64,
    pub(crate) stale: StalePolicy,
    /// The balancer's port for operators, for the console.
    pub lb_admin_url: Option<Address>,
    pub(crate) who: WhoMay,
}

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: Listen,
    store_url: Addresses,
    cache_url: Addresses,
    amqp_url: String,
    queues: Names,
    store_deadline_ms: u64,
    connections_max: u32,
    waiters_max: u32,
    streams_max: u32,
    stream_heartbeat_ms: u64,
    bodies_bytes_max: u32,
    near_bytes_max: u64,
    stale_if_error: String,
    #[serde(deserialize_with = "address_or_not")]
    lb_admin_url: Option<Address>,
    admin_key_file: String,
    jwt_secret_file: String,
    jwt_public_key_file: String,
    jwt_audience: String,
}

impl Settings {
    fn access(&self) -> access::Settings<'_> {
        access::Settings {
            admin_key_file: &self.admin_key_file,
            jwt_secret_file: &self.jwt_secret_file,
            jwt_public_key_file: &self.jwt_public_key_file,
            jwt_audience: &self.jwt_audience,
        }
    }
}

fn address_or_not<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
    parsed.map_err(|_| D::Error::custom("must be empty, host:port or http://host:port"))
}

impl Config {
    /// For a gateway that is a program of its own: it needs an `AMQP_URL`.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        Self::read(source, None)
    }

    /// For a gateway inside a program that has a broker.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load_with_broker(source: &Source, broker: broker::Source) -> Result<Self, ConfigError> {
        Self::read(source, Some(broker))
    }

    fn read(source: &Source, given: Option<broker::Source>) -> Result<Self, ConfigError> {
        let (mut broker, mut queues, mut stale) = (given, Vec::new(), StalePolicy::default());
        let (auth, mut who) = (Common::load(source).is_ok_and(|common| common.auth), WhoMay::Anyone);
        let settings = load_checked(DEFAULTS, source, |settings: &Settings, faults| {
            if broker.is_none() {
                broker = broker::Source::setting(&settings.amqp_url, faults);
            }
            queues = settings.queues.queues(faults);
            who = WhoMay::read(&settings.access(), auth, faults);
            match StalePolicy::parse(&settings.stale_if_error) {
                Ok(policy) => stale = policy,
                Err(part) => faults.push(Fault::sentence(format!(
                    "LONGSHORE_STALE_IF_ERROR has {part:?}; it is PREFIX=SECONDS, several separated by commas"
                ))),
            }
            check_range("LONGSHORE_STORE_DEADLINE_MS", settings.store_deadline_ms, 100, 30_000, faults);
            check_range("LONGSHORE_CONNECTIONS_MAX", settings.connections_max.into(), 1, 1_000_000, faults);
            check_range("LONGSHORE_NEAR_BYTES_MAX", settings.near_bytes_max, 65_536, 1 << 40, faults);
            check_range(
                "LONGSHORE_BODIES_BYTES_MAX",
                settings.bodies_bytes_max.into(),
                BODY_BYTES,
                u32::MAX.into(),
                faults,
            );
            check_range("LONGSHORE_WAITERS_MAX", settings.waiters_max.into(), 0, 1_000_000, faults);
            check_range("LONGSHORE_STREAMS_MAX", settings.streams_max.into(), 0, 1_000_000, faults);
            check_range("LONGSHORE_STREAM_HEARTBEAT_MS", settings.stream_heartbeat_ms, 100, 60_000, faults);
        });
        let (settings, internal): (Settings, _) = ConfigError::both(settings, InternalKey::load(source))?;
        let broker = broker.expect("a missing one is a fault, noted above");
        Ok(Self {
            listen: settings.listen.0,
            internal,
            store_url: settings.store_url,
            cache_url: settings.cache_url,
            broker,
            queues,
            store_deadline: Duration::from_millis(settings.store_deadline_ms),
            connections_max: usize::try_from(settings.connections_max).unwrap_or(usize::MAX),
            waiters_max: usize::try_from(settings.waiters_max).unwrap_or(usize::MAX),
            streams_max: usize::try_from(settings.streams_max).unwrap_or(usize::MAX),
            stream_heartbeat: Duration::from_millis(settings.stream_heartbeat_ms),
            bodies_bytes_max: usize::try_from(settings.bodies_bytes_max).unwrap_or(usize::MAX),
            near_bytes_max: settings.near_bytes_max,
            stale,
            lb_admin_url: settings.lb_admin_url,
            who,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = ("AMQP_URL", "amqp://gateway:secret@127.0.0.1:5672/longshore");

    fn check(variables: &[(&str, &str)], says: &str) {
        let error = Config::load(&Source::from_pairs(variables.iter().copied())).expect_err("refused").to_string();
        assert!(error.contains(says), "{variables:?}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn defaults_are_complete_but_for_the_broker() {
        chassis::testing::check_defaults(DEFAULTS);
        let config = Config::load(&Source::from_pairs([URL])).expect("accepted");
        assert_eq!((config.listen.port(), config.queues.len()), (5000, 1));
        check(&[], "AMQP_URL is not set");
    }

    #[test]
    fn bad_values_are_named_with_the_accepted_ones() {
        check(&[("AMQP_URL", "http://gateway:secret@x")], "AMQP_URL is not an AMQP URL");
        check(&[URL, ("LONGSHORE_QUEUES", "default,dead")], "LONGSHORE_QUEUES has \"dead\", which is reserved");
        check(&[URL, ("LONGSHORE_QUEUES", "a,,b")], "one or more distinct names");
        check(&[URL, ("LONGSHORE_STORE_DEADLINE_MS", "5")], "from 100 to 30000");
        check(&[URL, ("LONGSHORE_CONNECTIONS_MAX", "0")], "from 1 to 1000000");
        check(&[URL, ("LONGSHORE_STORE_URL", "nowhere")], "host:port");
        check(&[URL, ("LONGSHORE_STALE_IF_ERROR", "a:=soon")], "PREFIX=SECONDS");
        check(&[URL, ("LONGSHORE_LB_ADMIN_URL", "8001")], "must be empty, host:port");
    }

    #[test]
    fn who_may_call_is_said_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let (short, long) = (file("short", "too short"), file("long", "0123456789abcdef0123456789abcdef\n"));
        let on = ("LONGSHORE_AUTH", "1");
        check(&[URL, ("LONGSHORE_ADMIN_KEY_FILE", &long)], "set LONGSHORE_AUTH=1, too");
        check(&[URL, on, ("LONGSHORE_ADMIN_KEY_FILE", &short)], "32 printable characters or more");
        check(&[URL, on, ("LONGSHORE_ADMIN_KEY_FILE", "/nowhere/key")], "which cannot be read");
        check(&[URL, on, ("LONGSHORE_JWT_SECRET_FILE", &short)], "less than 32 bytes");
        check(&[URL, on, ("LONGSHORE_JWT_PUBLIC_KEY_FILE", &long)], "no public key of Ed25519");
        let both = [("LONGSHORE_JWT_SECRET_FILE", long.as_str()), ("LONGSHORE_JWT_PUBLIC_KEY_FILE", long.as_str())];
        check(&[URL, on, both[0], both[1]], "are both set");
        let config = Config::load(&Source::from_pairs([URL, on, ("LONGSHORE_ADMIN_KEY_FILE", &long), both[0]]));
        let config = config.expect("accepted");
        assert!(matches!(config.who, WhoMay::Known { admin: Some(_), tokens: Some(_) }), "{config:?}");
        assert!(!format!("{config:?}").contains("0123456789abcdef"), "{config:?}");
    }
}
