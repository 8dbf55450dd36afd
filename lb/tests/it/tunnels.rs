//! Tunnels: bytes both ways once client and backend have agreed on another protocol, and not one before.

use std::io::ErrorKind;
use std::net::SocketAddr;

use chassis::testing::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Backend, Deed, ok};
use crate::balancer::{Balancer, SOON};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A backend that the test plays itself.
struct Played(TcpListener);

impl Played {
    async fn bind() -> Played {
        Played(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next connection on which something else than a check is asked, and what.
    async fn asked(&self) -> (TcpStream, String) {
        loop {
            let (mut stream, _) = self.0.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            if !head.starts_with("GET /ready ") {
                return (stream, head);
            }
            stream.write_all(&ok("")).await.unwrap();
        }
    }
}

/// A balancer before a played backend; it does not check it again.
async fn before(played: &Played, settings: &[(&str, &str)]) -> Balancer {
    let settings = [settings, &[("CHECK_INTERVAL_MS", "3600000")]].concat();
    let addresses = [played.address()];
    let starting = Balancer::start(&addresses, &settings);
    let checked = async {
        let (mut stream, _) = played.0.accept().await.unwrap();
        stream.write_all(&ok("")).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    };
    tokio::join!(starting, checked).0
}

async fn next(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    tokio::time::timeout(SOON, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn bytes_pass_both_ways_and_none_before_the_answer() {
    let played = Played::bind().await;
    let balancer = before(&played, &[]).await;
    let mut client = balancer.client().await;
    client.send(format!("{ASK}too early")).await;
    let (mut backend, head) = played.asked().await;
    assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), "{head}");
    // What the client sent along has come with its head; it stays where it is.
    let nothing = backend.try_read(&mut [0; 16]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    backend.write_all(&[AGREE, b"hello"].concat()).await.unwrap();
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.field("upgrade"), answer.field("connection")),
        (101, Some("websocket"), Some("upgrade"))
    );
    assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(next(&mut backend, 9).await, "too early");
    assert_eq!(client.rest_or(b"hello").await, b"hello");
    for turn in 0..100 {
        let word = format!("{turn:04}");
        client.send(&word).await;
        assert_eq!(next(&mut backend, 4).await, word);
        backend.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(client.rest_or(word.as_bytes()).await, word.as_bytes());
    }
    drop(backend);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_backend_that_does_not_agree_answers_like_any_other() {
    let refused = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
    let backend = Backend::doing([Deed::Say(refused.into()), Deed::Say(ok("again"))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut client = balancer.client().await;
    client.send(ASK).await;
    assert_eq!(client.answer().await.status, 426);
    client.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "again");
}

#[tokio::test]
async fn a_kept_connection_that_ends_instead_of_an_answer_is_noticed() {
    let refused = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
    let backend = Backend::doing([Deed::Say(ok("kept")), Deed::Close, Deed::Say(refused.into())]).await;
    let balancer = Balancer::start(&[backend.address], &[("EVENT_LOOPS", "1")]).await;
    assert_eq!(balancer.get("/data").await.text(), "kept");
    assert_eq!(balancer.ask(ASK).await.status, 426);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_tunnel_outlives_its_backends_removal() {
    let played = Played::bind().await;
    let balancer = before(&played, &[]).await;
    let mut client = balancer.client().await;
    client.send(ASK).await;
    let (mut backend, _) = played.asked().await;
    backend.write_all(AGREE).await.unwrap();
    assert_eq!(client.answer().await.status, 101);
    let other = Backend::start().await;
    let added = balancer.operate("PUT", &format!("/backends/{}", other.address), "{\"weight\":1}").await;
    let removed = balancer.operate("DELETE", &format!("/backends/{}", played.address()), "").await;
    assert_eq!((added.status, removed.status), (204, 204));
    wait_until(SOON, "removed", || async { balancer.get("/data").await.text() == other.address.to_string() }).await;
    client.send("still").await;
    assert_eq!(next(&mut backend, 5).await, "still");
    backend.write_all(b"here").await.unwrap();
    assert_eq!(client.rest_or(b"here").await, b"here");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let played = Played::bind().await;
    let balancer = before(&played, &[("TUNNEL_IDLE_MS", "300")]).await;
    let mut client = balancer.client().await;
    client.send(ASK).await;
    let (mut backend, _) = played.asked().await;
    backend.write_all(AGREE).await.unwrap();
    assert_eq!(client.answer().await.status, 101);
    assert_eq!(client.rest().await, b"");
    assert_eq!(backend.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
