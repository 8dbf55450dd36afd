//! The settings of cache-svc, all checked before a port is bound.

use std::net::SocketAddr;

use chassis::broker::{self, Program};
use chassis::config::{Addresses, ConfigError, Listen, Source, check_range, load_checked};
use chassis::internal::InternalKey;
use serde::Deserialize;

use crate::load::Bounds;

/// The documentation and the defaults of the settings.
pub const DEFAULTS: &str = include_str!("default.toml");

/// What a cache-svc is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// What is asked of callers, and shown to the store.
    pub internal: InternalKey,
    pub store_url: Addresses,
    pub broker: broker::Source,
    /// As whom to connect to the broker.
    pub program: Program,
    pub near_lease_ms: u64,
    pub shared_bytes_max: u64,
    pub(crate) loads: Bounds,
    pub fences_max: usize,
    pub audits_per_second: u32,
    pub connections_max: usize,
}

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: Listen,
    store_url: Addresses,
    amqp_url: String,
    near_lease_ms: u64,
    shared_bytes_max: u64,
    ttl_ms: u64,
    absent_ttl_ms: u64,
    loads_max: u32,
    fences_max: u32,
    audits_per_second: u32,
    connections_max: u32,
}

impl Config {
    /// For a cache-svc that is a program of its own: it needs an `AMQP_URL`.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        Self::read(source, None)
    }

    /// For a cache-svc inside a program that has a broker.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load_with_broker(source: &Source, broker: broker::Source) -> Result<Self, ConfigError> {
        Self::read(source, Some(broker))
    }

    fn read(source: &Source, given: Option<broker::Source>) -> Result<Self, ConfigError> {
        let program = if given.is_some() { Program::Up } else { Program::CacheSvc };
        let mut broker = given;
        let settings = load_checked(DEFAULTS, source, |settings: &Settings, faults| {
            if broker.is_none() {
                broker = broker::Source::setting(&settings.amqp_url, faults);
            }
            let mut check = |name, value, min, max| check_range(name, value, min, max, faults);
            // A lease must outlast several renewals, and a fence of a lost gateway must close within its deadline of 5 s.
            check("LONGSHORE_NEAR_LEASE_MS", settings.near_lease_ms, 1_200, 4_000);
            check("LONGSHORE_SHARED_BYTES_MAX", settings.shared_bytes_max, 65_536, 1 << 40);
            check("LONGSHORE_TTL_MS", settings.ttl_ms, 1, 30 * 24 * 3_600_000);
            check("LONGSHORE_ABSENT_TTL_MS", settings.absent_ttl_ms, 0, 30 * 24 * 3_600_000);
            check("LONGSHORE_LOADS_MAX", settings.loads_max.into(), 1, 10_000);
            check("LONGSHORE_AUDITS_PER_SECOND", settings.audits_per_second.into(), 0, 100);
            check("LONGSHORE_FENCES_MAX", settings.fences_max.into(), 1, 1_000_000);
            check("LONGSHORE_CONNECTIONS_MAX", settings.connections_max.into(), 1, 1_000_000);
        });
        let (settings, internal): (Settings, _) = ConfigError::both(settings, InternalKey::load(source))?;
        let broker = broker.expect("a missing one is a fault, noted above");
        Ok(Self {
            listen: settings.listen.0,
            internal,
            store_url: settings.store_url,
            broker,
            program,
            near_lease_ms: settings.near_lease_ms,
            shared_bytes_max: settings.shared_bytes_max,
            loads: Bounds {
                ttl_ms: settings.ttl_ms,
                absent_ttl_ms: settings.absent_ttl_ms,
                loads_max: usize::try_from(settings.loads_max).unwrap_or(usize::MAX),
            },
            audits_per_second: settings.audits_per_second,
            fences_max: usize::try_from(settings.fences_max).unwrap_or(usize::MAX),
            connections_max: usize::try_from(settings.connections_max).unwrap_or(usize::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = ("AMQP_URL", "amqp://cache-svc:secret@127.0.0.1:5672/longshore");

    fn check(variables: &[(&str, &str)], says: &str) {
        let error = Config::load(&Source::from_pairs(variables.iter().copied())).expect_err("refused").to_string();
        assert!(error.contains(says), "{variables:?}: {error}");
    }

    #[test]
    fn defaults_are_complete_but_for_the_broker() {
        chassis::testing::check_defaults(DEFAULTS);
        let config = Config::load(&Source::from_pairs([URL])).expect("accepted");
        assert_eq!((config.listen.port(), config.near_lease_ms), (5004, 2_000));
        check(&[], "AMQP_URL is not set");
    }

    #[test]
    fn bad_values_are_named_with_the_accepted_ones() {
        check(&[URL, ("LONGSHORE_NEAR_LEASE_MS", "60000")], "from 1200 to 4000");
        check(&[URL, ("LONGSHORE_FENCES_MAX", "0")], "from 1 to 1000000");
        check(&[("AMQP_URL", "redis://x")], "AMQP_URL is not an AMQP URL");
    }
}
