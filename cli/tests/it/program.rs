//! Runs the built program, and keeps one that serves until the test is over.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// Debug builds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended, as text.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program in a folder, with nothing in its environment but these variables.
fn command(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.current_dir(folder).env_clear().envs(variables.iter().copied()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The first lines of a command that goes on; it is killed then.
pub(crate) async fn first_lines(
    folder: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
    count: usize,
) -> Vec<String> {
    let mut child = command(folder, variables, arguments).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut first = Vec::new();
    let read = async {
        while first.len() < count {
            first.push(lines.next_line().await.expect("readable").expect("it goes on"));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("in time");
    first
}

pub(crate) async fn run(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    Running::start(folder, variables, arguments).ended().await
}

/// A command that has not ended.
pub(crate) struct Running {
    child: Child,
    err: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    pub(crate) fn start(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut child = command(folder, variables, arguments).spawn().expect("it starts");
        let err = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, err, said: String::new() }
    }

    /// Waits until it has said this on standard error.
    pub(crate) async fn says(&mut self, words: &str) {
        let read = async {
            while !self.said.contains(words) {
                let read = self.err.read_line(&mut self.said).await.expect("readable");
                assert!(read > 0, "it ended without saying {words:?}: {}", self.said);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("in time");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(id(&self.child), signal).expect("it is ours");
    }

    pub(crate) async fn ended(mut self) -> Ended {
        let rest = async {
            let (read, output) = tokio::join!(self.err.read_to_string(&mut self.said), self.child.wait_with_output());
            read.expect("text");
            output.expect("it runs")
        };
        let Output { status, stdout, .. } = tokio::time::timeout(PATIENCE, rest).await.expect("in time");
        let out = String::from_utf8(stdout).expect("text");
        Ended { status: status.code().expect("no signal"), out, err: self.said }
    }
}

fn id(child: &Child) -> Pid {
    child.id().and_then(|id| id.try_into().ok()).and_then(Pid::from_raw).expect("it runs")
}

/// A running `longshore up` on free ports.
pub(crate) struct Up {
    child: Child,
    /// What it printed when everything served.
    pub(crate) banner: String,
}

/// Every program on any free port.
pub(crate) const FREE_PORTS: [(&str, &str); 5] = [
    ("LONGSHORE_LB_LISTEN", "127.0.0.1:0"),
    ("LONGSHORE_GATEWAY_LISTEN", "127.0.0.1:0,127.0.0.1:0"),
    ("LONGSHORE_STORE_LISTEN", "127.0.0.1:0"),
    ("LONGSHORE_CACHE_LISTEN", "127.0.0.1:0"),
    ("LONGSHORE_WORKER_LISTEN", "127.0.0.1:0"),
];

impl Up {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &FREE_PORTS).await
    }

    pub(crate) async fn start_with(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = command(folder, variables, &["up"]).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut errors = child.stderr.take().expect("piped");
        // The log must go somewhere, or the program would wait for a reader.
        tokio::task::spawn_local(async move { tokio::io::copy(&mut errors, &mut tokio::io::sink()).await });
        let mut banner = String::new();
        let read = async {
            while !banner.contains("Ctrl-C") {
                let line = lines.next_line().await.expect("readable").expect("it serves");
                banner.push_str(&line);
                banner.push('\n');
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("in time");
        Self { child, banner }
    }

    /// The balancer's address, as the banner says it.
    pub(crate) fn url(&self) -> &str {
        let (_, rest) = self.banner.split_once("balancer").expect("a balancer");
        rest.split_whitespace().next().expect("its address")
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill_9(mut self) {
        self.child.kill().await.expect("it is ours");
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        kill_process(id(&self.child), Signal::TERM).expect("it is ours");
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("in time").expect("it ended").code()
    }
}
