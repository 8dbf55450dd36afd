//! Between a store and its server: loses exactly the bytes that a test names, or holds a lock as a stranger does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::ids::JobId;
use store_svc::storage::postgres::Url;

use crate::conformance::postgres::cluster;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// What the client sends next does not arrive.
    BeforeCommit,
    /// It arrives, and the server's answers up to that to the commit do not.
    AnswerToCommit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Armed(Cut),
    HasCut,
}

/// Forwards connections on a port of its own; its threads end with the test process.
pub(super) struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// What the server says when a transaction is committed.
const COMMITTED: &[u8] = b"COMMIT\0";

impl Proxy {
    pub(super) fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State::Open));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).expect("the server is there");
                let state = Arc::clone(&shared);
                let (from, to) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
                std::thread::spawn(move || to_server(from, to, &state));
                let state = Arc::clone(&shared);
                std::thread::spawn(move || to_client(server, client, &state));
            }
        });
        Self { port, state }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The next thing to happen is the cut.
    pub(super) fn arm(&self, cut: Cut) {
        *lock(&self.state) = State::Armed(cut);
    }

    pub(super) fn has_cut(&self) -> bool {
        *lock(&self.state) == State::HasCut
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_server(mut client: TcpStream, mut server: TcpStream, state: &Mutex<State>) {
    let mut buffer = [0; 65_536];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let mut state = lock(state);
        if *state == State::Armed(Cut::BeforeCommit) {
            *state = State::HasCut;
            break;
        }
        drop(state);
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    close(&client, &server);
}

fn to_client(mut server: TcpStream, mut client: TcpStream, state: &Mutex<State>) {
    let mut buffer = [0; 65_536];
    let mut lost = Vec::new();
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        let mut state = lock(state);
        if *state == State::Armed(Cut::AnswerToCommit) {
            lost.extend_from_slice(&buffer[..read]);
            if lost.windows(COMMITTED.len()).any(|window| window == COMMITTED) {
                *state = State::HasCut;
                break;
            }
            continue;
        }
        drop(state);
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    close(&client, &server);
}

fn close(client: &TcpStream, server: &TcpStream) {
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Both));
}

/// Somebody with a `psql` and an open transaction.
pub(super) struct Stranger {
    psql: Child,
    input: Option<ChildStdin>,
}

impl Stranger {
    /// Locks the row of a job until it is let go.
    pub(super) fn lock(url: &Url, job_id: JobId) -> Self {
        let shown = url.to_string();
        let database = shown.rsplit('/').next().expect("a name");
        let mut psql = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", &cluster().url(database)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let mut input = psql.stdin.take().expect("piped");
        writeln!(input, "BEGIN; SELECT 'locked' FROM longshore.jobs WHERE job_id = '{job_id}' FOR UPDATE;")
            .expect("said");
        let mut output = psql.stdout.take().expect("piped");
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"locked") {
            output.read_exact(&mut byte).expect("it answers");
            said.push(byte[0]);
        }
        Self { psql, input: Some(input) }
    }

    /// Returns when the lock is gone: the server would see only later that a `psql` has ended.
    pub(super) fn let_go(&mut self) {
        if let Some(mut input) = self.input.take() {
            writeln!(input, "ROLLBACK;").expect("said");
        }
        self.psql.wait().expect("it ended");
    }
}
