//! Bodies on the way: at once, as fast as the slower side, and never collected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chassis::task::Tasks;
use chassis::testing::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::backend::{Backend, Deed};
use crate::balancer::{Balancer, SOON};

const LARGE: usize = 50 << 20;

/// What all sockets and buffers between the two ends may hold together.
const ON_THE_WAY: usize = 32 << 20;

#[tokio::test]
async fn events_pass_at_once() {
    let backend = Backend::doing([
        Deed::Part("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n".into()),
        Deed::Wait,
        Deed::Part("8\r\ndata: 2\n\r\n".into()),
        Deed::Wait,
        Deed::Say("0\r\n\r\n".into()),
    ])
    .await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut client = balancer.client().await;
    client.send("GET /jobs/1/events HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut seen = String::new();
    for event in ["data: 1", "data: 2", "\r\n0\r\n\r\n"] {
        while !seen.contains(event) {
            seen.push_str(&String::from_utf8(client.some().await).unwrap());
        }
        backend.gate.add_permits(1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf"]
    {
        let backend = Backend::doing([Deed::Ignore]).await;
        let balancer = Balancer::start(&[backend.address], &[]).await;
        let mut client = balancer.client().await;
        client.send(request).await;
        let in_flight = || balancer.metric("longshore_lb_backend_in_flight", backend.address);
        wait_until(SOON, "sent on", || async { backend.connections() == 1 && in_flight().await == Some(1) }).await;
        drop(client);
        wait_until(SOON, "over", || async { backend.ended() == 1 && in_flight().await == Some(0) }).await;
    }
}

#[tokio::test]
async fn a_large_answer_goes_no_faster_than_its_client_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = Balancer::start(&[listener.local_addr().unwrap()], &[("CHECK_TIMEOUT_MS", "1")]).await;
    let written = Arc::new(AtomicUsize::new(0));
    let tasks = Tasks::new();
    let count = Arc::clone(&written);
    tasks.spawn("backend", async move {
        let mut stream = asked_for(&listener, "GET /large").await;
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes()).await.unwrap();
        let piece = vec![b'x'; 64 << 10];
        while count.fetch_add(piece.len(), Ordering::Relaxed) < LARGE {
            stream.write_all(&piece).await.unwrap();
        }
    });
    let mut client = balancer.client().await;
    client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut read = 0;
    while read < LARGE {
        let ahead = written.load(Ordering::Relaxed).saturating_sub(read);
        assert!(ahead < ON_THE_WAY, "{ahead} bytes on the way");
        read += client.some().await.iter().filter(|&&byte| byte == b'x').count();
    }
    assert_eq!(read, LARGE);
}

#[tokio::test]
async fn a_large_upload_goes_no_faster_than_its_backend_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = Balancer::start(&[listener.local_addr().unwrap()], &[("CHECK_TIMEOUT_MS", "1")]).await;
    let written = Arc::new(AtomicUsize::new(0));
    let tasks = Tasks::new();
    let count = Arc::clone(&written);
    let mut client = balancer.client().await;
    tasks.spawn("client", async move {
        client.send(format!("POST /large HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        let piece = vec![b'x'; 64 << 10];
        while count.fetch_add(piece.len(), Ordering::Relaxed) < LARGE {
            client.send(&piece).await;
        }
        assert_eq!(client.answer().await.status, 200);
    });
    let mut stream = asked_for(&listener, "POST /large").await;
    let (mut read, mut piece) = (0, vec![0; 64 << 10]);
    while read < LARGE {
        let ahead = written.load(Ordering::Relaxed).saturating_sub(read);
        assert!(ahead < ON_THE_WAY, "{ahead} bytes on the way");
        let bytes = stream.read(&mut piece).await.unwrap();
        read += piece[..bytes].iter().filter(|&&byte| byte == b'x').count();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    tasks.join(SOON).await.unwrap();
    assert_eq!(read, LARGE);
}

/// The connection with the request, its head read; others (checks) are dropped.
async fn asked_for(listener: &TcpListener, line: &str) -> tokio::net::TcpStream {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(stream.read_u8().await);
        }
        if head.starts_with(line.as_bytes()) {
            return stream;
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_over_reaches_its_client() {
    let early = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
    let backend = Backend::doing([Deed::EarlyAndClose(early.into())]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    for _ in 0..20 {
        let mut client = balancer.client().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        // Sends until it is told to stop, like most clients, and only then reads.
        let piece = vec![b'x'; 64 << 10];
        for _ in 0..LARGE / piece.len() {
            if !client.try_send(&piece).await {
                break;
            }
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    }
}
