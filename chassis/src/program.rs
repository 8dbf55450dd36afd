//! The frame of every program: configuration, telemetry, port, signals, exit status. A `main.rs` is one call of it.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::asking;
use crate::config::{self, Common, ConfigError, Source};
use crate::fault_points;
use crate::shutdown::{Shutdown, Trigger};
use crate::task::Tasks;
use crate::{telemetry, trace};

/// After the work has been told to stop, it gets this long to let go.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// As many open files as a program asks for, if the system lets it.
const OPEN_FILES: u64 = 65_536;

/// Of these, so many are kept for what is no client's connection: other programs, the broker, files of data; half of them, where there are few.
pub const OWN_FILES: u64 = 256;

/// What makes a program out of a service's library.
#[derive(Debug, Clone, Copy)]
pub struct Program<C> {
    pub name: &'static str,
    /// The embedded default configuration; `--help` prints it.
    pub defaults: &'static str,
    pub load: fn(&Source) -> Result<C, ConfigError>,
    pub listen: fn(&C) -> SocketAddr,
}

impl<C> Program<C> {
    /// Runs the service until it ends or a signal ends it; the result is what `main` returns.
    pub fn main<F>(self, run: impl FnOnce(TcpListener, C, Shutdown) -> F) -> ExitCode
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        if let Some(argument) = std::env::args_os().nth(1) {
            return self.answer(&argument.to_string_lossy());
        }
        self.ended(self.start(run))
    }

    fn ended(&self, result: anyhow::Result<()>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("{}: {error:#}", self.name));
                config::exit_code(&error)
            }
        }
    }

    fn start<F>(&self, run: impl FnOnce(TcpListener, C, Shutdown) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let (common, config) = self.configuration()?;
        let listen = (self.listen)(&config);
        config::refuse_exposed("LONGSHORE_LISTEN", listen, common.may_expose(self.name)).map_err(ConfigError::from)?;
        telemetry::init(self.name, &common);
        raise_file_limit();
        let runtime = runtime(&common, 1)?;
        let result = runtime.block_on(async {
            let tasks = Tasks::new();
            let shutdown = Trigger::from_signals(common.drain(), &tasks).context("listening for signals")?;
            let listener = crate::listen::listen(listen).await.with_context(|| format!("listening on {listen}"))?;
            let bound = listener.local_addr().context("reading the port")?;
            tracing::info!(program = self.name, listen = %bound, "serving");
            until_ended(run(listener, config, shutdown.clone()), &shutdown).await
        });
        // Whatever does not let go (a blocking call) does not keep the process.
        runtime.shutdown_background();
        trace::flush();
        result
    }

    fn configuration(&self) -> Result<(Common, C), ConfigError> {
        let source = Source::from_process();
        fault_points::arm(&source)?;
        ConfigError::both(Common::load(&source), (self.load)(&source))
    }

    fn answer(&self, argument: &str) -> ExitCode {
        match argument {
            "-h" | "--help" => show(&self.help()),
            "health" => return self.ended(self.health()),
            _ => {
                let name = self.name;
                say(&format!("{name} takes no argument but `health`, and was given {argument:?}; --help says more."));
                return ExitCode::from(64);
            }
        }
        ExitCode::SUCCESS
    }

    fn help(&self) -> String {
        format!(
            "{name} serves until it is told to stop. `{name} health` asks the one that runs here, under the same settings, whether it should \
             be sent work: exit status 0 or 1.\n\nThe settings, each overridden by LONGSHORE_ and its name in capitals:\n\n{}\n{}",
            self.defaults,
            config::COMMON_DEFAULTS,
            name = self.name,
        )
    }

    /// Asks the running program, which has the same settings as this process.
    fn health(&self) -> anyhow::Result<()> {
        let (_, config) = self.configuration()?;
        let address = asking::own_address((self.listen)(&config))?;
        let runtime = Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        show(&runtime.block_on(asking::ask(&address, asking::READY))?);
        Ok(())
    }
}

/// Waits for the service, and not for ever once it has been told to stop.
///
/// # Errors
/// The service's own, or that it did not stop.
pub async fn until_ended(service: impl Future<Output = anyhow::Result<()>>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.ended().await;
        tokio::time::sleep(LAST_MOMENT).await;
    };
    tokio::select! {
        result = service => result,
        () = overdue => Err(anyhow::anyhow!("stopped before everything was finished")),
    }
}

/// With as many threads as the settings say, or else `unless_set`.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime(common: &Common, unless_set: usize) -> anyhow::Result<Runtime> {
    let threads = if common.threads == 0 { unless_set } else { usize::from(common.threads) };
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().context("starting the runtime")
}

/// So many files a program can have open, once it has raised its limit; `None`: any number.
#[must_use]
pub fn open_files_max() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let soft = limits.current?;
    Some(soft.max(limits.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES)))
}

/// Connections are files: the soft limit (1024 on most systems) is raised as far as the hard one allows, within reason.
pub fn raise_file_limit() {
    let limits = getrlimit(Resource::Nofile);
    let current = limits.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    let raised = Rlimit { current: limits.current.map(|soft| soft.max(current)), maximum: limits.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// `wanted` connections of clients, or as many as may be open beside the program's own files.
#[must_use]
pub fn affordable_connections(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let affordable = within_files(wanted, files);
    if affordable < wanted {
        tracing::warn!(
            wanted,
            affordable,
            files,
            "fewer connections than configured are served, for want of open files"
        );
    }
    affordable
}

fn within_files(wanted: usize, files: u64) -> usize {
    let for_clients = files - OWN_FILES.min(files / 2);
    usize::try_from(for_clients).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

/// What the caller asked to see; `gateway --help | head` may stop reading.
fn show(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").unwrap_or_default();
}

#[expect(clippy::print_stderr, reason = "the last word of a program, also when there is no log yet")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_stop_is_left_behind() {
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(20));
        trigger.drain();
        let begin = tokio::time::Instant::now();
        let result = until_ended(pending(), &shutdown).await;
        assert_eq!((result.is_err(), begin.elapsed()), (true, Duration::from_secs(20) + LAST_MOMENT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_stops_ends_as_it_says() {
        let shutdown = Shutdown::never();
        assert!(until_ended(async { Ok(()) }, &shutdown).await.is_ok());
        assert!(until_ended(async { Err(anyhow::anyhow!("broken")) }, &shutdown).await.is_err());
    }

    #[test]
    fn the_file_limit_is_never_lowered() {
        let before = getrlimit(Resource::Nofile).current;
        raise_file_limit();
        assert!(getrlimit(Resource::Nofile).current >= before);
    }

    #[test]
    fn connections_leave_files_for_the_program_itself() {
        let check = |wanted, files, expected| assert_eq!(within_files(wanted, files), expected, "{files}");
        check(12_000, 65_536, 12_000);
        check(12_000, 1_024, 768);
        check(4_096, 96, 48);
        check(4_096, 0, 1);
    }
}
