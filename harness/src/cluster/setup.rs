//! What a test asks for: which programs, how many, on which broker, with which settings. Turned into a plan with names, addresses and
//! environments, which a test may still change before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::binaries::binary;
use crate::ports::free_address;
use crate::process::Spec;

/// Tasks that every test may use unless it brings its own.
pub const TASKS: &str = include_str!("tasks.toml");

/// Jobs left over at a test's end get this long to end.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Tasks {
    Text(String),
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Setup {
    /// `AMQP_URL` by program ("gateway", "worker", …, "up"); none for the embedded broker.
    amqp: Option<BTreeMap<String, String>>,
    one_process: bool,
    default_addresses: bool,
    gateways: usize,
    workers: usize,
    stores: usize,
    caches: usize,
    database: String,
    worker_program: String,
    build: Option<String>,
    slots: String,
    tasks: Tasks,
    settings: Vec<(String, String, String)>,
    api_key: Option<String>,
    pub settle_within: Duration,
    pub alone: bool,
}

impl Setup {
    /// `longshore up` with its embedded broker: three gateways, one worker.
    pub fn embedded() -> Self {
        Self {
            amqp: None,
            one_process: true,
            default_addresses: false,
            gateways: 3,
            workers: 1,
            stores: 1,
            caches: 1,
            database: "sqlite:store.db".to_owned(),
            worker_program: "worker".to_owned(),
            build: None,
            slots: "4".to_owned(),
            tasks: Tasks::Text(TASKS.to_owned()),
            settings: Vec::new(),
            api_key: None,
            settle_within: SETTLE_WITHIN,
            alone: false,
        }
    }

    /// Each program as a process of its own on a RabbitMQ node: three gateways, two workers.
    pub fn rabbitmq(amqp_urls: BTreeMap<String, String>) -> Self {
        Self { amqp: Some(amqp_urls), one_process: false, workers: 2, ..Self::embedded() }
    }

    /// All programs in one process, on whichever broker.
    pub fn in_one_process(mut self) -> Self {
        self.one_process = true;
        self.workers = 1;
        self
    }

    /// The ports that the programs use when nobody says otherwise: only in a network namespace of one's own.
    pub fn at_default_addresses(mut self) -> Self {
        self.default_addresses = true;
        self
    }

    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// So many stores on this PostgreSQL database: `store-svc`, `store-svc-1`, … Gateways and workers ask different ones first.
    pub fn postgres(mut self, url: impl Into<String>, stores: usize) -> Self {
        self.database = url.into();
        self.stores = stores;
        self
    }

    /// So many cache-svc, one of them sequencer at a time: `cache-svc`, `cache-svc-1`, …
    pub fn caches(mut self, count: usize) -> Self {
        self.caches = count;
        self
    }

    /// Another program than `worker`, with handlers of its own.
    pub fn worker_program(mut self, name: &str) -> Self {
        name.clone_into(&mut self.worker_program);
        self
    }

    /// Programs of another build: those that this folder, beside the tests' own programs, has.
    pub fn build(mut self, folder: &str) -> Self {
        self.build = Some(folder.to_owned());
        self
    }

    /// `LONGSHORE_SLOTS` of each worker.
    pub fn slots(mut self, slots: impl Into<String>) -> Self {
        self.slots = slots.into();
        self
    }

    /// What the workers' task file says.
    pub fn tasks(mut self, toml: impl Into<String>) -> Self {
        self.tasks = Tasks::Text(toml.into());
        self
    }

    /// A task file where it lies.
    pub fn task_file(mut self, path: PathBuf) -> Self {
        self.tasks = Tasks::File(path);
        self
    }

    /// One more environment variable for the processes whose name starts with `member` ("worker", "gateway-1", "up"; "" for all).
    pub fn set(mut self, member: &str, variable: &str, value: impl Into<String>) -> Self {
        self.settings.push((member.to_owned(), variable.to_owned(), value.into()));
        self
    }

    /// The gateways ask for keys; the cluster's client has this one, which is good for everything.
    pub fn api_key(mut self, api_key: &str) -> Self {
        self.api_key = Some(api_key.to_owned());
        self
    }

    /// How long the jobs left at the end may take.
    pub fn settle_within(mut self, within: Duration) -> Self {
        self.settle_within = within;
        self
    }

    /// No other scenario of this test binary runs beside this one: for published bounds.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Chooses addresses and writes the task file into `folder`.
    pub fn plan(&self, folder: &Path) -> Result<Plan> {
        let task_file = match &self.tasks {
            Tasks::File(path) => path.clone(),
            Tasks::Text(toml) => {
                let path = folder.join("tasks.toml");
                std::fs::write(&path, toml)?;
                path
            }
        };
        let mut plan = Plan {
            folder: folder.to_owned(),
            addresses: BTreeMap::new(),
            specs: Vec::new(),
            api_key: self.api_key.clone(),
        };
        for name in self.names() {
            let address = if self.default_addresses { default_address(&name)? } else { free_address()? };
            plan.addresses.insert(name, address);
        }
        if self.one_process {
            self.plan_up(&mut plan, &task_file)?;
        } else {
            self.plan_programs(&mut plan, &task_file)?;
        }
        if let Some(api_key) = &self.api_key {
            let file = folder.join("first.key");
            std::fs::write(&file, api_key)?;
            for member in ["up", "gateway", "lb"] {
                plan.set(member, "LONGSHORE_AUTH", "1");
            }
            for member in ["up", "gateway"] {
                plan.set(member, "LONGSHORE_ADMIN_KEY_FILE", &file.display().to_string());
            }
        }
        for (member, variable, value) in &self.settings {
            plan.set(member, variable, value);
        }
        if let Some(build) = &self.build {
            for spec in &mut plan.specs {
                if let Ok(other) = binary(&format!("{build}/{}", program_of(&spec.name))) {
                    spec.binary = other;
                }
            }
        }
        Ok(plan)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["lb", "cache-svc", "store-svc"].map(str::to_owned).into();
        names.extend((1..self.stores).map(|number| format!("store-svc-{number}")));
        names.extend((1..self.caches).map(|number| format!("cache-svc-{number}")));
        names.extend((0..self.gateways).map(|number| format!("gateway-{number}")));
        names.extend((0..self.workers).map(|number| format!("worker-{number}")));
        names
    }

    fn plan_up(&self, plan: &mut Plan, task_file: &Path) -> Result<()> {
        let gateways = plan.list("gateway");
        let spec = plan.spec("up", "longshore", &["up"])?;
        spec.arguments.extend(["--gateways".to_owned(), self.gateways.to_string()]);
        spec.arguments.extend(["--data-dir".to_owned(), "data".to_owned()]);
        set(spec, "LONGSHORE_TASKS", &task_file.display().to_string());
        set(spec, "LONGSHORE_SLOTS", &self.slots);
        if let Some(url) = self.amqp.as_ref().and_then(|urls| urls.get("up")) {
            set(spec, "AMQP_URL", url);
        }
        if self.default_addresses {
            return Ok(());
        }
        set(spec, "LONGSHORE_GATEWAY_LISTEN", &gateways);
        for (name, variable) in [
            ("lb", "LONGSHORE_LB_LISTEN"),
            ("cache-svc", "LONGSHORE_CACHE_LISTEN"),
            ("store-svc", "LONGSHORE_STORE_LISTEN"),
            ("worker-0", "LONGSHORE_WORKER_LISTEN"),
        ] {
            let address = plan.address(name)?.to_string();
            plan.set("up", variable, &address);
        }
        Ok(())
    }

    fn plan_programs(&self, plan: &mut Plan, task_file: &Path) -> Result<()> {
        let mut stores = Vec::new();
        for name in self.names().iter().filter(|name| program_of(name) == "store-svc") {
            stores.push(format!("http://{}", plan.address(name)?));
        }
        let caches = plan.list("cache-svc");
        let backends = plan.list("gateway");
        for name in self.names() {
            let program = program_of(&name);
            let listen = plan.address(&name)?.to_string();
            let binary = if program == "worker" { &self.worker_program } else { program };
            let spec = plan.spec(&name, binary, &[])?;
            set(spec, "LONGSHORE_LISTEN", &listen);
            if program == "lb" {
                set(spec, "LONGSHORE_BACKENDS", &backends);
                continue;
            }
            let urls = self.amqp.as_ref().context("programs of their own need RabbitMQ")?;
            set(spec, "AMQP_URL", urls.get(program).with_context(|| format!("an AMQP_URL for {program}"))?);
            match program {
                "store-svc" => set(spec, "DATABASE_URL", &self.database),
                _ => set(spec, "LONGSHORE_STORE_URL", &stores.join(",")),
            }
            match program {
                "gateway" => set(spec, "LONGSHORE_CACHE_URL", &caches),
                "worker" => {
                    set(spec, "LONGSHORE_TASKS", &task_file.display().to_string());
                    set(spec, "LONGSHORE_SLOTS", &self.slots);
                }
                _ => {}
            }
            if matches!(program, "gateway" | "worker") {
                stores.rotate_left(1);
            }
        }
        Ok(())
    }
}

/// "gateway-2" is a gateway.
pub fn program_of(name: &str) -> &str {
    name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '-')
}

fn default_address(name: &str) -> Result<SocketAddr> {
    let port = match name {
        "lb" => 8000,
        "gateway-0" => 5000,
        "gateway-1" => 5003,
        "gateway-2" => 5006,
        "store-svc" => 5002,
        "cache-svc" => 5004,
        "worker-0" => 5005,
        _ => bail!("{name} has no default address"),
    };
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn set(spec: &mut Spec, variable: &str, value: &str) {
    spec.environment.insert(variable.to_owned(), value.to_owned());
}

/// Processes to start, in this order, and the address of every program, also of those that share a process.
#[derive(Clone, Debug)]
pub struct Plan {
    pub folder: PathBuf,
    pub addresses: BTreeMap<String, SocketAddr>,
    pub specs: Vec<Spec>,
    /// What the cluster's client shows.
    pub api_key: Option<String>,
}

impl Plan {
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        self.addresses.get(name).copied().with_context(|| format!("no program named {name}"))
    }

    /// Sets a variable for every process whose name starts with `member`.
    pub fn set(&mut self, member: &str, variable: &str, value: &str) {
        for spec in self.specs.iter_mut().filter(|spec| spec.name.starts_with(member)) {
            set(spec, variable, value);
        }
    }

    /// One process of this plan, to be started by itself.
    pub fn take(mut self, name: &str) -> Result<(Spec, SocketAddr)> {
        let address = self.address(name)?;
        self.specs.retain(|spec| spec.name == name);
        Ok((self.specs.pop().with_context(|| format!("no process named {name}"))?, address))
    }

    fn list(&self, program: &str) -> String {
        let members = self.addresses.iter().filter(|(name, _)| program_of(name) == program);
        members.map(|(_, address)| address.to_string()).collect::<Vec<_>>().join(",")
    }

    fn spec(&mut self, name: &str, program: &str, arguments: &[&str]) -> Result<&mut Spec> {
        self.specs.push(Spec {
            name: name.to_owned(),
            binary: binary(program)?,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: BTreeMap::from([("RUST_BACKTRACE".to_owned(), "1".to_owned())]),
            folder: self.folder.clone(),
        });
        self.specs.last_mut().context("just pushed")
    }
}
