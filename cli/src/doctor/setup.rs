//! The set-up that is looked at: one program's, or that of all in one process, as each reads its own settings.

use std::net::SocketAddr;

use chassis::broker;
use chassis::config::{Address, Addresses, Common, ConfigError, Fault, Source, refuse_exposed};
use protocol::key::QueueName;
use store_svc::Database;

use crate::arguments::{Doctor, Program, Up};
use crate::up::plan::{Plan, collisions, program_of};

/// A port that a program takes.
#[derive(Clone, Debug)]
pub(super) struct Listen {
    /// What `/ready` calls the program.
    pub(super) program: &'static str,
    pub(super) variable: &'static str,
    pub(super) address: SocketAddr,
}

/// Another program that this one calls.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) program: &'static str,
    pub(super) address: Address,
}

#[derive(Debug, Default)]
pub(super) struct Setup {
    pub(super) summary: String,
    pub(super) listens: Vec<Listen>,
    pub(super) peers: Vec<Peer>,
    pub(super) database: Option<Database>,
    pub(super) broker: Option<broker::Source>,
    pub(super) at_broker: Option<broker::Program>,
    pub(super) queues: Vec<QueueName>,
    /// Of clients, as many as may be open at once in one process.
    pub(super) connections: usize,
    /// There is a balancer to ask through.
    pub(super) has_balancer: bool,
}

impl Setup {
    /// # Errors
    /// Every fault found, each as one sentence.
    pub(super) fn read(arguments: &Doctor, source: &Source) -> Result<Self, ConfigError> {
        let setup = match arguments.program {
            Program::Up => {
                let up = Up { gateways: arguments.gateways, data_dir: arguments.data_dir.clone() };
                return of_plan(Plan::read(&up, source)?);
            }
            Program::Gateway => of_gateway(gateway::Config::load(source)),
            Program::Worker => of_worker(worker::Config::load(source)),
            Program::StoreSvc => of_store(store_svc::Config::load(source)),
            Program::CacheSvc => of_cache(cache_svc::Config::load(source)),
            Program::Lb => of_balancer(lb::Config::load(source)),
        };
        let (common, mut setup) = ConfigError::both(Common::load(source), setup)?;
        for listen in &setup.listens {
            refuse_exposed(listen.variable, listen.address, common.may_expose(listen.program))?;
        }
        setup.at_broker = arguments.program.at_broker();
        Ok(setup)
    }
}

fn of_plan(plan: Plan) -> Result<Setup, ConfigError> {
    let listens = plan.listens();
    if let Some(sentence) = collisions(&listens) {
        return Err(Fault::sentence(sentence).into());
    }
    let slots: u64 = plan.worker.slots.values().sum();
    let gateways = plan.gateways.len();
    let summary = format!("longshore up: {gateways} gateways, {slots} slots, queues {}", names(&plan.queues));
    let programs = listens.into_iter().map(|(what, variable, address)| listen(program_of(what), variable, address));
    let of_gateways: usize = plan.gateways.iter().map(|gateway| gateway.connections_max).sum();
    Ok(Setup {
        summary,
        listens: programs.chain(operators(&plan.lb)).collect(),
        database: Some(plan.store.database),
        broker: Some(plan.broker),
        at_broker: Some(broker::Program::Up),
        queues: plan.queues,
        connections: plan.lb.client_connections_max + of_gateways + plan.cache.connections_max,
        has_balancer: true,
        ..Setup::default()
    })
}

fn of_gateway(config: Result<gateway::Config, ConfigError>) -> Result<Setup, ConfigError> {
    config.map(|config| Setup {
        summary: format!("gateway: queues {}", names(&config.queues)),
        listens: vec![own("gateway", config.listen)],
        peers: peers("store-svc", &config.store_url).chain(peers("cache-svc", &config.cache_url)).collect(),
        broker: Some(config.broker),
        queues: config.queues,
        connections: config.connections_max,
        ..Setup::default()
    })
}

fn of_worker(config: Result<worker::Config, ConfigError>) -> Result<Setup, ConfigError> {
    config.map(|config| {
        let queues: Vec<QueueName> = config.slots.keys().cloned().collect();
        Setup {
            summary: format!("worker: {} slots, queues {}", config.slots.values().sum::<u64>(), names(&queues)),
            listens: vec![own("worker", config.listen)],
            peers: peers("store-svc", &config.store_url).collect(),
            broker: Some(config.broker),
            queues,
            ..Setup::default()
        }
    })
}

fn of_store(config: Result<store_svc::Config, ConfigError>) -> Result<Setup, ConfigError> {
    config.map(|config| Setup {
        summary: format!("store-svc: {}, queues {}", config.database, names(&config.queues)),
        listens: vec![own("store-svc", config.listen)],
        database: Some(config.database),
        broker: Some(config.broker),
        queues: config.queues,
        ..Setup::default()
    })
}

fn of_cache(config: Result<cache_svc::Config, ConfigError>) -> Result<Setup, ConfigError> {
    config.map(|config| Setup {
        summary: "cache-svc".to_owned(),
        listens: vec![own("cache-svc", config.listen)],
        peers: peers("store-svc", &config.store_url).collect(),
        broker: Some(config.broker),
        connections: config.connections_max,
        ..Setup::default()
    })
}

fn of_balancer(config: Result<lb::Config, ConfigError>) -> Result<Setup, ConfigError> {
    config.map(|config| Setup {
        summary: format!("lb: {} backends", config.backends.as_slice().len()),
        listens: std::iter::once(own("lb", config.listen())).chain(operators(&config)).collect(),
        peers: peers("gateway", &config.backends).collect(),
        connections: config.client_connections_max,
        has_balancer: true,
        ..Setup::default()
    })
}

/// Its other port, if it has one. (That of TLS answers nobody who does not speak it.)
fn operators(config: &lb::Config) -> Option<Listen> {
    config.admin_listen.map(|admin| listen("lb", "LONGSHORE_ADMIN_LISTEN", admin.0))
}

fn own(program: &'static str, address: SocketAddr) -> Listen {
    listen(program, "LONGSHORE_LISTEN", address)
}

fn listen(program: &'static str, variable: &'static str, address: SocketAddr) -> Listen {
    Listen { program, variable, address }
}

fn peers(program: &'static str, addresses: &Addresses) -> impl Iterator<Item = Peer> {
    addresses.as_slice().iter().map(move |address| Peer { program, address: address.clone() })
}

fn names(queues: &[QueueName]) -> String {
    queues.iter().map(QueueName::as_str).collect::<Vec<_>>().join(", ")
}
