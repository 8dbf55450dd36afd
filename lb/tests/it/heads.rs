//! Heads: which fields pass, and what is refused.

use crate::backend::{Backend, Deed};
use crate::balancer::Balancer;

async fn one(deed: &str) -> (Backend, Balancer) {
    let backend = Backend::doing([Deed::Say(deed.into())]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    (backend, balancer)
}

#[tokio::test]
async fn fields_of_one_connection_do_not_reach_the_other() {
    let (backend, balancer) = one(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\netag: \"7\"\r\n\r\nok",
    )
    .await;
    let request = "GET /data?q=1 HTTP/1.1\r\nHost: a:8000\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Forwarded-For: 10.0.0.1\r\n\
                   Forwarded: for=10.0.0.1\r\ntraceparent: 00-a-b-01\r\nAccept: text/plain\r\n\r\n";
    let answer = balancer.ask(request).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.field("etag")), (200, "ok", Some("\"7\"")));
    for gone in ["x-hop", "keep-alive", "connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    let head = backend.asked()[0].head.clone();
    assert!(head.starts_with("GET /data?q=1 HTTP/1.1\r\n"), "{head}");
    for kept in
        ["host: a:8000", "accept: text/plain", "traceparent: 00-a-b-01", "x-forwarded-for: 127.0.0.1", "x-request-id: "]
    {
        assert!(head.contains(kept), "{kept} in {head}");
    }
    for set in ["forwarded: for=127.0.0.1;proto=http", "x-forwarded-host: a:8000", "x-forwarded-proto: http"] {
        assert!(head.contains(set), "{set} in {head}");
    }
    for gone in ["x-mine", "10.0.0.1", "connection"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_refused_and_reaches_nobody() {
    let (backend, balancer) = one("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for (status, problem, request) in [
        (501, "not-implemented", "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        (501, "not-implemented", "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n"),
        (501, "not-implemented", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n"),
        (
            501,
            "not-implemented",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\nx",
        ),
        (501, "not-implemented", "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n"),
        (501, "not-implemented", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (400, "bad-request", "GET / HTTP/1.1\r\n\r\n"),
        (400, "bad-request", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ] {
        let answer = balancer.ask(request).await;
        assert_eq!((answer.status, answer.problem().as_deref()), (status, Some(problem)), "{request}");
    }
    assert_eq!(backend.asked(), []);
}

#[tokio::test]
async fn an_upgrade_that_may_be_ignored_is() {
    let (backend, balancer) = one("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut client = balancer.client().await;
    let upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk";
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert!(!backend.asked()[1].head.contains("upgrade"));
}

#[tokio::test]
async fn a_backend_cannot_change_the_protocol_by_itself() {
    let (_backend, balancer) =
        one("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    assert_eq!(balancer.get("/data").await.status, 502);
}

#[tokio::test]
async fn what_is_no_http_or_ambiguous_is_refused_by_the_parser() {
    let (backend, balancer) = one("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "\x16\x03\x01 not http\r\n\r\n",
    ] {
        let mut client = balancer.client().await;
        client.send(request).await;
        let answer = client.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{request}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(backend.asked(), []);
}

#[tokio::test]
async fn large_heads_are_answered_431() {
    let (backend, balancer) = one("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let many = "x-a: 1\r\n".repeat(101);
    let large = format!("x-a: {}\r\n", "1".repeat(17 << 10));
    let larger = format!("x-a: {}\r\n", "1".repeat(1 << 20));
    for fields in [many, large, larger] {
        let mut client = balancer.client().await;
        // Of the largest, the balancer may have had enough before it is sent.
        client.try_send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
        assert_eq!(client.answer().await.status, 431);
    }
    let fits = format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {}\r\n\r\n", "1".repeat(15 << 10));
    assert_eq!(balancer.ask(&fits).await.status, 200);
    assert_eq!(backend.asked().len(), 1);
}
