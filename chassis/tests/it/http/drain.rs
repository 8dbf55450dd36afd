//! Draining: say so first, finish what has begun, drop what does not end in time, never keep the process.

use std::time::Duration;

use chassis::http::Limits;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{LONG, Server, Wire};

#[tokio::test]
async fn ready_follows_the_programs_state() {
    let limits = Limits { drain_notice: Duration::from_secs(30), ..Limits::default() };
    let server = Server::start(limits).await;
    let check = async |status: u16, named: &str| {
        let reply = server.get("/ready").await;
        assert_eq!((reply.status, reply.json()["status"].as_str()), (status, Some(named)));
        reply
    };
    check(200, "ready").await;
    server.health.lost("broker", "connection refused");
    let reply = check(200, "degraded").await;
    assert_eq!(reply.json()["reasons"]["broker"], "connection refused");
    server.health.found("broker");
    server.trigger.drain();
    let reply = check(503, "draining").await;
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(server.get("/live").await.status, 200);
}

#[tokio::test]
async fn a_program_that_starts_is_not_ready() {
    let server = Server::start(Limits::default()).await;
    let health = chassis::health::Health::new("late");
    let report = health.report(false);
    assert!(!report.status.is_serving());
    assert_eq!(server.get("/ready").await.json()["program"], "tested");
}

#[tokio::test]
async fn draining_finishes_requests_and_closes_idle_connections() {
    let limits = Limits { drain_notice: Duration::from_millis(10), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut idle = Wire::connect(server.address).await;
    assert_eq!(idle.ask("GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    let mut busy = Wire::connect(server.address).await;
    busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(server.gate.begun.acquire().await.unwrap());
    server.trigger.drain();
    idle.closed().await;
    chassis::testing::wait_until(LONG, "the port is closed", || async {
        TcpStream::connect(server.address).await.is_err()
    })
    .await;
    server.gate.open.notify_one();
    let reply = busy.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "slow but sure"));
    busy.closed().await;
    server.tasks.join(LONG).await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_dropped_at_the_deadline() {
    let limits = Limits { drain_notice: Duration::from_millis(10), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut busy = Wire::connect(server.address).await;
    busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(server.gate.begun.acquire().await.unwrap());
    let begin = Instant::now();
    server.trigger.drain();
    server.tasks.join(LONG).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(2_900), "{:?}", begin.elapsed());
    busy.closed().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let server = Server::start(Limits::default()).await;
    let mut busy = Wire::connect(server.address).await;
    busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(server.gate.begun.acquire().await.unwrap());
    let begin = Instant::now();
    server.trigger.drain();
    server.trigger.end();
    server.tasks.join(LONG).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
