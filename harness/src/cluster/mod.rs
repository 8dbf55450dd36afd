//! The system under test as real processes: started from a plan, ready when every program says so, each within reach to be killed, paused
//! and restarted, and all gone when the cluster is dropped.

mod metrics;
mod setup;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::Instant;

pub use metrics::Metrics;
pub use setup::{Plan, Setup, TASKS, program_of};

use crate::client::Client;
use crate::http::Http;
use crate::process::{Process, Spec};
use crate::wait::eventually;

/// Debug builds on a busy machine with two cores, SQLite created, RabbitMQ's queues declared and aged.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What serves, but lacks a part (a near lease, a confirmed publish, a backend), gets this long to find it before a test begins.
const WHOLE_WITHIN: Duration = Duration::from_secs(15);
/// Another process may have taken a port between its choice and its use.
const START_ATTEMPTS: usize = 3;
const LOG_LINES_SHOWN: usize = 60;

#[derive(Debug)]
pub struct Cluster {
    addresses: BTreeMap<String, SocketAddr>,
    processes: BTreeMap<String, Process>,
    client: Client,
    folder: TempDir,
}

impl Cluster {
    /// Starts what the setup says and waits until all of it is ready.
    pub async fn start(setup: &Setup) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let folder = tempfile::Builder::new().prefix("longshore-").tempdir()?;
            let plan = setup.plan(folder.path())?;
            let mut cluster = Self::launch(plan, folder)?;
            match cluster.all_ready().await {
                Ok(()) => return Ok(cluster),
                Err(_) if attempt < START_ATTEMPTS && cluster.logs_contain("in use") => attempt += 1,
                Err(error) => {
                    cluster.show_logs();
                    return Err(error);
                }
            }
        }
    }

    /// Starts a plan that the caller has changed, and waits until all of it is ready.
    pub async fn start_planned(plan: Plan, folder: TempDir) -> Result<Self> {
        let mut cluster = Self::launch(plan, folder)?;
        cluster.all_ready().await?;
        Ok(cluster)
    }

    /// Starts the processes of a plan that the test made itself, without waiting for anything.
    pub fn launch(plan: Plan, folder: TempDir) -> Result<Self> {
        let http = Http::new(plan.address("lb")?);
        let client = Client::new(match &plan.api_key {
            Some(api_key) => http.with_key(api_key),
            None => http,
        });
        let mut processes = BTreeMap::new();
        for spec in plan.specs {
            processes.insert(spec.name.clone(), Process::start(spec)?);
        }
        Ok(Self { addresses: plan.addresses, processes, client, folder })
    }

    /// Through the balancer.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Straight to one program.
    pub fn http(&self, name: &str) -> Result<Http> {
        Ok(Http::new(self.address(name)?))
    }

    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        self.addresses.get(name).copied().with_context(|| format!("no program named {name}"))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn process(&mut self, name: &str) -> Result<&mut Process> {
        self.processes.get_mut(name).with_context(|| format!("no process named {name}"))
    }

    /// All processes whose name starts with `prefix`.
    pub fn processes(&mut self, prefix: &str) -> impl Iterator<Item = &mut Process> {
        self.processes.values_mut().filter(move |process| process.name().starts_with(prefix))
    }

    pub async fn metrics(&self, name: &str) -> Result<Metrics> {
        let answer = self.http(name)?.get("/metrics").await?;
        ensure!(answer.status == 200, "metrics of {name}: {answer}");
        Ok(Metrics::parse(&String::from_utf8_lossy(&answer.body)))
    }

    /// One metric over all processes whose name starts with `prefix`, see [`Metrics::sum`].
    pub async fn sum(&self, prefix: &str, metric: &str, labels: &[&str]) -> Result<f64> {
        let mut sum = 0.0;
        for name in self.processes.keys().filter(|name| name.starts_with(prefix)) {
            sum += self.metrics(name).await?.sum(metric, labels);
        }
        Ok(sum)
    }

    /// Starts an ended process again in place and waits until its programs are ready.
    pub async fn restart(&mut self, name: &str) -> Result<()> {
        self.process(name)?.restart()?;
        if name == "up" { self.all_ready().await } else { self.ready(name).await }
    }

    /// One more process in a running system, under a name of its own.
    pub async fn add(&mut self, name: &str, mut spec: Spec, address: SocketAddr) -> Result<()> {
        name.clone_into(&mut spec.name);
        self.addresses.insert(name.to_owned(), address);
        self.processes.insert(name.to_owned(), Process::start(spec)?);
        self.ready(name).await
    }

    async fn all_ready(&mut self) -> Result<()> {
        let names: Vec<String> = self.addresses.keys().cloned().collect();
        for name in &names {
            self.ready(name).await?;
        }
        let deadline = Instant::now() + WHOLE_WITHIN;
        for name in &names {
            self.whole(name, deadline).await?;
        }
        Ok(())
    }

    /// Waits until this program lacks nothing.
    async fn whole(&self, name: &str, deadline: Instant) -> Result<()> {
        let http = self.http(name)?.with_deadline(Duration::from_secs(5));
        let left = deadline.saturating_duration_since(Instant::now());
        eventually(left, &format!("{name} lacks nothing"), async || {
            let report = http.get("/ready").await?.expect(200)?;
            ensure!(report["status"] == "ready", "{report}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until `/ready` of this program answers 200, or its process has ended.
    pub async fn ready(&mut self, name: &str) -> Result<()> {
        let http = self.http(name)?.with_deadline(Duration::from_secs(5));
        let process = if self.processes.contains_key(name) { name } else { "up" };
        let process = self.process(process)?;
        let what = format!("{name} is ready");
        let outcome = eventually(READY_WITHIN, &what, async || {
            if let Some(status) = process.ended()? {
                return Ok(Some(Err(status)));
            }
            let answer = http.get("/ready").await?;
            ensure!(answer.status == 200, "{answer}");
            Ok(Some(Ok(())))
        })
        .await?;
        match outcome {
            Ok(()) => Ok(()),
            Err(status) => bail!("{} ended instead of becoming ready: {status}", process.name()),
        }
    }

    fn logs_contain(&self, words: &str) -> bool {
        self.processes.values().any(|process| process.log().contains(words))
    }

    /// What must hold at the end of every test, whatever it did: the client's book balances and nobody panicked.
    pub async fn check_invariants(&self, settle_within: Duration) -> Result<()> {
        self.client.reconcile(settle_within).await?;
        let panicked = self.processes.values().filter(|process| process.log().contains("panicked at"));
        let names: Vec<_> = panicked.map(Process::name).collect();
        ensure!(names.is_empty(), "panics in the logs of {names:?}");
        Ok(())
    }

    /// For a failed test: the ends of all logs, on the test's own (captured) output.
    pub fn show_logs(&self) {
        let mut report = String::new();
        for process in self.processes.values() {
            report.push_str(&process.log_tail(LOG_LINES_SHOWN));
        }
        print_captured(&report);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

#[expect(clippy::print_stderr, reason = "the output of a failed test, which the test runner captures")]
fn print_captured(report: &str) {
    eprintln!("{report}");
}
