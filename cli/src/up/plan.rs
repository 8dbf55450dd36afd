//! What `longshore up` will run, checked as a whole before anything is bound: every program's own settings with the addresses that make
//! them one system.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chassis::broker::{self, EmbeddedBroker};
use chassis::config::{Addresses, Common, ConfigError, Fault, Listen, Source, load, load_checked, refuse_exposed};
use protocol::key::QueueName;
use protocol::topology::Topology;
use serde::Deserialize;

use super::bound::Places;
use crate::arguments::Up;

/// The documentation and the defaults of the settings.
const DEFAULTS: &str = include_str!("default.toml");

const GATEWAYS_MAX: usize = 64;
/// The distance between the ports of two gateways.
const GATEWAY_PORT_STEP: u16 = 3;
/// What `up` decides itself, because it starts the other end.
const OWN: [&str; 4] = ["LONGSHORE_STORE_URL", "LONGSHORE_CACHE_URL", "LONGSHORE_BACKENDS", "LONGSHORE_LB_ADMIN_URL"];
/// Where the balancer listens for operators unless it is said: the console shows what it answers there.
const ANY_PORT: &str = "127.0.0.1:0";

/// Every program's settings, and what `up` needs itself.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) common: Common,
    pub(crate) broker: broker::Source,
    pub(crate) queues: Vec<QueueName>,
    pub(crate) store: store_svc::Config,
    pub(crate) cache: cache_svc::Config,
    pub(crate) gateways: Vec<gateway::Config>,
    pub(crate) worker: worker::Config,
    pub(crate) lb: lb::Config,
}

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    gateways: u16,
    data_dir: PathBuf,
    lb_listen: Listen,
    gateway_listen: String,
    store_listen: Listen,
    cache_listen: Listen,
    worker_listen: Listen,
    queues: String,
    amqp_url: String,
}

impl Plan {
    /// # Errors
    /// Every fault found, each as one sentence.
    pub(crate) fn read(arguments: &Up, source: &Source) -> Result<Self, ConfigError> {
        let source = with_arguments(arguments, source);
        let (mut gateway_addresses, mut queues, mut broker) = (Vec::new(), Vec::new(), None);
        let settings = load_checked(DEFAULTS, &source, |settings: &Settings, faults| {
            faults.extend(OWN.into_iter().filter(|name| source.get(name).is_some()).map(not_ours));
            gateway_addresses = addresses(settings, &source, faults);
            queues = queue_names(&settings.queues, faults);
            broker = broker_of(&settings.amqp_url, &queues, faults);
        });
        let (common, settings) = ConfigError::both(Common::load(&source), settings)?;
        let broker = broker.ok_or_else(|| Fault::missing("AMQP_URL", "amqp://user:password@host:port/vhost"))?;
        Self::of(common, &settings, &source, queues, broker, &gateway_addresses)
    }

    fn of(
        common: Common,
        settings: &Settings,
        source: &Source,
        queues: Vec<QueueName>,
        broker: broker::Source,
        gateway_addresses: &[SocketAddr],
    ) -> Result<Self, ConfigError> {
        let names = queues.iter().map(QueueName::as_str).collect::<Vec<_>>().join(",");
        let shared = source.clone().with("LONGSHORE_QUEUES", names);
        let at = |source: &Source, listen: SocketAddr| source.clone().with("LONGSHORE_LISTEN", listen.to_string());
        let mut database = at(&shared, settings.store_listen.0);
        if source.get("DATABASE_URL").is_none() {
            let file = settings.data_dir.join("longshore.db");
            database = database.with("DATABASE_URL", format!("sqlite:{}", file.display()));
        }
        let store = store_svc::Config::load_with_broker(&database, broker.clone());
        let cache = cache_svc::Config::load_with_broker(&at(&shared, settings.cache_listen.0), broker.clone());
        let gateways: Result<Vec<_>, _> = gateway_addresses
            .iter()
            .map(|listen| gateway::Config::load_with_broker(&at(&shared, *listen), broker.clone()))
            .collect();
        let worker = worker::Config::load_with_broker(&at(source, settings.worker_listen.0), broker.clone());
        // Our `main` knows how to be the guard over the programs of `command` tasks.
        let worker = worker.map(worker::Config::guarded);
        let mut balancer = at(&shared, settings.lb_listen.0);
        if !source.has("LONGSHORE_ADMIN_LISTEN") {
            balancer = balancer.with("LONGSHORE_ADMIN_LISTEN", ANY_PORT);
        }
        let lb = lb::Config::load(&balancer);
        let truth = ConfigError::both(store, cache);
        let services = ConfigError::both(ConfigError::both(truth, gateways), ConfigError::both(worker, lb));
        let (((store, cache), gateways), (worker, lb)) = services?;
        let plan = Self { common, broker, queues, store, cache, gateways, worker, lb };
        let faults = plan.listens().into_iter().filter_map(|(what, variable, listen)| {
            refuse_exposed(variable, listen, plan.common.may_expose(program_of(what))).err()
        });
        ConfigError::of(faults.collect())?;
        Ok(plan)
    }

    /// Every address to listen at: what for, and which variable changes it.
    pub(crate) fn listens(&self) -> Vec<(&'static str, &'static str, SocketAddr)> {
        let mut listens = vec![("store", "LONGSHORE_STORE_LISTEN", self.store.listen)];
        listens.push(("cache", "LONGSHORE_CACHE_LISTEN", self.cache.listen));
        listens.extend(self.gateways.iter().map(|gateway| ("gateway", "LONGSHORE_GATEWAY_LISTEN", gateway.listen)));
        listens.push(("worker", "LONGSHORE_WORKER_LISTEN", self.worker.listen));
        listens.push(("balancer", "LONGSHORE_LB_LISTEN", self.lb.listen()));
        listens
    }

    /// Writes the addresses that were bound where they are called.
    pub(crate) fn connect(&mut self, places: &Places) {
        for gateway in &mut self.gateways {
            gateway.store_url = places.store.into();
            gateway.cache_url = places.cache.into();
            gateway.lb_admin_url = places.lb_admin.map(Into::into);
        }
        self.cache.store_url = places.store.into();
        self.worker.store_url = places.store.into();
        self.worker.public_url.get_or_insert_with(|| format!("http://{}", places.lb));
        let (first, others) = places.gateways.split_first().expect("there is at least one gateway");
        self.lb.backends = Addresses::new((*first).into(), others.iter().map(|other| (*other).into()));
    }

    /// The worker's tasks, as it matches them.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let patterns = self.worker.registry().map(|registry| registry.patterns()).unwrap_or_default();
        patterns.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn drain(&self) -> Duration {
        self.common.drain()
    }
}

/// Where the store keeps its data, unless `DATABASE_URL` says it.
///
/// # Errors
/// Every fault found in the settings.
pub(crate) fn data_dir(arguments: &Up, source: &Source) -> Result<PathBuf, ConfigError> {
    let settings: Settings = load(DEFAULTS, &with_arguments(arguments, source))?;
    Ok(settings.data_dir)
}

/// From the words of [`Plan::listens`] to the program's name.
pub(crate) fn program_of(what: &str) -> &'static str {
    match what {
        "store" => "store-svc",
        "cache" => "cache-svc",
        "gateway" => "gateway",
        "worker" => "worker",
        _ => "lb",
    }
}

/// Arguments win over variables; `LONGSHORE_LISTEN` means where clients connect.
fn with_arguments(arguments: &Up, source: &Source) -> Source {
    let mut source = source.clone();
    if let Some(gateways) = arguments.gateways {
        source = source.with("LONGSHORE_GATEWAYS", gateways.to_string());
    }
    if let Some(folder) = &arguments.data_dir {
        source = source.with("LONGSHORE_DATA_DIR", folder.display().to_string());
    }
    match source.get("LONGSHORE_LISTEN").map(str::to_owned) {
        Some(listen) if source.get("LONGSHORE_LB_LISTEN").is_none() => source.with("LONGSHORE_LB_LISTEN", listen),
        _ => source,
    }
}

fn not_ours(name: &str) -> Fault {
    Fault::sentence(format!("{name} is set, but `longshore up` starts that part itself: unset it."))
}

/// As many addresses as there are gateways.
fn addresses(settings: &Settings, source: &Source, faults: &mut Vec<Fault>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for text in settings.gateway_listen.split(',') {
        match text.trim().parse::<Listen>() {
            Ok(listen) => addresses.push(listen.0),
            Err(accepted) => {
                let accepted = format!("{accepted}, several of them separated by commas");
                faults.push(Fault::value("LONGSHORE_GATEWAY_LISTEN", &settings.gateway_listen, &accepted));
                return addresses;
            }
        }
    }
    let count = usize::from(settings.gateways);
    if !(1..=GATEWAYS_MAX).contains(&count) {
        faults.push(Fault::value("LONGSHORE_GATEWAYS", &count.to_string(), &format!("from 1 to {GATEWAYS_MAX}")));
        return addresses;
    }
    match (source.get("LONGSHORE_GATEWAY_LISTEN"), source.get("LONGSHORE_GATEWAYS")) {
        (Some(listen), Some(_)) if addresses.len() != count => {
            let accepted = format!("{count} addresses, as there are so many gateways");
            faults.push(Fault::value("LONGSHORE_GATEWAY_LISTEN", listen, &accepted));
        }
        (Some(_), _) => {}
        (None, _) => {
            while let Some(last) = addresses.last().filter(|_| addresses.len() < count) {
                addresses.push(SocketAddr::new(last.ip(), last.port() + GATEWAY_PORT_STEP));
            }
            addresses.truncate(count);
        }
    }
    addresses
}

/// The names alone; how the slots are divided among them is the worker's business.
fn queue_names(text: &str, faults: &mut Vec<Fault>) -> Vec<QueueName> {
    let mut names = Vec::new();
    for part in text.split(',') {
        let name = part.split('=').next().unwrap_or_default().trim();
        match QueueName::try_from(name) {
            Ok(name) => names.push(name),
            Err(error) => faults.push(Fault::sentence(format!("LONGSHORE_QUEUES has {name:?}, which {error}."))),
        }
    }
    names
}

fn broker_of(url: &str, queues: &[QueueName], faults: &mut Vec<Fault>) -> Option<broker::Source> {
    if url.is_empty() {
        return Some(broker::Source::Embedded(EmbeddedBroker::new(&Topology::new(queues))));
    }
    broker::Source::url(url).map_err(|error| faults.push(Fault::sentence(format!("AMQP_URL {error}.")))).ok()
}

/// The sentences of addresses that are meant for two programs.
pub(crate) fn collisions(listens: &[(&'static str, &'static str, SocketAddr)]) -> Option<String> {
    let mut text = String::new();
    for (index, (what, variable, address)) in listens.iter().enumerate() {
        let earlier = listens.iter().take(index).find(|(_, _, other)| other == address && address.port() != 0);
        if let Some((other, _, _)) = earlier {
            write!(text, "{address} is meant for the {other} and for the {what}: change {variable}. ")
                .unwrap_or_default();
        }
    }
    (!text.is_empty()).then(|| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &Up, variables: &[(&str, &str)]) -> Result<Plan, ConfigError> {
        Plan::read(arguments, &Source::from_pairs(variables.iter().copied()))
    }

    fn ports(plan: &Plan) -> Vec<u16> {
        plan.gateways.iter().map(|gateway| gateway.listen.port()).collect()
    }

    fn refused(variables: &[(&str, &str)], says: &str) {
        let error = plan(&Up::default(), variables).expect_err("refused").to_string();
        assert!(error.contains(says), "{variables:?}: {error}");
    }

    #[test]
    fn nothing_said_means_the_documented_addresses() {
        chassis::testing::check_defaults(DEFAULTS);
        let plan = plan(&Up::default(), &[]).expect("accepted");
        assert_eq!(ports(&plan), [5000, 5003, 5006]);
        let others =
            (plan.lb.listen().port(), plan.store.listen.port(), plan.cache.listen.port(), plan.worker.listen.port());
        assert_eq!(others, (8000, 5002, 5004, 5005));
        assert_eq!(plan.store.database.to_string(), "var/longshore.db");
        assert_eq!(plan.lb.admin_listen.map(|listen| listen.0.to_string()).as_deref(), Some(ANY_PORT));
        assert!(matches!(plan.broker, broker::Source::Embedded(_)));
        assert_eq!(collisions(&plan.listens()), None);
    }

    #[test]
    fn arguments_win_over_variables() {
        let arguments = Up { gateways: Some(5), data_dir: Some("elsewhere".into()) };
        let plan = plan(&arguments, &[("LONGSHORE_GATEWAYS", "2"), ("LONGSHORE_DATA_DIR", "x")]).expect("accepted");
        assert_eq!(ports(&plan), [5000, 5003, 5006, 5009, 5012]);
        assert_eq!(plan.store.database.to_string(), "elsewhere/longshore.db");
    }

    #[test]
    fn the_variables_of_all_programs_are_honoured() {
        let plan = plan(
            &Up::default(),
            &[
                ("LONGSHORE_LISTEN", "127.0.0.1:9000"),
                ("LONGSHORE_GATEWAY_LISTEN", "127.0.0.1:0,127.0.0.1:0"),
                ("LONGSHORE_QUEUES", "default=6,reports=2"),
                ("LONGSHORE_WAITERS_MAX", "7"),
                ("LONGSHORE_ADMIN_LISTEN", ""),
                ("DATABASE_URL", "sqlite:my.db"),
                ("AMQP_URL", "amqp://up:up-dev@127.0.0.1:5672/longshore"),
            ],
        )
        .expect("accepted");
        assert_eq!(plan.lb.listen().port(), 9000);
        assert_eq!(plan.gateways.len(), 2);
        assert_eq!((plan.gateways[0].waiters_max, plan.lb.admin_listen), (7, None));
        assert_eq!(plan.gateways[0].queues.len(), 2);
        assert_eq!(plan.worker.slots.values().copied().collect::<Vec<_>>(), [6, 2]);
        assert_eq!(plan.store.database.to_string(), "my.db");
        assert!(matches!(plan.broker, broker::Source::Url(_)));
        assert_eq!(collisions(&plan.listens()), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused(&[("LONGSHORE_GATEWAYS", "0")], "LONGSHORE_GATEWAYS is \"0\", but must be from 1 to 64");
        refused(&[("LONGSHORE_GATEWAYS", "2"), ("LONGSHORE_GATEWAY_LISTEN", "127.0.0.1:1")], "2 addresses");
        refused(&[("LONGSHORE_GATEWAY_LISTEN", "5000")], "an IP address and a port");
        refused(&[("LONGSHORE_STORE_URL", "127.0.0.1:5002")], "starts that part itself");
        refused(&[("LONGSHORE_QUEUES", "dead")], "which is reserved");
        refused(&[("AMQP_URL", "http://x")], "AMQP_URL is not an AMQP URL");
        refused(
            &[("LONGSHORE_STORE_LISTEN", "0.0.0.0:5002")],
            "LONGSHORE_STORE_LISTEN is \"0.0.0.0:5002\", which others can",
        );
        refused(&[("LONGSHORE_SLOTS", "0"), ("LONGSHORE_WAITERS_MAX", "x")], "LONGSHORE_WAITERS_MAX");
        refused(&[("LONGSHORE_SLOTS", "0"), ("LONGSHORE_WAITERS_MAX", "x")], "LONGSHORE_SLOTS");
        refused(&[("LONGSHORE_GATEWAY", "0")], "did you mean LONGSHORE_GATEWAYS");
    }

    #[test]
    fn one_address_serves_one_program() {
        let plan = plan(&Up::default(), &[("LONGSHORE_LB_LISTEN", "127.0.0.1:5002")]).expect("accepted");
        let text = collisions(&plan.listens()).expect("a collision");
        assert_eq!(text, "127.0.0.1:5002 is meant for the store and for the balancer: change LONGSHORE_LB_LISTEN.");
    }
}
