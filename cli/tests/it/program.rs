//! Runs the built program, and keeps one that serves until the test is over.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

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

pub(crate) async fn run(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let output = command(folder, variables, arguments).output();
    let Output { status, stdout, stderr } =
        tokio::time::timeout(PATIENCE, output).await.expect("in time").expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { status: status.code().expect("no signal"), out: text(stdout), err: text(stderr) }
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
        let mut child = command(folder, &FREE_PORTS, &["up"]).spawn().expect("it starts");
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

    /// SIGTERM, and how it ended.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        let id = self.child.id().and_then(|id| id.try_into().ok()).and_then(Pid::from_raw).expect("it runs");
        kill_process(id, Signal::TERM).expect("it is ours");
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("in time").expect("it ended").code()
    }
}
