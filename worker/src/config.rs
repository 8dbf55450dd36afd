//! The worker's settings, all checked before a port is bound.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use chassis::broker;
use chassis::config::{Addresses, ConfigError, Fault, Listen, Source, check_range, load_checked};
use chassis::instance;
use chassis::internal::InternalKey;
use chassis::outbound::Target;
use protocol::key::QueueName;
use serde::Deserialize;

use crate::registry::{Registry, RegistryError};
use crate::slots::{Queues, SLOTS_MAX};
use crate::tasks::{self, TaskDefinition, TaskKind};

/// The documentation and the defaults of the settings.
pub const DEFAULTS: &str = include_str!("default.toml");

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// What is shown to the store.
    pub internal: InternalKey,
    pub store_url: Addresses,
    pub broker: broker::Source,
    /// As whom to connect to it.
    pub program: broker::Program,
    /// Slots of each queue.
    pub slots: BTreeMap<QueueName, u64>,
    /// The task file's, if one was named.
    pub tasks: Option<Vec<TaskDefinition>>,
    /// Where the gateways are for the services that `http` tasks ask, `http://host:port`.
    pub public_url: Option<String>,
    pub hand_over: Duration,
    pub handler_threads: usize,
    pub worker_name: String,
    pub retention_ms: i64,
    /// Whether the program's `main` looks at `guard::is_asked`, so that it can be started again as a guard over the programs of
    /// `command` tasks. Not a setting: only the program itself knows.
    pub guarded: bool,
}

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: Listen,
    store_url: Addresses,
    amqp_url: String,
    queues: Queues,
    slots: u64,
    tasks: String,
    public_url: String,
    hand_over_ms: u64,
    handler_threads: u64,
    worker_name: String,
    retention_ms: u64,
}

impl Config {
    /// For a worker that is a program of its own: it needs an `AMQP_URL`.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        Self::read(source, None)
    }

    /// For a worker inside a program that has a broker.
    ///
    /// # Errors
    /// Every fault found, each as one sentence.
    pub fn load_with_broker(source: &Source, broker: broker::Source) -> Result<Self, ConfigError> {
        Self::read(source, Some(broker))
    }

    fn read(source: &Source, broker: Option<broker::Source>) -> Result<Self, ConfigError> {
        // What is only known after a further look (a URL, a file) is kept, not looked at twice.
        let program = if broker.is_some() { broker::Program::Up } else { broker::Program::Worker };
        let mut looked = Looked { program, broker, slots: BTreeMap::new(), tasks: None, public_url: None };
        let settings = load_checked(DEFAULTS, source, |settings: &Settings, faults| {
            looked.look(settings, source, faults);
        });
        let (settings, internal): (Settings, _) = ConfigError::both(settings, InternalKey::load(source))?;
        let Looked { broker, slots, tasks, public_url, .. } = looked;
        let broker = broker.expect("a missing one is a fault, noted above");
        let worker_name = if settings.worker_name.is_empty() { instance::by_process() } else { settings.worker_name };
        Ok(Self {
            listen: settings.listen.0,
            internal,
            store_url: settings.store_url,
            broker,
            program,
            slots,
            tasks,
            public_url,
            hand_over: Duration::from_millis(settings.hand_over_ms),
            handler_threads: usize::try_from(settings.handler_threads).unwrap_or(usize::MAX),
            worker_name,
            retention_ms: i64::try_from(settings.retention_ms).unwrap_or(i64::MAX),
            guarded: false,
        })
    }

    /// The same, for a program whose `main` looks at `guard::is_asked`.
    #[must_use]
    pub fn guarded(self) -> Self {
        Self { guarded: true, ..self }
    }

    /// The tasks of the task file, or the built-in ones.
    ///
    /// # Errors
    /// When a name occurs twice.
    pub fn registry(&self) -> Result<Registry, RegistryError> {
        let mut tasks = self.tasks.clone().unwrap_or_else(tasks::built_in);
        for task in &mut tasks {
            if let TaskKind::Http(http) = &mut task.kind {
                http.public_url.clone_from(&self.public_url);
            }
        }
        Registry::new().tasks(tasks)
    }
}

/// What a second look at the settings gave.
struct Looked {
    program: broker::Program,
    broker: Option<broker::Source>,
    slots: BTreeMap<QueueName, u64>,
    tasks: Option<Vec<TaskDefinition>>,
    public_url: Option<String>,
}

impl Looked {
    fn look(&mut self, settings: &Settings, source: &Source, faults: &mut Vec<Fault>) {
        if self.broker.is_none() {
            self.broker = broker::Source::setting(&settings.amqp_url, faults);
        }
        check_range("LONGSHORE_SLOTS", settings.slots, 1, SLOTS_MAX, faults);
        check_range("LONGSHORE_HAND_OVER_MS", settings.hand_over_ms, 100, 1_500_000, faults);
        check_range("LONGSHORE_HANDLER_THREADS", settings.handler_threads, 1, 256, faults);
        match settings.queues.divide(settings.slots) {
            Ok(slots) => self.slots = slots,
            Err(accepted) => faults.push(Fault::value("LONGSHORE_SLOTS", &settings.slots.to_string(), &accepted)),
        }
        let total: u64 = self.slots.values().sum();
        let is_divided = matches!(settings.queues, Queues::Divided(_));
        if is_divided && source.get("LONGSHORE_SLOTS").is_some() && total != settings.slots {
            let accepted = format!("unset or {total}, as LONGSHORE_QUEUES says how many slots each queue has");
            faults.push(Fault::value("LONGSHORE_SLOTS", &settings.slots.to_string(), &accepted));
        } else if total > SLOTS_MAX {
            let accepted = format!("at most {SLOTS_MAX} slots in all");
            faults.push(Fault::value(
                "LONGSHORE_QUEUES",
                source.get("LONGSHORE_QUEUES").unwrap_or_default(),
                &accepted,
            ));
        }
        if !settings.public_url.is_empty() {
            let url = settings.public_url.trim_end_matches('/');
            match url.parse::<Target>() {
                Ok(target) if target.path().query().is_none() => self.public_url = Some(url.to_owned()),
                _ => faults.push(Fault::value("LONGSHORE_PUBLIC_URL", url, "a URL such as http://longshore:8000")),
            }
        }
        if !settings.tasks.is_empty() {
            match tasks::load(Path::new(&settings.tasks), source) {
                Ok(tasks) => self.tasks = Some(tasks),
                Err(error) => faults.push(Fault::sentence(format!("LONGSHORE_TASKS: {error}."))),
            }
        }
        self.look_at_reports(settings, faults);
    }
}

impl Looked {
    /// Whoever takes a job on must know where to report. A program with a broker has gateways, too, and says where they are.
    fn look_at_reports(&self, settings: &Settings, faults: &mut Vec<Fault>) {
        let reports_later = |task: &&TaskDefinition| matches!(&task.kind, TaskKind::Http(http) if http.report_later);
        if let Some(task) = self.tasks.iter().flatten().find(reports_later)
            && settings.public_url.is_empty()
            && self.program == broker::Program::Worker
        {
            let pattern = &task.pattern;
            let accepted = format!("the URL of the gateways, as the service of the task {pattern} may report later");
            faults.push(Fault::missing("LONGSHORE_PUBLIC_URL", &accepted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: (&str, &str) = ("AMQP_URL", "amqp://worker:secret@127.0.0.1:5672/longshore");

    fn check(variables: &[(&str, &str)], says: &str) {
        let error = Config::load(&Source::from_pairs(variables.iter().copied())).expect_err("refused").to_string();
        assert!(error.contains(says), "{variables:?}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn defaults_are_complete_but_for_the_broker() {
        chassis::testing::check_defaults(DEFAULTS);
        let config = Config::load(&Source::from_pairs([URL])).expect("accepted");
        assert_eq!((config.listen.port(), config.slots.values().sum::<u64>()), (5005, 8));
        assert!(config.registry().expect("unique").find("report_7").is_some());
        check(&[], "AMQP_URL is not set");
    }

    #[test]
    fn bad_values_are_named_with_the_accepted_ones() {
        check(&[("AMQP_URL", "http://worker:secret@x")], "AMQP_URL is not an AMQP URL");
        check(&[URL, ("LONGSHORE_SLOTS", "0")], "LONGSHORE_SLOTS is \"0\"");
        check(&[URL, ("LONGSHORE_SLOTS", "2000")], "from 1 to 1024");
        check(&[URL, ("LONGSHORE_QUEUES", "a=1,b")], "either all with a number of slots");
        check(&[URL, ("LONGSHORE_QUEUES", "a,b,c"), ("LONGSHORE_SLOTS", "2")], "at least 3, one for each queue");
        check(&[URL, ("LONGSHORE_QUEUES", "a=1,b=2"), ("LONGSHORE_SLOTS", "4")], "unset or 3");
        check(&[URL, ("LONGSHORE_QUEUES", "a=1000,b=1000")], "at most 1024 slots in all");
        check(&[URL, ("LONGSHORE_TASKS", "/nowhere.toml")], "LONGSHORE_TASKS: /nowhere.toml: cannot be read");
        check(&[("LONGSHORE_TASKS", "/nowhere.toml")], "AMQP_URL is not set");
    }

    #[test]
    fn queues_may_divide_the_slots() {
        let source = Source::from_pairs([URL, ("LONGSHORE_QUEUES", "default=6,reports=2")]);
        let config = Config::load(&source).expect("accepted");
        let slots: Vec<_> = config.slots.iter().map(|(name, slots)| format!("{name}={slots}")).collect();
        assert_eq!(slots, ["default=6", "reports=2"]);
    }
}
