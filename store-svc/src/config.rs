//! The store's settings, all checked before a port is bound; `default.toml` documents them.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chassis::broker::{self, Program};
use chassis::config::{ConfigError, Fault, Listen, Names, Source, check_range, load_checked};
use chassis::internal::InternalKey;
use chassis::outbound::{Reach, Trust};
use protocol::key::QueueName;
use serde::Deserialize;

use crate::storage::postgres::{ACCEPTED, Url};

/// The documentation and the defaults of the settings.
pub const DEFAULTS: &str = include_str!("default.toml");

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// What a store is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// What is asked of callers.
    pub internal: InternalKey,
    pub database: Database,
    pub broker: broker::Source,
    /// As whom to connect to the broker.
    pub program: Program,
    /// The queues that jobs may name; at least one.
    pub queues: Vec<QueueName>,
    /// `None`: twice the live slots.
    pub dispatch_window: Option<u64>,
    pub retry_base_ms: u64,
    pub retry_max_ms: u64,
    pub sequencer_lease_ms: u64,
    pub log_kept_ms: u64,
    pub queue_depth_max: u64,
    pub retention_ms: u64,
    pub retention_jobs: u64,
    pub tombstones_kept_ms: u64,
    pub tombstones_max: u64,
    pub webhook_allow: Reach,
    pub webhook_trust: Trust,
    pub webhook_timeout_ms: u64,
    pub webhook_retry_base_ms: u64,
    pub webhook_retry_max_ms: u64,
    pub webhook_give_up_ms: u64,
    pub webhook_kept_ms: u64,
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    Postgres(Url),
}

/// For people: without a password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl Database {
    /// Reads a `DATABASE_URL`.
    ///
    /// # Errors
    /// What is wrong with it and what is accepted, without the password that it may hold.
    pub fn parse(name: &str, url: &str) -> Result<Self, Fault> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let refused = |error| Fault::sentence(format!("{name} {error}."));
            return url.parse().map(Self::Postgres).map_err(refused);
        }
        // `sqlite://PATH` is understood as well.
        let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        match path {
            Some(path) if !path.is_empty() && path != ":memory:" => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(Fault::value(name, &shown(url), &format!("sqlite:PATH or {ACCEPTED}"))),
        }
    }
}

/// Without what may be a password.
fn shown(url: &str) -> String {
    match (url.split_once("//"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}//…@{host}"),
        _ => url.to_owned(),
    }
}

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: Listen,
    database_url: String,
    amqp_url: String,
    queues: Names,
    dispatch_window: u64,
    retry_base_ms: u64,
    retry_max_ms: u64,
    sequencer_lease_ms: u64,
    log_kept_ms: u64,
    queue_depth_max: u64,
    retention_ms: u64,
    retention_jobs: u64,
    tombstones_kept_ms: u64,
    tombstones_max: u64,
    webhook_allow: Reach,
    webhook_ca_file: String,
    webhook_timeout_ms: u64,
    webhook_retry_base_ms: u64,
    webhook_retry_max_ms: u64,
    webhook_give_up_ms: u64,
    webhook_kept_ms: u64,
}

impl Config {
    /// For a store that is a program of its own: it needs an `AMQP_URL`.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        Self::read(source, None)
    }

    /// For a store inside a program that has a broker.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load_with_broker(source: &Source, broker: broker::Source) -> Result<Self, ConfigError> {
        Self::read(source, Some(broker))
    }

    fn read(source: &Source, given: Option<broker::Source>) -> Result<Self, ConfigError> {
        let program = if given.is_some() { Program::Up } else { Program::StoreSvc };
        let (mut broker, mut queues, mut database, mut trust) = (given, Vec::new(), None, None);
        let settings = load_checked(DEFAULTS, source, |settings: &Settings, faults| {
            if broker.is_none() {
                broker = broker::Source::setting(&settings.amqp_url, faults);
            }
            queues = settings.queues.queues(faults);
            database = match Database::parse("DATABASE_URL", &settings.database_url) {
                Ok(database) => Some(database),
                Err(fault) => {
                    faults.push(fault);
                    None
                }
            };
            trust = trust_of(&settings.webhook_ca_file, faults);
            check_ranges(settings, faults);
        });
        let (settings, internal): (Settings, _) = ConfigError::both(settings, InternalKey::load(source))?;
        let broker = broker.expect("a missing one is a fault, noted above");
        let database = database.expect("a wrong one is a fault, noted above");
        let webhook_trust = trust.expect("a wrong file is a fault, noted above");
        Ok(Self {
            listen: settings.listen.0,
            internal,
            database,
            broker,
            program,
            queues,
            dispatch_window: Some(settings.dispatch_window).filter(|window| *window > 0),
            retry_base_ms: settings.retry_base_ms,
            retry_max_ms: settings.retry_max_ms,
            sequencer_lease_ms: settings.sequencer_lease_ms,
            log_kept_ms: settings.log_kept_ms,
            queue_depth_max: settings.queue_depth_max,
            retention_ms: settings.retention_ms,
            retention_jobs: settings.retention_jobs,
            tombstones_kept_ms: settings.tombstones_kept_ms,
            tombstones_max: settings.tombstones_max,
            webhook_allow: settings.webhook_allow,
            webhook_trust,
            webhook_timeout_ms: settings.webhook_timeout_ms,
            webhook_retry_base_ms: settings.webhook_retry_base_ms,
            webhook_retry_max_ms: settings.webhook_retry_max_ms,
            webhook_give_up_ms: settings.webhook_give_up_ms,
            webhook_kept_ms: settings.webhook_kept_ms,
        })
    }
}

/// Of an empty name, the authorities that are compiled in.
fn trust_of(ca_file: &str, faults: &mut Vec<Fault>) -> Option<Trust> {
    if ca_file.is_empty() {
        return Some(Trust::public());
    }
    let trust = Trust::with_file(Path::new(ca_file));
    trust.map_err(|error| faults.push(Fault::sentence(format!("LONGSHORE_WEBHOOK_CA_FILE: {error}.")))).ok()
}

fn check_ranges(settings: &Settings, faults: &mut Vec<Fault>) {
    let mut within = |name, value, min, max| check_range(name, value, min, max, faults);
    within("LONGSHORE_DISPATCH_WINDOW", settings.dispatch_window, 0, 10_000);
    within("LONGSHORE_RETRY_BASE_MS", settings.retry_base_ms, 0, DAY_MS);
    within("LONGSHORE_RETRY_MAX_MS", settings.retry_max_ms, 0, DAY_MS);
    within("LONGSHORE_SEQUENCER_LEASE_MS", settings.sequencer_lease_ms, 500, 60_000);
    within("LONGSHORE_QUEUE_DEPTH_MAX", settings.queue_depth_max, 1, 1_000_000_000);
    within("LONGSHORE_LOG_KEPT_MS", settings.log_kept_ms, 60_000, 365 * DAY_MS);
    within("LONGSHORE_RETENTION_MS", settings.retention_ms, 60_000, 3_650 * DAY_MS);
    within("LONGSHORE_RETENTION_JOBS", settings.retention_jobs, 1, 1_000_000_000);
    within("LONGSHORE_TOMBSTONES_KEPT_MS", settings.tombstones_kept_ms, 60_000, 3_650 * DAY_MS);
    within("LONGSHORE_TOMBSTONES_MAX", settings.tombstones_max, 1, 1_000_000_000);
    within("LONGSHORE_WEBHOOK_TIMEOUT_MS", settings.webhook_timeout_ms, 100, 60_000);
    within("LONGSHORE_WEBHOOK_RETRY_BASE_MS", settings.webhook_retry_base_ms, 10, DAY_MS);
    within("LONGSHORE_WEBHOOK_RETRY_MAX_MS", settings.webhook_retry_max_ms, 10, DAY_MS);
    within("LONGSHORE_WEBHOOK_GIVE_UP_MS", settings.webhook_give_up_ms, 0, 30 * DAY_MS);
    within("LONGSHORE_WEBHOOK_KEPT_MS", settings.webhook_kept_ms, 60_000, 365 * DAY_MS);
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = ("AMQP_URL", "amqp://store:secret@127.0.0.1:5672/longshore");

    fn check(variables: &[(&str, &str)], says: &str) {
        let error = Config::load(&Source::from_pairs(variables.iter().copied())).expect_err("refused").to_string();
        assert!(error.contains(says), "{variables:?}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn defaults_are_complete_but_for_the_broker() {
        chassis::testing::check_defaults(DEFAULTS);
        let config = Config::load(&Source::from_pairs([URL])).expect("accepted");
        assert_eq!(config.queue_depth_max, protocol::queue::DEPTH_MAX_DEFAULT);
        assert_eq!((config.listen.port(), config.database.to_string().as_str()), (5002, "var/longshore.db"));
        check(&[], "AMQP_URL is not set");
    }

    #[test]
    fn bad_values_are_named_with_the_accepted_ones() {
        check(&[URL, ("DATABASE_URL", "postgres://u:secret@h/db?sslmode=verify-ca")], "DATABASE_URL asks for TLS");
        check(&[URL, ("DATABASE_URL", "postgres://u:secret@h")], "DATABASE_URL names no database: postgres://user:");
        check(
            &[URL, ("DATABASE_URL", "mysql:x")],
            "DATABASE_URL is \"mysql:x\", but must be sqlite:PATH or postgres://",
        );
        check(&[URL, ("DATABASE_URL", "mysql://u:secret@h/db")], "\"mysql://…@h/db\"");
        check(&[URL, ("DATABASE_URL", "sqlite:")], "sqlite:PATH");
        check(&[URL, ("LONGSHORE_QUEUES", "default,dead")], "LONGSHORE_QUEUES has \"dead\", which is reserved");
        check(&[URL, ("LONGSHORE_SEQUENCER_LEASE_MS", "5")], "from 500 to 60000");
        check(&[URL, ("LONGSHORE_QUEUE_DEPTH_MAX", "0")], "LONGSHORE_QUEUE_DEPTH_MAX");
        check(&[URL, ("LONGSHORE_LOG_KEPT_MS", "5")], "LONGSHORE_LOG_KEPT_MS");
        check(
            &[URL, ("LONGSHORE_WEBHOOK_ALLOW", "private")],
            "LONGSHORE_WEBHOOK_ALLOW is \"private\", but must be networks",
        );
        check(&[URL, ("LONGSHORE_WEBHOOK_CA_FILE", "/nowhere")], "LONGSHORE_WEBHOOK_CA_FILE: /nowhere cannot be read");
        check(&[URL, ("LONGSHORE_WEBHOOK_TIMEOUT_MS", "1")], "from 100 to 60000");
    }
}
