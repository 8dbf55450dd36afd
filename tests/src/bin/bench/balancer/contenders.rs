//! The balancers that are compared, each with the same work before the same three backends.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tests::Process;
use tests::binaries::binary;
use tests::ports::free_address;

use crate::meter::Meter;
use crate::plan::Plan;
use crate::programs::{self, fill, until_answers};
use crate::reads::start_nginx;
use crate::record::Contender;

const BACKENDS: &str = include_str!("../../../../bench/balancer/backends.cfg");
const HAPROXY: &str = include_str!("../../../../bench/balancer/haproxy.cfg");
const NGINX: &str = include_str!("../../../../bench/balancer/nginx.conf");
/// Of every balancer.
const THREADS: usize = 2;
const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 64 * 1024;
pub(super) const SMALL: &str = "/small";
pub(super) const LARGE: &str = "/large";

/// Whether a line is written for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    Off,
    On,
}

impl Log {
    pub(super) fn word(self) -> &'static str {
        match self {
            Log::Off => "off",
            Log::On => "on",
        }
    }
}

/// Three backends in one process, and the folder of all that is started.
pub(super) struct Origin {
    pub(super) folder: TempDir,
    addresses: [SocketAddr; 3],
    _process: Process,
}

impl Origin {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
        let mut values = Vec::new();
        for (name, bytes) in [("small", SMALL_BYTES), ("large", LARGE_BYTES)] {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![b'x'; bytes])?;
            values.push((name, path.display().to_string()));
        }
        let addresses = [free_address()?, free_address()?, free_address()?];
        values.extend(named(addresses));
        let mut process = haproxy(&folder, "backends", &fill(BACKENDS, &values)?)?;
        for path in [SMALL, LARGE] {
            until_answers(&mut process, addresses[0], path).await?;
        }
        Ok(Self { folder, addresses, _process: process })
    }

    /// `lb` before these backends, with these settings besides.
    pub(super) async fn lb(&self, name: &str, settings: &[(&str, String)]) -> Result<Balancer> {
        lb(&self.folder, name, self.addresses, settings).await
    }

    /// `HAProxy` before them, without a log.
    pub(super) async fn haproxy(&self, name: &str) -> Result<Balancer> {
        start_haproxy(&self.folder, name, self.addresses, "no log").await
    }
}

/// `lb` before any three backends.
pub(super) async fn lb(
    folder: &TempDir,
    name: &str,
    backends: [SocketAddr; 3],
    settings: &[(&str, String)],
) -> Result<Balancer> {
    let address = free_address()?;
    let common = [
        ("LONGSHORE_LISTEN", address.to_string()),
        ("LONGSHORE_BACKENDS", backends.map(|backend| backend.to_string()).join(",")),
        ("LONGSHORE_EVENT_LOOPS", THREADS.to_string()),
    ];
    let process = programs::start(folder.path(), name, binary("lb")?, &[], &[common.as_slice(), settings].concat())?;
    let what = "round robin, checks each 250 ms, retries, request ids, forwarding fields, metrics on, two event loops";
    Balancer::new(folder, "lb", what, address, process).await
}

pub(super) struct Balancer {
    pub(super) contender: Contender,
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    pub(super) meter: Meter,
    log: PathBuf,
}

impl Balancer {
    async fn new(folder: &TempDir, name: &str, what: &str, address: SocketAddr, mut process: Process) -> Result<Self> {
        until_answers(&mut process, address, SMALL).await?;
        let mut meter = Meter::default();
        meter.add("balancer", process.pid());
        let contender = Contender { name: name.to_owned(), what: what.to_owned(), runs: Vec::new() };
        let log = folder.path().join(format!("{}.log", process.name()));
        Ok(Self { contender, address, process, meter, log })
    }

    /// What it wrote is read by nobody, and lines of some minutes fill a disk. All write at the end of the file, wherever that is.
    pub(super) fn empty_log(&self) -> Result<()> {
        let file = File::options().write(true).open(&self.log);
        file.and_then(|file| file.set_len(0)).with_context(|| format!("emptying {}", self.log.display()))
    }
}

pub(super) async fn start(plan: &Plan, origin: &mut Origin, log: Log) -> Result<Vec<Balancer>> {
    let (folder, word) = (&origin.folder, log.word());
    let logs = (log == Log::On).to_string();
    let lb = origin.lb(&format!("lb-{word}"), &[("LONGSHORE_ACCESS_LOG", logs)]).await?;
    let [at_nginx, at_pingora] = [free_address()?, free_address()?];
    let (to_haproxy, to_nginx) = match log {
        Log::Off => ("no log", "off"),
        Log::On => ("log stdout format raw local0", "/dev/stdout line"),
    };
    let haproxy = start_haproxy(folder, &format!("haproxy-{word}"), origin.addresses, to_haproxy).await?;
    let values = values(origin.addresses, at_nginx, to_nginx);
    let nginx = start_nginx(folder.path(), &format!("nginx-{word}"), NGINX, THREADS, &values)?;
    let arguments = [at_pingora.to_string(), word.to_owned()].into_iter();
    let arguments: Vec<_> = arguments.chain(origin.addresses.map(|address| address.to_string())).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let pingora =
        programs::start(folder.path(), &format!("pingora-{word}"), plan.installed.pingora()?, &arguments, &[])?;
    Ok(vec![
        lb,
        haproxy,
        Balancer::new(folder, "nginx", "the same without active checks, two workers", at_nginx, nginx).await?,
        Balancer::new(folder, "Pingora", PINGORA, at_pingora, pingora).await?,
    ])
}

const PINGORA: &str = "its load balancer with the same settings (tests/bench/balancer/pingora), two threads";

async fn start_haproxy(folder: &TempDir, name: &str, backends: [SocketAddr; 3], log: &str) -> Result<Balancer> {
    let address = free_address()?;
    let process = haproxy(folder, name, &fill(HAPROXY, &values(backends, address, log))?)?;
    Balancer::new(folder, "HAProxy", "the same settings, http-reuse always, two threads", address, process).await
}

fn values(backends: [SocketAddr; 3], listen: SocketAddr, log: &str) -> Vec<(&'static str, String)> {
    let mut values = named(backends).to_vec();
    values.extend([("listen", listen.to_string()), ("log", log.to_owned())]);
    values
}

fn haproxy(folder: &TempDir, name: &str, text: &str) -> Result<Process> {
    let settings = folder.path().join(format!("{name}.cfg"));
    std::fs::write(&settings, text)?;
    programs::start(folder.path(), name, "haproxy", &["-f", &settings.display().to_string()], &[])
}

fn named(addresses: [SocketAddr; 3]) -> [(&'static str, String); 3] {
    let [a, b, c] = addresses.map(|address| address.to_string());
    [("a", a), ("b", b), ("c", c)]
}
