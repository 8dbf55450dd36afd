//! One real process under test: started in a process group of its own, logging to a file, signalled by its pid only, and gone when
//! dropped, whether the test passed, failed or panicked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chassis::usage::Usage;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::eventually;

/// How a process is started, and started again.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    /// The whole environment besides `PATH`: what the developer's shell holds must not reach the programs under test.
    pub environment: BTreeMap<String, String>,
    pub folder: PathBuf,
}

impl Spec {
    /// With one more variable, or another value for it.
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.environment.insert(variable.to_owned(), value.into());
        self
    }

    /// Another build of the same program.
    pub fn running(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug)]
pub struct Process {
    spec: Spec,
    log: PathBuf,
    child: Child,
    exit: Option<ExitStatus>,
}

impl Process {
    pub fn start(spec: Spec) -> Result<Self> {
        let log = spec.folder.join(format!("{}.log", spec.name));
        let child = spawn(&spec, &log).with_context(|| format!("starting {}", spec.binary.display()))?;
        Ok(Self { spec, log, child, exit: None })
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How it was started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What the next restart starts instead.
    pub fn start_next_as(&mut self, spec: Spec) {
        self.spec = spec;
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()).with_context(|| format!("reading {}", self.spec.name))
    }

    /// SIGKILL to the process itself, not to its children, as the kernel would do when memory runs out. Returns when it is gone.
    pub fn kill_9(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.exit = Some(self.child.wait()?);
        Ok(())
    }

    /// SIGSTOP: it stays there, with its sockets open, and does nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM: it is asked to drain.
    pub fn term(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGHUP: it is asked to read again what it reads from a file.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.exit {
            bail!("{} has already ended: {status}", self.spec.name);
        }
        kill_process(self.group()?, signal).with_context(|| format!("{signal:?} to {}", self.spec.name))
    }

    fn group(&self) -> Result<Pid> {
        i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a pid above zero")
    }

    /// The exit status if the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait()?;
        }
        Ok(self.exit)
    }

    pub async fn exited(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.spec.name);
        eventually(within, &what, async || self.ended()).await
    }

    /// Starts it again with the same arguments, environment, port and data, unless it was given others. The log goes on in the same file.
    pub fn restart(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            bail!("{} still runs: kill or term it first", self.spec.name);
        }
        self.child = spawn(&self.spec, &self.log)?;
        self.exit = None;
        Ok(())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of the log, each behind the process's name, for the report of a failed test.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let skipped = log.lines().count().saturating_sub(lines);
        log.lines().skip(skipped).map(|line| format!("[{}] {line}\n", self.spec.name)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group also holds what the process started; while its leader is not reaped, its number cannot belong to anybody else.
        if let (Ok(group), Ok(None)) = (self.group(), self.ended()) {
            kill_process_group(group, Signal::KILL).ok();
            self.child.wait().ok();
        }
    }
}

fn spawn(spec: &Spec, log: &Path) -> Result<Child> {
    let output = File::options().create(true).append(true).open(log)?;
    // `setpriv` ends the process with the thread that started it, so that even a killed test run leaves nothing behind.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&spec.binary).args(&spec.arguments);
    command.env_clear().env("PATH", PATH).envs(&spec.environment).current_dir(&spec.folder);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    command.spawn().with_context(|| format!("{} through setpriv (package util-linux)", spec.name))
}
