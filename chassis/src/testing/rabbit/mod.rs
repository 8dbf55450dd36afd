//! A scratch RabbitMQ node: its own folder and ports, everything on loopback, started with the definitions of the product. It can be
//! stopped, killed, frozen, wiped and started again in place, and it ends with the test process, however that ends.

mod cluster;
mod command;
mod management;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use protocol::{definitions, topology};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::process::{Child, ChildStdin};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use super::ports::free_port;
pub use cluster::ScratchCluster;
pub use management::Management;

/// The server's own script; the wrapper in `/usr/sbin` wants to be another user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// A quorum queue younger than about a second does not survive a kill, so a node with new queues is left alone for this long.
const QUEUE_AGE: Duration = Duration::from_secs(3);

/// How the node differs from the product's own.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Imported at boot.
    pub definitions: String,
    /// How long a delivery may stay unacknowledged; RabbitMQ's default is 30 minutes.
    pub consumer_timeout: Option<Duration>,
    /// More lines for `rabbitmq.conf`.
    pub settings: Vec<String>,
    /// Erlang terms for `advanced.config`, which some settings need.
    pub advanced: Option<String>,
    /// Its data lies on a disk of its own of so many bytes, which can be filled, and is lost when the node ends. It takes root.
    pub disk_bytes: Option<u64>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            definitions: definitions::development(),
            consumer_timeout: None,
            settings: Vec::new(),
            advanced: None,
            disk_bytes: None,
        }
    }
}

/// A node's name and ports; they stay the same for its whole life.
#[derive(Clone, Debug)]
struct Identity {
    name: String,
    amqp: u16,
    management: u16,
    epmd: u16,
    has_own_mapper: bool,
    distribution: u16,
}

/// A running or stopped node.
#[derive(Debug)]
pub struct ScratchNode {
    folder: TempDir,
    identity: Identity,
    disk_bytes: Option<u64>,
    process: Option<Process>,
    /// Until when the queues count as fresh.
    aged_at: Instant,
}

/// One run of the node. `shell` waits for the server and ends with it; its standard input is held open by this process, and at its end a
/// watcher kills the whole process group, so that no node outlives its test.
#[derive(Debug)]
struct Process {
    shell: Child,
    /// Waiting for a child closes its standard input, so it is kept apart.
    input: Option<ChildStdin>,
    group: Pid,
    server: Pid,
}

impl ScratchNode {
    /// Starts a node with the development definitions.
    ///
    /// # Errors
    /// When RabbitMQ is not installed (the text says how to install it) or does not boot (with the end of its log).
    pub async fn start() -> Result<Self> {
        Self::start_with(NodeConfig::default()).await
    }

    /// Starts a node.
    ///
    /// # Errors
    /// As [`ScratchNode::start`].
    pub async fn start_with(config: NodeConfig) -> Result<Self> {
        ensure!(
            Path::new(SERVER).exists(),
            "{SERVER} is not there: this test needs RabbitMQ. Run `apt-get install rabbitmq-server` (the service need not run), or tests/run, \
             which installs it."
        );
        let mut last = None;
        // Another process may take a port between the choice and the boot.
        for _ in 0..3 {
            let (name, epmd) = ("longshore@localhost".to_owned(), free_port()?);
            match Self::boot(&config, name, epmd, true).await {
                Ok(node) => return Ok(node),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("three attempts were made")?)
    }

    async fn boot(config: &NodeConfig, name: String, epmd: u16, has_own_mapper: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("longshore-rabbit-").tempdir()?;
        let (amqp, management, distribution) = (free_port()?, free_port()?, free_port()?);
        let identity = Identity { name, amqp, management, epmd, has_own_mapper, distribution };
        command::write_config(folder.path(), &identity, config)?;
        if !has_own_mapper {
            cluster::write_cookie(folder.path())?;
        }
        let mut node = Self { folder, identity, disk_bytes: config.disk_bytes, process: None, aged_at: Instant::now() };
        node.start_again().await?;
        node.has_new_queues();
        Ok(node)
    }

    /// Starts the stopped or killed node in place: same ports, same data (unless wiped), same definitions.
    ///
    /// # Errors
    /// When it does not boot.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the node is running");
        let mut shell = command::start(self.folder.path(), &self.identity, self.disk_bytes)?;
        let input = shell.stdin.take();
        let group = shell.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the shell has just started")?;
        let booted = tokio::select! {
            status = shell.wait() => Err(anyhow::anyhow!("it ended while booting: {:?}", status.ok())),
            booted = timeout(BOOT_DEADLINE, self.booted()) => booted.context("it did not boot in time").and_then(|pid| pid),
        };
        match booted {
            Ok(server) => {
                self.process = Some(Process { shell, input, group, server });
                Ok(())
            }
            Err(error) => Err(error.context(self.log_tail())),
        }
    }

    async fn booted(&self) -> Result<Pid> {
        let management = self.management();
        loop {
            if self.answers().await && management.vhosts().await.is_ok_and(|names| !names.is_empty()) {
                let text = std::fs::read_to_string(self.folder.path().join("pid")).context("reading the pid file")?;
                return Pid::from_raw(text.trim().parse().context("reading the pid")?).context("a pid is not zero");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the node answers the protocol header.
    pub async fn answers(&self) -> bool {
        answers(self.amqp_address()).await
    }

    /// Stops gracefully, as `SIGTERM` does.
    ///
    /// # Errors
    /// When it is not running or does not stop in time.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// Queues were declared that the next [`ScratchNode::kill`] must not cost.
    pub fn has_new_queues(&mut self) {
        self.aged_at = Instant::now() + QUEUE_AGE;
    }

    /// Kills with `SIGKILL`. Waits first until the [new queues](ScratchNode::has_new_queues) are old enough to survive it.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn kill(&mut self) -> Result<()> {
        sleep_until(self.aged_at).await;
        self.signal(Signal::KILL)?;
        self.ended().await
    }

    /// Stops the node's process with `SIGSTOP`: connections stay open, nothing answers.
    ///
    /// # Errors
    /// When it is not running, or does not stop.
    pub async fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = async {
            // Its threads go on until one of them takes the signal, which on a busy machine is later.
            while !self.is_stopped()? {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        timeout(STOP_DEADLINE, stopped).await.context("the node did not freeze in time")?
    }

    /// Whether every thread of the server stands still.
    fn is_stopped(&self) -> Result<bool> {
        let process = self.process.as_ref().context("the node is not running")?;
        for thread in std::fs::read_dir(format!("/proc/{}/task", process.server.as_raw_nonzero()))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            if !status.contains("\nState:\tT") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Removes all data of the stopped node: the next start imports the definitions afresh.
    ///
    /// # Errors
    /// When it is running, or the folder cannot be removed.
    pub fn wipe(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "stop or kill the node first");
        let data = self.folder.path().join("db");
        std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))
    }

    /// Where the running node's data lies, by a path that leads there from outside.
    ///
    /// # Errors
    /// When it is not running.
    pub fn data_folder(&self) -> Result<PathBuf> {
        let pid = self.pid().context("the node is not running")?;
        Ok(seen_by(pid.unsigned_abs(), &self.folder.path().join("db")))
    }

    /// Starts or ends a memory alarm: while it lasts the broker reads nothing from publishers.
    ///
    /// # Errors
    /// What `rabbitmqctl` says.
    pub async fn memory_alarm(&self, on: bool) -> Result<()> {
        let watermark = if on { "0" } else { "0.4" };
        self.ctl(&["set_vm_memory_high_watermark", watermark]).await.map(drop)
    }

    /// Starts or ends a disk alarm, which does the same.
    ///
    /// # Errors
    /// What `rabbitmqctl` says.
    pub async fn disk_alarm(&self, on: bool) -> Result<()> {
        let limit = if on { "999GB" } else { "50MB" };
        self.ctl(&["set_disk_free_limit", limit]).await.map(drop)
    }

    /// Runs `rabbitmqctl` against the node. It costs about a second; prefer [`ScratchNode::management`].
    ///
    /// # Errors
    /// What it prints.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let output = command::ctl(self.folder.path(), &self.identity, arguments).output().await?;
        if !output.status.success() {
            bail!("rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The pid of the Erlang machine.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|process| process.server.as_raw_nonzero().get())
    }

    #[must_use]
    pub fn amqp_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.identity.amqp))
    }

    /// The `AMQP_URL` for the user `up`, who may use everything.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        self.amqp_url_for("up", topology::VHOST)
    }

    /// The `AMQP_URL` for a user of the topology, with its development password.
    #[must_use]
    pub fn amqp_url_for(&self, user: &str, vhost: &str) -> String {
        format!("amqp://{user}:{}@{}/{vhost}", definitions::development_password(user), self.amqp_address())
    }

    /// The HTTP API.
    #[must_use]
    pub fn management(&self) -> Management {
        Management::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.identity.management)))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("the node is not running")?;
        match rustix::process::kill_process(process.server, signal) {
            // It may have ended by itself.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context("signalling the node"),
        }
    }

    async fn ended(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        timeout(STOP_DEADLINE, process.shell.wait()).await.context("the node did not stop in time")??;
        Ok(())
    }

    /// The end of the node's log, for a test that fails.
    #[must_use]
    pub fn log_tail(&self) -> String {
        command::log_tail(self.folder.path(), &self.identity)
    }
}

/// Whether a broker at this address answers the protocol header: of a node that is just being started again.
pub async fn answers(address: SocketAddr) -> bool {
    crate::broker::probe(&crate::broker::Place::plain(address)).await.is_ok()
}

/// The folder as the process sees it, which may have disks of its own.
#[must_use]
pub fn seen_by(pid: u32, folder: &Path) -> PathBuf {
    let below_root = folder.strip_prefix("/").unwrap_or(folder);
    Path::new("/proc").join(pid.to_string()).join("root").join(below_root)
}

impl Drop for Process {
    fn drop(&mut self) {
        // Before the watcher sees the end of its input: it would remove the folder, which a node that starts again needs.
        let killed = rustix::process::kill_process_group(self.group, Signal::KILL);
        debug_assert!(killed.is_ok() || killed == Err(Errno::SRCH), "{killed:?}");
        drop(self.input.take());
    }
}
