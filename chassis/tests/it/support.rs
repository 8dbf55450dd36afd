//! A server on a free port with routes that misbehave in known ways, and a client that reads what is on the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use chassis::health::Health;
use chassis::http::{Context, Json, Limits, Path, Query, Rejection, serve};
use chassis::shutdown::{Shutdown, Trigger};
use chassis::task::Tasks;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// Nothing here takes this long, unless it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A server and what tests may do to it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) trigger: Trigger,
    pub(crate) tasks: Tasks,
    pub(crate) gate: Gate,
}

/// Lets `GET /slow` say that it began, and waits until it may end.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) begun: Arc<Semaphore>,
    pub(crate) open: Arc<Notify>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) count: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    limit: Option<u8>,
}

impl Server {
    pub(crate) async fn start(limits: Limits) -> Server {
        Server::with_routes(limits, Router::new()).await
    }

    /// The usual routes, and those of a test.
    pub(crate) async fn with_routes(limits: Limits, router: Router) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Gate { begun: Arc::new(Semaphore::new(0)), open: Arc::default() };
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(3));
        let (health, tasks) = (Health::new("tested"), Tasks::new());
        let router = router.merge(routes(gate.clone()));
        let serving = serve_owned(listener, router, limits, health.clone(), shutdown);
        tasks.spawn("server", serving);
        health.ready();
        Server { address, health, trigger, tasks, gate }
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Reply {
        Wire::connect(self.address).await.ask(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &str) -> Reply {
        self.ask(&post_json(path, body)).await
    }
}

async fn serve_owned(listener: TcpListener, router: Router, limits: Limits, health: Health, shutdown: Shutdown) {
    serve(listener, router, limits, &health, &shutdown).await;
}

fn routes(gate: Gate) -> Router {
    Router::new()
        .route("/items", post(|Json(item): Json<Item>| async { Json(item) }).get(list))
        .route("/items/{id}", get(|Path(id): Path<u64>| async move { id.to_string() }))
        .route("/context", get(context))
        .route("/broken", get(|| async { Err::<(), _>(Rejection::from(anyhow::anyhow!("password=secret"))) }))
        .route("/panic", get(panics))
        .route("/axum-bytes", post(|bytes: bytes::Bytes| async move { bytes.len().to_string() }))
        .route("/slow", get(move || slow(gate)))
}

async fn list(Query(listing): Query<Listing>) -> String {
    listing.limit.unwrap_or(7).to_string()
}

async fn context(context: Context) -> Json<[String; 2]> {
    Json([context.request_id().to_owned(), context.trace().to_string()])
}

async fn panics() {
    panic!("secret of the inside");
}

async fn slow(gate: Gate) -> &'static str {
    gate.begun.add_permits(1);
    gate.open.notified().await;
    "slow but sure"
}

pub(crate) fn post_json(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A connection whose bytes the test writes and reads itself.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.unwrap(), received: Vec::new() }
    }

    pub(crate) async fn ask(&mut self, request: &str) -> Reply {
        self.send(request).await;
        self.reply().await
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// One reply with a stated length.
    pub(crate) async fn reply(&mut self) -> Reply {
        let head_end = loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.read_more().await, "closed within a head: {:?}", String::from_utf8_lossy(&self.received));
        };
        let head = String::from_utf8(self.received.drain(..head_end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length: usize = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.received.len() < length {
            assert!(self.read_more().await, "closed within a body");
        }
        reply.body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        reply
    }

    /// Waits until the server closes the connection.
    pub(crate) async fn closed(&mut self) {
        while self.read_more().await {}
        assert_eq!(String::from_utf8_lossy(&self.received), "", "more came before the end");
    }

    async fn read_more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(LONG, self.stream.read(&mut bytes)).await.expect("the server hangs");
        // A reset ends a connection as well.
        let count = read.unwrap_or(0);
        self.received.extend_from_slice(&bytes[..count]);
        count > 0
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it is a problem of this status and name.
    pub(crate) fn is_problem(&self, status: u16, name: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json()["type"], format!("urn:longshore:problem:{name}"), "{self:?}");
        assert_eq!(self.json()["status"], status);
    }
}
