//! A small process beside the worker that ends the programs it started when the worker cannot: it was killed, or it was stopped past
//! the lease. Otherwise such a program would run on beside its successor.

mod groups;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::clock::now_ms;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use self::groups::{Groups, Order};

/// The one argument of a program that should be a guard.
pub const ARGUMENT: &str = "guard";
/// Whatever file this process runs, also when it was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Nothing is watched: look again after this.
const IDLE: Duration = Duration::from_secs(3_600);

/// Whether this process was started to be a guard. A `main` asks before anything else, and answers with [`serve`].
#[must_use]
pub fn is_asked() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().as_deref() == Some(OsStr::new(ARGUMENT)) && arguments.next().is_none()
}

/// Is a guard until standard input ends, which is when the worker has ended, however it did.
#[must_use]
pub fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(watch())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn watch() -> io::Result<()> {
    // A signal to everything must not take the guard before the worker.
    let _terminate = signal(SignalKind::terminate())?;
    let _interrupt = signal(SignalKind::interrupt())?;
    let stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut lines = BufReader::new(stdin).lines();
    let mut groups = Groups::default();
    loop {
        let now_ms = now_ms();
        groups.take_overdue(now_ms).into_iter().for_each(kill);
        let idle = groups.next_end_ms().map_or(IDLE, |end_ms| Duration::from_millis(end_ms.saturating_sub(now_ms)));
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => if let Some(order) = Order::parse(&line) { groups.take_order(order) },
                Ok(None) | Err(_) => break,
            },
            () = tokio::time::sleep(idle) => {}
        }
    }
    groups.take_overdue(u64::MAX).into_iter().for_each(kill);
    Ok(())
}

fn kill(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        // Gone already is as good; there is nobody to tell anything else.
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
}

/// The worker's side. Dropped, it ends the guard and every group that was not done.
#[derive(Debug)]
pub struct Guard {
    orders: io::PipeWriter,
    is_lost: AtomicBool,
}

impl Guard {
    /// Starts this very program again as a guard. Its `main` must look at [`is_asked`].
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start() -> io::Result<Self> {
        Self::start_program(Path::new(THIS_PROGRAM))
    }

    /// Starts a program that is a guard when it is given [`ARGUMENT`].
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_program(program: &Path) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // Not waited for: it ends when the pipe does, after this process.
        let guard = tokio::process::Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal from a terminal goes to the worker's group.
            .process_group(0)
            .spawn()?;
        tracing::debug!(pid = guard.id(), "a guard watches over the programs of this worker");
        fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        Ok(Self { orders: writer, is_lost: AtomicBool::new(false) })
    }

    /// The process group may run until then; said anew with every renewal of its lease.
    pub fn hold(&self, group: i32, until_ms: u64) {
        self.say(Order::Hold { group, until_ms });
    }

    /// The process group has ended.
    pub fn done(&self, group: i32) {
        self.say(Order::Done { group });
    }

    /// A line is shorter than what a pipe takes at once or not at all, and the pipe holds thousands of them. A guard that does not
    /// read is as good as none: the worker goes on.
    fn say(&self, order: Order) {
        let line = order.line();
        if let Err(error) = (&self.orders).write_all(line.as_bytes())
            && !self.is_lost.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%error, "the guard does not listen: programs may outlive this worker if it is killed");
        }
    }
}
