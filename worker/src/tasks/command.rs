//! Runs a program of the operator's for a job: payload on stdin, result on stdout, progress on fd 3, complaints on stderr.
//!
//! The program gets a process group of its own, which never outlives the attempt: not the program, not its children.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use chassis::fault_points::{FaultPoint, fault_point};
use command_fds::{CommandFdExt, FdMapping};
use protocol::logs::{LOG_BYTES_MAX, Output as Written};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};

use super::capture::{Head, Tail};
use super::progress_lines::ProgressLines;
use crate::context::{Guarded, JobContext};
use crate::guard::{self, GO, NOT_STARTED};
use crate::handler::{Failure, Handler, HandlerFuture, Output};

/// After the program has ended, somebody it started may still hold its pipes. This long is waited for the end of the
/// output, then it is cut off.
const OUTPUT_DRAIN: Duration = Duration::from_secs(1);
/// The descriptor that the program writes its progress to.
const PROGRESS_FD: i32 = 3;
/// The worker's own secrets, which are no business of the program's.
const WITHHELD: [&str; 2] = ["AMQP_URL", "DATABASE_URL"];

/// What `[task.NAME] kind = "command"` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTask {
    /// A path, or a name found in `PATH`.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Added to the worker's own environment.
    pub env: BTreeMap<String, String>,
    pub directory: PathBuf,
    /// More output than this fails the attempt.
    pub stdout_bytes: usize,
    /// The end of stderr that is kept for the job's `error`.
    pub stderr_bytes: usize,
    /// Variables of the worker that hold secrets, which are no business of the program's either.
    pub withheld: Vec<String>,
}

impl CommandTask {
    pub const STDOUT_BYTES: usize = 256 * 1024;
    pub const STDERR_BYTES: usize = 4 * 1024;
}

impl Handler for CommandTask {
    fn run(&self, job: JobContext) -> HandlerFuture {
        let task = self.clone();
        Box::pin(async move { task.execute(&job).await })
    }
}

/// How the program came to its end.
enum End {
    Exited(io::Result<ExitStatus>),
    TooMuchOutput,
    Stopped,
}

impl CommandTask {
    async fn execute(&self, job: &JobContext) -> Result<Output, Failure> {
        let (mut child, mut group, mut pipes) = self.start(job)?;
        let mut stdout = Head::new(self.stdout_bytes);
        let mut stderr = Tail::new(LOG_BYTES_MAX);
        let mut lines = ProgressLines::default();
        pipes.let_begin(&mut group, job).await?;
        let end = {
            let transfer = pipes.transfer(job, &mut stdout, &mut stderr, &mut lines);
            tokio::pin!(transfer);
            attend(&mut child, &group, job, transfer).await
        };
        // Whatever the program left behind ends with it.
        drop(group);
        let is_cut = matches!(end, End::TooMuchOutput);
        job.keep_output(Written { stdout: stdout.log(is_cut), stderr: stderr.log() });
        let with_tail = |what: &str| with_tail(what, &stderr.text(self.stderr_bytes));
        match end {
            End::Exited(Ok(status)) if status.success() => Ok(stdout.into_output()),
            End::Exited(Ok(status))
                if status.code() == Some(NOT_STARTED.into())
                    && let Some(errno) = lines.not_started() =>
            {
                Err(Failure::new(self.not_started(&io::Error::from_raw_os_error(errno))))
            }
            End::Exited(Ok(status)) => Err(Failure::new(with_tail(&describe(status)))),
            End::Exited(Err(error)) => Err(Failure::new(format!("the program's end was not seen: {error}"))),
            End::TooMuchOutput => {
                let message = format!("stdout has more than {} bytes", self.stdout_bytes);
                Err(Failure::new(with_tail(&message)))
            }
            End::Stopped => Err(Failure::new(with_tail("the program was ended"))),
        }
    }

    fn start(&self, job: &JobContext) -> Result<(Child, Group, Pipes), Failure> {
        let not_started = |error: &io::Error| Failure::new(self.not_started(error));
        let (progress, progress_end) = io::pipe().map_err(|error| not_started(&error))?;
        let progress = pipe::Receiver::from_owned_fd(OwnedFd::from(progress)).map_err(|error| not_started(&error))?;
        let mut command = match job.guard() {
            Some(guard) => guard::command(guard.launcher(), &self.program, &self.args),
            None => Command::new(&self.program),
        };
        if job.guard().is_none() {
            command.args(&self.args);
        }
        command
            .current_dir(&self.directory)
            .envs(&self.env)
            .env("LONGSHORE_JOB_ID", job.job_id().to_string())
            .env("LONGSHORE_TASK", job.task())
            .env("LONGSHORE_TENANT", job.job().tenant.as_str())
            .env("LONGSHORE_RUN", job.job().run.to_string())
            .env("LONGSHORE_ATTEMPT", job.attempt().to_string())
            .env("LONGSHORE_FENCE", job.fence().to_string())
            .envs(job.job().trace.as_ref().map(|trace| ("TRACEPARENT", trace)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in WITHHELD.into_iter().chain(self.withheld.iter().map(String::as_str)) {
            command.env_remove(name);
        }
        command
            .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(progress_end), child_fd: PROGRESS_FD }])
            .expect("one mapping cannot collide with another");
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        fault_point(FaultPoint::WorkerBeforeGuard);
        let group = Group::of(&child, job);
        let pipes = Pipes {
            stdin: child.stdin.take().expect("piped above"),
            stdout: Box::new(child.stdout.take().expect("piped above")),
            stderr: Box::new(child.stderr.take().expect("piped above")),
            progress,
        };
        Ok((child, group, pipes))
    }

    /// The system's "No such file or directory" does not say which: the program, its folder, or a script's interpreter.
    fn not_started(&self, error: &io::Error) -> String {
        let program = self.program.display();
        if !self.directory.is_dir() {
            return format!(
                "the program {program} was not started: its folder {} is not there",
                self.directory.display()
            );
        }
        match error.kind() {
            io::ErrorKind::NotFound if self.program.is_file() => {
                format!("the program {program} was not started: the interpreter in its first line was not found")
            }
            io::ErrorKind::NotFound => format!("the program {program} was not found"),
            io::ErrorKind::PermissionDenied => format!("the program {program} is not executable"),
            _ => format!("the program {program} was not started: {error}"),
        }
    }
}

/// The worker's ends of the program's pipes.
struct Pipes {
    stdin: ChildStdin,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Box<dyn AsyncRead + Send + Unpin>,
    progress: pipe::Receiver,
}

/// The output passed its bound.
struct TooMuch;

impl Pipes {
    /// Under a guard the program begins once that watches, and never under a lease that is over.
    async fn let_begin(&mut self, group: &mut Group, job: &JobContext) -> Result<(), Failure> {
        let (Some(guarded), Some(_)) = (&mut group.guarded, job.guard()) else { return Ok(()) };
        guarded.confirmed().await;
        if job.lease_is_over() {
            return Err(Failure::new("the lease was over before the program began"));
        }
        if let Err(error) = self.stdin.write_all(&[GO]).await {
            tracing::debug!(%error, "the program was ended before it began");
        }
        Ok(())
    }

    /// Moves everything in both directions until all pipes are closed.
    async fn transfer(
        self,
        job: &JobContext,
        stdout: &mut Head,
        stderr: &mut Tail,
        lines: &mut ProgressLines,
    ) -> Result<(), TooMuch> {
        let Self { mut stdin, stdout: out, stderr: err, progress } = self;
        let feed = async move {
            // A program that does not read its payload closes the pipe: that is its right.
            // The newline is for shells, whose `read` wants one.
            let payload = format!("{}\n", job.job().payload_text());
            if let Err(error) = stdin.write_all(payload.as_bytes()).await {
                tracing::debug!(%error, "the program did not read its whole payload");
            }
            Ok(())
        };
        tokio::try_join!(
            feed,
            read_all(out, |bytes| stdout.push(bytes)),
            read_all(err, |bytes| {
                stderr.push(bytes);
                true
            }),
            read_all(progress, |bytes| {
                if let Some(progress) = lines.push(bytes) {
                    job.report(progress);
                }
                true
            }),
        )?;
        Ok(())
    }
}

/// Reads to the end, however it comes; `keep` says whether to go on.
async fn read_all(mut pipe: impl AsyncRead + Unpin, mut keep: impl FnMut(&[u8]) -> bool) -> Result<(), TooMuch> {
    let mut buffer = [0; 8_192];
    loop {
        let read = pipe.read(&mut buffer).await.unwrap_or(0);
        match buffer.get(..read) {
            None | Some([]) => return Ok(()),
            Some(bytes) if keep(bytes) => {}
            Some(_) => return Err(TooMuch),
        }
    }
}

/// Waits for the program's end, or brings it about.
async fn attend(
    child: &mut Child,
    group: &Group,
    job: &JobContext,
    mut transfer: impl Future<Output = Result<(), TooMuch>> + Unpin,
) -> End {
    let mut transferred = false;
    let end = loop {
        tokio::select! {
            status = child.wait() => break End::Exited(status),
            _ = job.cancelled() => break End::Stopped,
            result = &mut transfer, if !transferred => match result {
                Ok(()) => transferred = true,
                Err(TooMuch) => break End::TooMuchOutput,
            },
        }
    };
    match &end {
        End::Exited(_) if transferred => {}
        // Its last words may still be in the pipes, and whoever it started may hold them for ever.
        End::Exited(_) => match tokio::time::timeout(OUTPUT_DRAIN, &mut transfer).await {
            Ok(Err(TooMuch)) => return End::TooMuchOutput,
            Ok(Ok(())) => {}
            Err(_) => {
                tracing::warn!(job_id = %job.job_id(), "the program ended, but not its children, which are ended too")
            }
        },
        End::TooMuchOutput => end_group(child, group, Duration::ZERO).await,
        End::Stopped => {
            let grace = job.stop_requested().map_or(Duration::ZERO, |stop| stop.grace);
            let drained = async {
                // Read on, so that a program that says goodbye at length is not blocked by it.
                if !transferred {
                    drop(transfer.await);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = end_group(child, group, grace) => {}
                () = drained => {}
            }
        }
    }
    end
}

/// Asks the group to end, and ends it after the grace.
async fn end_group(child: &mut Child, group: &Group, grace: Duration) {
    if !grace.is_zero() {
        group.signal(Signal::TERM);
        if tokio::time::timeout(grace, child.wait()).await.is_ok() {
            return;
        }
    }
    group.signal(Signal::KILL);
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "the program's end was not seen");
    }
}

/// The program's process group; killed when dropped, so that no way out of an attempt leaves it running.
struct Group {
    pid: Option<Pid>,
    /// Somebody else kills it if the worker cannot. Let go of after the kill.
    guarded: Option<Guarded>,
}

impl Group {
    fn of(child: &Child, job: &JobContext) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { pid: id.and_then(Pid::from_raw), guarded: id.map(|id| job.guarded(id)) }
    }

    /// A group that is gone is fine.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.pid
            && let Err(error) = kill_process_group(group, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, ?group, ?signal, "a process group was not signalled");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the program ended with code {code}"),
        (None, Some(signal)) => format!("the program was ended by signal {signal}"),
        (None, None) => "the program ended".to_owned(),
    }
}

fn with_tail(what: &str, tail: &str) -> String {
    if tail.is_empty() { what.to_owned() } else { format!("{what}: {tail}") }
}
