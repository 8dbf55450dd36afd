//! Every bound has a named answer: bodies, heads, connections, slowness.

use std::time::Duration;

use chassis::http::Limits;
use tokio::io::AsyncWriteExt;

use crate::support::{LONG, Server, Wire, post_json};

fn item_of(bytes: usize) -> String {
    let frame = r#"{"name":"","count":1}"#.len();
    format!(r#"{{"name":"{}","count":1}}"#, "x".repeat(bytes - frame))
}

#[tokio::test]
async fn a_body_over_its_limit_is_413_and_the_connection_goes_on() {
    let server = Server::start(Limits::default()).await;
    let mut wire = Wire::connect(server.address).await;
    assert_eq!(wire.ask(&post_json("/items", &item_of(1 << 20))).await.status, 200);
    wire.ask(&post_json("/items", &item_of((1 << 20) + 1))).await.is_problem(413, "payload-too-large");
    assert_eq!(wire.ask(&post_json("/items", &item_of(100))).await.status, 200);
}

#[tokio::test]
async fn a_body_without_a_stated_length_is_counted() {
    let server = Server::start(Limits { body_bytes: 1_000, ..Limits::default() }).await;
    let head =
        "POST /items HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    for (bytes, status) in [(1_000, 200), (1_001, 413), (200_000, 413)] {
        let body = item_of(bytes);
        let reply = server.ask(&format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
        assert_eq!(reply.status, status, "{bytes}: {reply:?}");
    }
}

#[tokio::test]
async fn an_answer_without_reading_reaches_a_client_that_still_sends() {
    let server = Server::start(Limits::default()).await;
    let body = "x".repeat(4 << 20);
    server.post_json("/nothing", &body).await.is_problem(404, "not-found");
    let request = post_json("/items", &body).replace("application/json", "text/plain");
    server.ask(&request).await.is_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn the_limit_holds_for_the_frameworks_extractors_too() {
    let server = Server::start(Limits { body_bytes: 1_000, ..Limits::default() }).await;
    assert_eq!(server.post_json("/axum-bytes", &"x".repeat(1_000)).await.body, "1000");
    let reply = server.post_json("/axum-bytes", &"x".repeat(1_001)).await;
    assert_eq!((reply.status / 100, reply.header("content-type")), (4, Some("application/problem+json")));
}

#[tokio::test]
async fn a_head_over_its_limit_is_431() {
    let server = Server::start(Limits::default()).await;
    let request = |bytes| format!("GET /live HTTP/1.1\r\nhost: x\r\nx-filler: {}\r\n\r\n", "x".repeat(bytes));
    assert_eq!(server.ask(&request(12_000)).await.status, 200);
    for bytes in [17_000, 100_000] {
        assert_eq!(server.ask(&request(bytes)).await.status, 431, "{bytes}");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so() {
    let server = Server::start(Limits { connections: 2, ..Limits::default() }).await;
    let mut first = Wire::connect(server.address).await;
    let mut second = Wire::connect(server.address).await;
    let request = "GET /live HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!((first.ask(request).await.status, second.ask(request).await.status), (200, 200));
    let mut third = Wire::connect(server.address).await;
    let reply = third.ask(request).await;
    reply.is_problem(503, "too-many-connections");
    assert_eq!((reply.header("retry-after"), reply.header("connection")), (Some("1"), Some("close")));
    third.closed().await;
    drop(first);
    chassis::testing::wait_until(LONG, "the place is free again", || async { server.get("/live").await.status == 200 })
        .await;
    assert_eq!(second.ask(request).await.status, 200);
}

#[tokio::test]
async fn a_slow_head_and_a_silent_connection_are_closed() {
    let limits =
        Limits { head_time: Duration::from_millis(300), idle_time: Duration::from_millis(600), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut slow = Wire::connect(server.address).await;
    slow.send("GET /live HT").await;
    let mut silent = Wire::connect(server.address).await;
    assert_eq!(silent.ask("GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    slow.closed().await;
    silent.closed().await;
}

#[tokio::test]
async fn a_head_that_dribbles_in_is_closed_on_time() {
    let limits = Limits { head_time: Duration::from_millis(400), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut wire = Wire::connect(server.address).await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let dribble = async {
        // One byte more often than the limit; it fails when the server has closed.
        while wire.stream.write_all(b"G").await.is_ok() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(LONG, dribble).await.expect("a slow head is closed");
}

#[tokio::test]
async fn a_long_answer_is_not_taken_for_silence() {
    let limits =
        Limits { head_time: Duration::from_millis(50), idle_time: Duration::from_millis(100), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(server.gate.begun.acquire().await.unwrap());
    let limits_pass = tokio::time::timeout(Duration::from_millis(300), wire.reply());
    assert!(limits_pass.await.is_err(), "neither an answer nor an end");
    server.gate.open.notify_one();
    assert_eq!(wire.reply().await.body, "slow but sure");
}
