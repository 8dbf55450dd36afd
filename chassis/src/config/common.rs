//! The settings that every program has.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;

use super::address::Address;
use super::fault::{ConfigError, Fault};
use super::load::load_checked;
use super::source::Source;

/// The documentation and the defaults of these settings.
pub(crate) const DEFAULTS: &str = include_str!("default.toml");

const THREADS_MAX: u16 = 1_024;

/// What every program reads besides its own settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Common {
    pub insecure: bool,
    pub auth: bool,
    /// Empty: none. See [`crate::internal::InternalKey`].
    pub internal_key_file: String,
    pub log: String,
    pub log_format: LogFormat,
    pub drain_ms: u64,
    /// 0: as many as suit how the program is run.
    pub threads: u16,
    /// Who collects traces; none: nobody.
    #[serde(deserialize_with = "receiver_or_not")]
    pub otlp_endpoint: Option<Address>,
    /// From 0 to 1.
    pub trace_sample: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

impl Common {
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load(source: &Source) -> Result<Common, ConfigError> {
        load_checked(DEFAULTS, source, check)
    }

    /// Whether the program may listen beyond loopback: the network is trusted, or callers are asked who they are, by it or by who is behind it.
    pub fn may_expose(&self, program: &str) -> bool {
        let asks = match program {
            "gateway" | "lb" => self.auth,
            _ => !self.internal_key_file.is_empty(),
        };
        self.insecure || asks
    }

    /// How long draining may take.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

fn receiver_or_not<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    // `host:port` alone is what receivers of OTLP over gRPC are called by.
    let address = text.strip_prefix("http://").and_then(|bare| bare.parse().ok());
    address.map(Some).ok_or_else(|| {
        D::Error::custom(
            "must be empty or http://host:port, where OTLP is taken over HTTP (mostly port 4318); an OpenTelemetry Collector there sends it on to \
             who speaks only TLS or gRPC",
        )
    })
}

fn check(common: &Common, faults: &mut Vec<Fault>) {
    if let Err(error) = EnvFilter::try_new(&common.log) {
        let accepted = "a level (error, warn, info, debug, trace, off) or a list such as info,store_svc=debug";
        faults.push(Fault::sentence(format!("LONGSHORE_LOG is {:?} ({error}), but must be {accepted}.", common.log)));
    }
    if common.threads > THREADS_MAX {
        let accepted = format!("at most {THREADS_MAX}");
        faults.push(Fault::value("LONGSHORE_THREADS", &common.threads.to_string(), &accepted));
    }
    if !(0.0..=1.0).contains(&common.trace_sample) {
        let accepted = "a share from 0 (none) to 1 (all)";
        faults.push(Fault::value("LONGSHORE_TRACE_SAMPLE", &common.trace_sample.to_string(), accepted));
    }
    if common.drain_ms > 3_600_000 {
        faults.push(Fault::value("LONGSHORE_DRAIN_MS", &common.drain_ms.to_string(), "at most 3600000 (an hour)"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, says: &str) {
        let error = Common::load(&Source::from_pairs([(name, value)])).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.faults.len(), 1, "{error}");
    }

    #[test]
    fn the_defaults_are_accepted() {
        let common = Common::load(&Source::default()).unwrap();
        assert_eq!((common.insecure, common.log_format, common.drain().as_secs()), (false, LogFormat::Auto, 25));
    }

    #[test]
    fn only_who_asks_for_keys_may_be_reached_by_others() {
        let check = |pairs: &[(&'static str, &'static str)], program: &str, expected: bool| {
            let common = Common::load(&Source::from_pairs(pairs.iter().copied())).unwrap();
            assert_eq!(common.may_expose(program), expected, "{pairs:?} {program}");
        };
        check(&[], "gateway", false);
        check(&[("LONGSHORE_AUTH", "1")], "gateway", true);
        check(&[("LONGSHORE_AUTH", "1")], "lb", true);
        check(&[("LONGSHORE_AUTH", "1")], "store-svc", false);
        check(&[("LONGSHORE_INSECURE", "1")], "store-svc", true);
        check(&[("LONGSHORE_INTERNAL_KEY_FILE", "key")], "store-svc", true);
        check(&[("LONGSHORE_INTERNAL_KEY_FILE", "key")], "gateway", false);
    }

    #[test]
    fn bad_values_are_named() {
        check("LONGSHORE_LOG", "info,=nonsense=", "LONGSHORE_LOG");
        check("LONGSHORE_LOG_FORMAT", "xml", "`auto`, `text`, `json`");
        check("LONGSHORE_DRAIN_MS", "-1", "LONGSHORE_DRAIN_MS is \"-1\"");
        check("LONGSHORE_DRAIN_MS", "99999999", "3600000");
        check("LONGSHORE_THREADS", "1025", "at most 1024");
        check("LONGSHORE_TRACE_SAMPLE", "1.5", "from 0 (none) to 1 (all)");
        check("LONGSHORE_TRACE_SAMPLE", "NaN", "from 0 (none) to 1 (all)");
        for endpoint in
            ["https://otel.example:443", "collector:4317", "http://collector", "http://collector:4318/v1/traces"]
        {
            check("LONGSHORE_OTLP_ENDPOINT", endpoint, "must be empty or http://host:port");
        }
    }

    #[test]
    fn a_receiver_of_traces_is_named_as_every_sdk_names_it() {
        let source = Source::from_pairs([("LONGSHORE_OTLP_ENDPOINT", "http://collector:4318/")]);
        let receiver = Common::load(&source).unwrap().otlp_endpoint.unwrap();
        assert_eq!(receiver.to_string(), "collector:4318");
    }
}
