//! The balancer's settings; `default.toml` documents them.

use std::net::SocketAddr;

use chassis::config::{
    Addresses, Common, ConfigError, Fault, Listen, Source, check_range, load_checked, refuse_exposed,
};
use http::HeaderName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::core::pick::Policy;
use crate::plan::Plan;
use crate::tls::Certificate;

pub const DEFAULTS: &str = include_str!("../default.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: Listen,
    pub backends: Addresses,
    pub backends_file: String,
    #[serde(deserialize_with = "listen_or_not")]
    pub admin_listen: Option<Listen>,
    #[serde(deserialize_with = "listen_or_not")]
    pub tls_listen: Option<Listen>,
    pub tls_certificate_file: String,
    pub tls_key_file: String,
    pub event_loops: usize,
    pub access_log: bool,
    pub trace_trust: bool,
    pub client_connections_max: usize,
    pub client_connections_per_address_max: usize,
    pub client_head_ms: u64,
    pub client_stall_ms: u64,
    pub client_bytes_per_s_min: u64,
    pub client_idle_ms: u64,
    pub tunnel_idle_ms: u64,
    pub rate_limit_per_s: u64,
    pub rate_limit_burst: u64,
    pub rate_limit_key: RateKey,
    pub pick: Pick,
    pub backend_connect_ms: u64,
    pub backend_answer_ms: u64,
    pub backend_idle_ms: u64,
    pub backend_idle_max: usize,
    pub backend_in_flight_max: u64,
    pub backend_queue_max: usize,
    pub backend_queue_ms: u64,
    pub backend_slow_start_ms: u64,
    pub eject_in_a_row: u64,
    pub eject_ms: u64,
    pub replay_bytes: usize,
    pub check_interval_ms: u64,
    pub check_timeout_ms: u64,
    pub check_rise: u32,
    pub check_fall: u32,
    pub drain_notice_ms: u64,
}

fn listen_or_not<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Listen>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
    parsed.map_err(|accepted| D::Error::custom(format_args!("must be empty or {accepted}")))
}

/// How backends are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Pick(pub(crate) Policy);

impl<'de> Deserialize<'de> for Pick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let policy = Policy::ALL.into_iter().find(|policy| policy.name() == text);
        policy.map(Pick).ok_or_else(|| D::Error::custom("must be round-robin, least-in-flight or peak-ewma"))
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone)]
pub enum RateKey {
    Address,
    /// Those with the same value of this field.
    Field(HeaderName),
}

impl<'de> Deserialize<'de> for RateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "address" {
            return Ok(RateKey::Address);
        }
        let name = text.strip_prefix("field:").and_then(|name| name.parse().ok());
        name.map(RateKey::Field).ok_or_else(|| D::Error::custom("must be address, or field: and the name of a field"))
    }
}

impl Config {
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load(source: &Source) -> Result<Config, ConfigError> {
        let config = load_checked(DEFAULTS, source, check)?;
        if let Some(Listen(address)) = config.tls_listen {
            refuse_exposed("LONGSHORE_TLS_LISTEN", address, Common::load(source)?.may_expose("lb"))?;
        }
        Ok(config)
    }

    pub fn listen(&self) -> SocketAddr {
        self.listen.0
    }
}

fn check(config: &Config, faults: &mut Vec<Fault>) {
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    const HOUR_MS: u64 = 3_600_000;
    if let Some(Listen(admin)) = config.admin_listen
        && !admin.ip().is_loopback()
    {
        faults.push(Fault::value(
            "LONGSHORE_ADMIN_LISTEN",
            &admin.to_string(),
            "a loopback address; everybody may do everything there",
        ));
    }
    if let Err(error) = Plan::read(config) {
        faults.push(Fault::sentence(format!("LONGSHORE_BACKENDS_FILE: {error}")));
    }
    if let Err(error) = Certificate::read(config) {
        faults.push(Fault::sentence(format!("LONGSHORE_TLS_CERTIFICATE_FILE, LONGSHORE_TLS_KEY_FILE: {error}")));
    }
    let mut within = |name: &str, value: u64, least: u64, most: u64| check_range(name, value, least, most, faults);
    within("LONGSHORE_EVENT_LOOPS", count(config.event_loops), 0, 256);
    within("LONGSHORE_CLIENT_CONNECTIONS_MAX", count(config.client_connections_max), 1, 1_000_000);
    let per_address = count(config.client_connections_per_address_max);
    within("LONGSHORE_CLIENT_CONNECTIONS_PER_ADDRESS_MAX", per_address, 1, 1_000_000);
    within("LONGSHORE_CLIENT_HEAD_MS", config.client_head_ms, 1, HOUR_MS);
    within("LONGSHORE_CLIENT_STALL_MS", config.client_stall_ms, 1, HOUR_MS);
    within("LONGSHORE_CLIENT_BYTES_PER_S_MIN", config.client_bytes_per_s_min, 0, 1_000_000_000);
    within("LONGSHORE_CLIENT_IDLE_MS", config.client_idle_ms, 1, HOUR_MS);
    within("LONGSHORE_TUNNEL_IDLE_MS", config.tunnel_idle_ms, 1, 24 * HOUR_MS);
    within("LONGSHORE_RATE_LIMIT_PER_S", config.rate_limit_per_s, 0, 1_000_000);
    within("LONGSHORE_RATE_LIMIT_BURST", config.rate_limit_burst, 1, 1_000_000);
    within("LONGSHORE_BACKEND_CONNECT_MS", config.backend_connect_ms, 1, HOUR_MS);
    within("LONGSHORE_BACKEND_ANSWER_MS", config.backend_answer_ms, 1, HOUR_MS);
    within("LONGSHORE_BACKEND_IDLE_MS", config.backend_idle_ms, 0, HOUR_MS);
    within("LONGSHORE_BACKEND_IDLE_MAX", count(config.backend_idle_max), 0, 65_536);
    within("LONGSHORE_BACKEND_IN_FLIGHT_MAX", config.backend_in_flight_max, 0, 1_000_000);
    within("LONGSHORE_BACKEND_QUEUE_MAX", count(config.backend_queue_max), 0, 1_000_000);
    within("LONGSHORE_BACKEND_QUEUE_MS", config.backend_queue_ms, 1, HOUR_MS);
    within("LONGSHORE_BACKEND_SLOW_START_MS", config.backend_slow_start_ms, 0, HOUR_MS);
    within("LONGSHORE_EJECT_IN_A_ROW", config.eject_in_a_row, 0, 1_000_000);
    within("LONGSHORE_EJECT_MS", config.eject_ms, 1, HOUR_MS);
    within("LONGSHORE_REPLAY_BYTES", count(config.replay_bytes), 0, 1 << 20);
    within("LONGSHORE_CHECK_INTERVAL_MS", config.check_interval_ms, 10, HOUR_MS);
    within("LONGSHORE_CHECK_TIMEOUT_MS", config.check_timeout_ms, 1, HOUR_MS);
    within("LONGSHORE_CHECK_RISE", config.check_rise.into(), 1, 1_000);
    within("LONGSHORE_CHECK_FALL", config.check_fall.into(), 1, 1_000);
    within("LONGSHORE_DRAIN_NOTICE_MS", config.drain_notice_ms, 0, HOUR_MS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_documented_and_accepted() {
        chassis::testing::check_defaults(DEFAULTS);
        let config = Config::load(&Source::default()).unwrap();
        assert_eq!(config.listen().to_string(), "127.0.0.1:8000");
        assert_eq!(config.backends.as_slice().len(), 3);
    }

    fn check(name: &str, value: &str, says: &str) {
        let error = Config::load(&Source::from_pairs([(name, value)])).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn bad_values_are_named() {
        check("LONGSHORE_BACKENDS", "gateway", "host:port");
        check("LONGSHORE_CHECK_FALL", "0", "from 1 to 1000");
        check("LONGSHORE_CHECK_INTERVAL_MS", "1", "from 10 to 3600000");
        check("LONGSHORE_ADMIN_LISTEN", "0.0.0.0:1", "a loopback address");
        check("LONGSHORE_ADMIN_LISTEN", "8001", "must be empty or an IP address and a port");
        check("LONGSHORE_BACKENDS_FILE", "/nowhere/backends.toml", "cannot be read");
        check("LONGSHORE_RATE_LIMIT_KEY", "x-api-key", "must be address, or field: and the name of a field");
        check("LONGSHORE_TLS_LISTEN", "0.0.0.0:443", "\"\" cannot be read");
        check("LONGSHORE_PICK", "random", "round-robin, least-in-flight or peak-ewma");
        check("LONGSHORE_ACCESS_LOG", "yes", "1, true, 0 or false");
    }
}
