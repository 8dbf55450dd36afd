//! A backend that does what a test says, byte for byte, and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chassis::task::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::probe::cases::wire::unchunked;

/// What to do with a request.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Write these bytes; the connection stays.
    Say(Vec<u8>),
    /// Write these bytes and close.
    SayAndClose(Vec<u8>),
    /// Write these bytes and go on with the next deed.
    Part(Vec<u8>),
    /// Write these bytes before the body is read, and close.
    EarlyAndClose(Vec<u8>),
    /// Close without a byte.
    Close,
    /// Never answer.
    Ignore,
    /// Wait for a permit of the gate, then go on with the next deed.
    Wait,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
}

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Semaphore>,
    state: Arc<State>,
    tasks: Tasks,
}

struct State {
    is_ready: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    /// Connections that carried a request, and connections of those that have ended.
    connections: AtomicUsize,
    ended: AtomicUsize,
    /// Done one after the other, by whatever connection; the last one again and again.
    deeds: Mutex<VecDeque<Deed>>,
    gate: Arc<Semaphore>,
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Backend {
    /// Answers every request with 200 and its own address.
    pub(crate) async fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let body = listener.local_addr().unwrap().to_string();
        Backend::on(listener, vec![Deed::Say(ok(&body))])
    }

    pub(crate) async fn doing(deeds: impl IntoIterator<Item = Deed>) -> Backend {
        Backend::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), deeds)
    }

    pub(crate) fn on(listener: TcpListener, deeds: impl IntoIterator<Item = Deed>) -> Backend {
        let gate = Arc::new(Semaphore::new(0));
        let state = Arc::new(State {
            is_ready: AtomicBool::new(true),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            deeds: Mutex::new(deeds.into_iter().collect()),
            gate: Arc::clone(&gate),
        });
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let (served, spawner) = (Arc::clone(&state), tasks.clone());
        tasks.spawn("backend", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                spawner.spawn("backend connection", async move { served.serve(stream).await });
            }
        });
        Backend { address, gate, state, tasks }
    }

    /// What `/ready` says from now on.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.state.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// The requests so far, checks not among them.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Connections on which a request has begun.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Those of them that are over.
    pub(crate) fn ended(&self) -> usize {
        self.state.ended.load(Ordering::Relaxed)
    }

    /// Stops listening and drops all connections.
    pub(crate) async fn stop(&self) {
        self.tasks.stop();
        self.tasks.join(Duration::from_secs(5)).await.unwrap();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) {
        let mut number = None;
        let mut buffer = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut buffer).await {
            if head.starts_with("GET /ready ") {
                let status = if self.is_ready.load(Ordering::Relaxed) { "200 OK" } else { "503 Service Unavailable" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
            let connection = *number.get_or_insert_with(|| self.connections.fetch_add(1, Ordering::Relaxed));
            let body = if self.is_hasty() { Vec::new() } else { read_body(&mut stream, &mut buffer, &head).await };
            self.asked.lock().unwrap().push(Asked { head, body, connection });
            if !self.act(&mut stream).await {
                break;
            }
        }
        if number.is_some() {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next answer does not wait for the body.
    fn is_hasty(&self) -> bool {
        matches!(self.deeds.lock().unwrap().front(), Some(Deed::EarlyAndClose(_)))
    }

    /// Does the next deed; false if the connection is over.
    async fn act(&self, stream: &mut TcpStream) -> bool {
        loop {
            let deed = {
                let mut deeds = self.deeds.lock().unwrap();
                if deeds.len() > 1 { deeds.pop_front() } else { deeds.front().cloned() }
            };
            match deed.unwrap() {
                Deed::Say(bytes) => {
                    return stream.write_all(&bytes).await.is_ok();
                }
                Deed::Part(bytes) => stream.write_all(&bytes).await.unwrap(),
                Deed::SayAndClose(bytes) | Deed::EarlyAndClose(bytes) => {
                    stream.write_all(&bytes).await.unwrap();
                    return false;
                }
                Deed::Close => return false,
                // Until the other side gives up.
                Deed::Ignore => return matches!(stream.read(&mut [0; 1]).await, Ok(1)),
                Deed::Wait => self.gate.acquire().await.unwrap().forget(),
            }
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// The body as it came, chunk sizes and all.
async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> Vec<u8> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length = field("content-length: ").map_or(0, |length| length.parse().unwrap());
    let is_chunked = field("transfer-encoding: ") == Some("chunked");
    loop {
        let end = match is_chunked {
            true => unchunked(buffer).map(|(_, end)| end),
            false => (buffer.len() >= length).then_some(length),
        };
        if let Some(end) = end {
            return buffer.drain(..end).collect();
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return std::mem::take(buffer);
        }
    }
}
