//! The settings that every program has.

use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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
    pub log: String,
    pub log_format: LogFormat,
    pub drain_ms: u64,
    /// 0: as many as suit how the program is run.
    pub threads: u16,
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

    /// Whether the program may listen beyond loopback: the network is trusted, or clients are asked who they are, by it or by who is behind it.
    pub fn may_expose(&self, program: &str) -> bool {
        self.insecure || (self.auth && matches!(program, "gateway" | "lb"))
    }

    /// How long draining may take.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
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
    }

    #[test]
    fn bad_values_are_named() {
        check("LONGSHORE_LOG", "info,=nonsense=", "LONGSHORE_LOG");
        check("LONGSHORE_LOG_FORMAT", "xml", "`auto`, `text`, `json`");
        check("LONGSHORE_DRAIN_MS", "-1", "LONGSHORE_DRAIN_MS is \"-1\"");
        check("LONGSHORE_DRAIN_MS", "99999999", "3600000");
        check("LONGSHORE_THREADS", "1025", "at most 1024");
    }
}
