//! A scratch PostgreSQL cluster: its own folder and port on loopback, durable as a real one. It can be stopped, killed, frozen and started
//! again in place, and it ends with the test process, however that ends.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::time::Instant;

use super::ports::free_port;

/// Where Debian's packages lie, by version.
const VERSIONS: &str = "/usr/lib/postgresql";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// The role that programs under test connect as: no superuser, with a password.
pub const USER: &str = "longshore";
pub const PASSWORD: &str = "longshore-scratch-password";

/// The watcher reads the end of file when the test process ends, however it ends, and leaves neither processes nor files.
const SHELL: &str = r#"
exec 3<&0 </dev/null
(cat <&3 >/dev/null; kill -KILL "$(head -n 1 "$2/data/postmaster.pid")"; rm -rf "$2"; kill -KILL 0) &
exec 3<&-
"$1" -D "$2/data" >>"$2/log" 2>&1 &
wait $!
"#;

/// A running or stopped cluster.
#[derive(Debug)]
pub struct ScratchCluster {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    process: Option<Process>,
    databases: AtomicU32,
}

/// One run of the server. `shell` waits for it and ends with it; its standard input is held open by this process.
#[derive(Debug)]
struct Process {
    shell: Child,
    /// Waiting for a child closes its standard input, so it is kept apart.
    input: Option<ChildStdin>,
}

impl ScratchCluster {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (the text says how to install it) or does not start (with the end of its log).
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("longshore-postgres-").tempdir()?;
        let mut cluster = Self { folder, programs, port: free_port()?, process: None, databases: AtomicU32::new(0) };
        cluster.make()?;
        cluster.start_again()?;
        let role = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
        cluster.sql("postgres", &role)?;
        Ok(cluster)
    }

    fn make(&self) -> Result<()> {
        if let Some((user, group)) = other_user()? {
            chown(self.folder.path(), Some(user), Some(group)).context("giving the folder away")?;
        }
        let mut initdb = self.command(self.programs.join("initdb"))?;
        initdb.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]);
        initdb.args(["--no-locale", "--pgdata"]).arg(self.folder.path().join("data"));
        done(&initdb.output().context("running initdb")?)?;
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nshared_buffers = 32MB\n\
             max_connections = 200\nlog_min_messages = warning\nlog_connections = off\n",
            self.port,
            self.folder.path().display(),
        );
        fs::write(self.folder.path().join("data/postgresql.auto.conf"), settings).context("writing the settings")
    }

    /// Starts the stopped or killed server in place: same port, same data.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the server is running");
        let deadline = Instant::now() + BOOT_DEADLINE;
        loop {
            self.process = Some(self.spawn()?);
            if self.booted(deadline)? {
                return Ok(());
            }
            // After a kill, processes of the former run may take a moment to notice.
            self.process = None;
            ensure!(Instant::now() < deadline, "it did not start in time:\n{}", self.log_tail());
        }
    }

    /// Answers on its port only over TLS from now on, with this certificate and its key, both in PEM.
    ///
    /// # Errors
    /// When it does not start so.
    pub fn secure(&mut self, certificate: &str, key: &str) -> Result<()> {
        self.stop()?;
        let data = self.folder.path().join("data");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = other_user()? {
                chown(&path, Some(user), Some(group))?;
            }
        }
        let mut settings = fs::OpenOptions::new().append(true).open(data.join("postgresql.auto.conf"))?;
        settings.write_all(b"ssl = on\n")?;
        fs::write(data.join("pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")?;
        self.start_again()
    }

    fn spawn(&self) -> Result<Process> {
        let mut shell = self.command("sh")?;
        shell.args(["-c", SHELL, "sh"]).arg(self.programs.join("postgres")).arg(self.folder.path());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut shell = shell.spawn().context("starting the server")?;
        let input = shell.stdin.take();
        Ok(Process { shell, input })
    }

    /// `false`: it ended instead.
    fn booted(&mut self, deadline: Instant) -> Result<bool> {
        while Instant::now() < deadline {
            let process = self.process.as_mut().context("it was just started")?;
            if process.shell.try_wait()?.is_some() {
                return Ok(false);
            }
            let mut ready = self.command(self.programs.join("pg_isready"))?;
            ready.args(["--quiet", "--host"]).arg(self.folder.path()).args(["--port", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(true);
            }
        }
        bail!("it did not start in time:\n{}", self.log_tail())
    }

    /// Stops as an operator does who does not wait for clients ("fast").
    ///
    /// # Errors
    /// When it is not running or does not stop in time.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        self.ended()
    }

    /// Kills the server with `SIGKILL`; its other processes end when they notice.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.process.is_some(), "the server is not running");
        let text =
            fs::read_to_string(self.folder.path().join("data/postmaster.pid")).context("reading the pid file")?;
        let pid = text.lines().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw).context("a pid")?;
        rustix::process::kill_process(pid, signal).context("signalling the server")
    }

    fn ended(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let deadline = Instant::now() + STOP_DEADLINE;
        while process.shell.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the server did not stop in time");
            std::thread::yield_now();
        }
        Ok(())
    }

    /// A new database and the `DATABASE_URL` of its owner.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub fn fresh_database(&self) -> Result<String> {
        let name = format!("scratch_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER} TEMPLATE template0"))?;
        Ok(self.url(&name))
    }

    /// The `DATABASE_URL` of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL as the superuser and returns what it prints, without headings.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub fn sql(&self, database: &str, text: &str) -> Result<String> {
        let mut psql = self.command(self.programs.join("psql"))?;
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host"]);
        psql.arg(self.folder.path()).args([
            "--port",
            &self.port.to_string(),
            "--username=postgres",
            "--dbname",
            database,
        ]);
        let output = psql.args(["--command", text]).stdin(Stdio::null()).output().context("running psql")?;
        Ok(done(&output)?.trim().to_owned())
    }

    /// Runs one of PostgreSQL's programs (`pg_dump`, `pg_restore`) on the cluster, as the superuser.
    ///
    /// # Errors
    /// What it says.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.command(self.programs.join(program))?;
        command.arg("--host").arg(self.folder.path()).args(["--port", &self.port.to_string(), "--username=postgres"]);
        let output = command.args(arguments).stdin(Stdio::null()).output().with_context(|| program.to_owned())?;
        done(&output)?;
        Ok(output.stdout)
    }

    /// The end of the server's log, for a test that fails.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.folder.path().join("log");
        let text = fs::read_to_string(&log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// A program run as the user that the server runs as.
    fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = match other_user()? {
            None => Command::new(program),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
                command.arg("--").arg(program);
                command
            }
        };
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").current_dir(self.folder.path());
        Ok(command)
    }
}

/// The newest version's programs.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| version(path));
    let newest = newest.with_context(|| {
        format!(
            "{VERSIONS} has no server: this test needs PostgreSQL. Run `apt-get install postgresql` (its own cluster need not run), or \
             tests/run, which installs it."
        )
    })?;
    Ok(newest.join("bin"))
}

/// User and group `postgres` if we are root, as whom the server refuses to run.
fn other_user() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("reading the users")?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut entries = fields.filter(|fields| fields.first() == Some(&"postgres") && fields.len() > 3);
    let entry = entries.next().context("there is no user postgres: `apt-get install postgresql` makes it")?;
    Ok(Some((entry[2].parse()?, entry[3].parse()?)))
}

fn done(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Drop for Process {
    fn drop(&mut self) {
        // Before the watcher sees the end of its input: it would remove the folder, which a server that starts again needs.
        if let Some(group) = Pid::from_raw(self.shell.id().cast_signed()) {
            let killed = rustix::process::kill_process_group(group, Signal::KILL);
            debug_assert!(killed.is_ok() || killed == Err(rustix::io::Errno::SRCH), "{killed:?}");
        }
        drop(self.input.take());
        drop(self.shell.wait());
    }
}
