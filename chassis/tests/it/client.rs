//! The typed client against real servers: deadlines, failover, the one safe retry, and whose request it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use chassis::client::{Call, Error, Http, Peer};
use chassis::config::{Address, Addresses};
use chassis::health::Health;
use chassis::http::{Context, Json, Limits, Rejection, serve};
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use protocol::problem::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Item, LONG, Server};

fn peer(addresses: &[SocketAddr]) -> Peer {
    let mut all = addresses.iter().copied().map(Address::from);
    let addresses = Addresses::new(all.next().unwrap(), all);
    Peer::new(Http::new(), &addresses)
}

/// A port on which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A server with these routes only.
async fn serve_alone(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (health, shutdown) = (Health::new("alone"), Shutdown::never());
    Tasks::new().spawn("alone", async move { serve(listener, router, Limits::default(), &health, &shutdown).await });
    address
}

/// Accepts and reads requests but closes each connection instead of answering the ones numbered below `failing`.
async fn breaks(tasks: &Tasks, failing: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let requests = Arc::clone(&count);
    tasks.spawn("breaks", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            if stream.read(&mut bytes).await.is_ok() && requests.fetch_add(1, Ordering::SeqCst) >= failing {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n5").await.unwrap();
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn typed_calls_carry_json_both_ways() {
    let server = Server::start(Limits::default()).await;
    let peer = peer(&[server.address]);
    let item = Item { name: "a".to_owned(), count: 3 };
    let answer = peer.post::<_, Item>("/items", &item).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.count), (200, 3));
    let error = peer.get::<Item>("/items/seven").await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::NotFound));
    assert!(matches!(peer.get::<Item>("/items/7").await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn a_deadline_ends_a_call() {
    let server = Server::start(Limits::default()).await;
    let call = Call::get("/slow").within(Duration::from_millis(100));
    let error = peer(&[server.address]).call(&call).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && error.may_have_been_applied(), "{error}");
}

#[tokio::test]
async fn one_that_hangs_is_not_asked_first_again() {
    let other = Router::new().route("/slow", get(|| async { Json(1) }));
    let (hanging, other) = (Server::start(Limits::default()).await, serve_alone(other).await);
    let both = peer(&[hanging.address, other]);
    let call = Call::get("/slow").within(Duration::from_millis(100));
    assert!(matches!(both.call(&call).await, Err(Error::Timeout { .. })));
    assert_eq!(both.get::<u64>("/slow").await.unwrap().address, Address::from(other));
}

#[tokio::test]
async fn an_address_that_is_away_is_passed_over_and_remembered() {
    let (away, server) = (nobody().await, Server::start(Limits::default()).await);
    let peer = peer(&[away, server.address]);
    for _ in 0..2 {
        assert_eq!(peer.get::<u64>("/items/7").await.unwrap().address, Address::from(server.address));
    }
    let item = Item { name: "a".to_owned(), count: 3 };
    assert_eq!(peer.post::<_, Item>("/items", &item).await.unwrap().body.count, 3);
}

#[tokio::test]
async fn nobody_at_any_address_is_unreachable() {
    let error = peer(&[nobody().await, nobody().await]).get::<u64>("/").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && !error.may_have_been_applied(), "{error}");
    assert_eq!(Rejection::from(error).0.kind(), Some(Kind::Unavailable));
}

#[tokio::test]
async fn one_that_is_not_the_sequencer_is_passed_over() {
    let standby = Router::new()
        .route("/role", post(|| async { Rejection::from(Kind::NotSequencer) }))
        .route("/other", get(|| async { Rejection::from(Kind::Unavailable) }));
    let standby = Server::with_routes(Limits::default(), standby).await;
    let sequencer = Router::new().route("/role", post(|| async { Json("sequencer") }));
    let sequencer = Server::with_routes(Limits::default(), sequencer).await;
    let both = peer(&[standby.address, sequencer.address]);
    assert_eq!(both.post::<_, String>("/role", &()).await.unwrap().body, "sequencer");
    let alone = peer(&[standby.address]);
    assert_eq!(alone.post::<_, String>("/role", &()).await.unwrap_err().kind(), Some(Kind::NotSequencer));
    // Any other refusal is an answer, not a reason to ask elsewhere.
    let first = peer(&[standby.address, sequencer.address]);
    assert_eq!(first.get::<u64>("/other").await.unwrap_err().kind(), Some(Kind::Unavailable));
}

#[tokio::test]
async fn a_broken_connection_is_retried_once_and_only_where_it_is_safe() {
    let tasks = Tasks::new();
    for (failing, call, expected_requests, succeeds) in [
        (1, Call::get("/"), 2, true),
        (2, Call::get("/"), 2, false),
        (1, Call::post("/", &()).unwrap(), 1, false),
        (1, Call::post("/", &()).unwrap().repeatable(), 2, true),
    ] {
        let (address, requests) = breaks(&tasks, failing).await;
        let result = peer(&[address]).call(&call).await;
        assert_eq!(result.is_ok(), succeeds, "{result:?}");
        assert_eq!(requests.load(Ordering::SeqCst), expected_requests);
        if let Err(error) = result {
            assert!(matches!(error, Error::Broken { .. }) && error.may_have_been_applied(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_call_carries_the_id_and_trace_of_the_request_it_serves() {
    let server = Server::start(Limits::default()).await;
    let peer = peer(&[server.address]);
    let context = Context::random();
    let answer = context.clone().scope(peer.get::<[String; 2]>("/context")).await.unwrap();
    assert_eq!(answer.body[0], context.request_id());
    assert!(answer.body[1].contains(&format!("{:032x}", context.trace().trace_id())));
}

#[tokio::test]
async fn connections_are_kept_and_survive_their_servers_restart() {
    let limits = Limits { drain_notice: Duration::ZERO, ..Limits::default() };
    let first = Server::start(limits.clone()).await;
    let peer = peer(&[first.address]);
    assert_eq!(peer.get::<u64>("/items/1").await.unwrap().body, 1);
    first.trigger.drain();
    first.tasks.join(LONG).await.unwrap();
    let error = peer.get::<u64>("/items/1").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}
