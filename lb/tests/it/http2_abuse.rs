//! HTTP/2 from clients that mean no good, frame by frame (RFC 9113 §10.5).

use chassis::testing::wait_until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::backend::{Backend, Deed};
use crate::balancer::{Balancer, SOON};
use crate::client::Client;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as HPACK has it without compression (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

fn head(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let all = [&[(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")], fields].concat();
    all.iter().flat_map(|(name, value)| field(name, value)).collect()
}

fn begun() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Streams that clients open have odd numbers.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Sends the same until the other side has had enough, which must be before it has been sent `most` times; whether it said so (GOAWAY).
async fn flood(balancer: &Balancer, most: u32, piece: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut client = balancer.client().await;
    client.send(begun()).await;
    for number in 0..most {
        if !client.try_send(piece(number)).await {
            break;
        }
    }
    let said = client.rest().await;
    frames(&said).any(|(kind, _)| kind == GOAWAY)
}

/// Kinds and payloads.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (start, behind) = rest.split_at_checked(9)?;
        let length = usize::try_from(u32::from_be_bytes([0, start[0], start[1], start[2]])).unwrap();
        let (payload, next) = behind.split_at_checked(length)?;
        rest = next;
        Some((start[3], payload))
    })
}

async fn still_serves(balancer: &Balancer) {
    wait_until(SOON, "others are served", || async { balancer.get("/live").await.status == 200 }).await;
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let backend = Backend::doing([Deed::Ignore]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let ended = flood(&balancer, 20_000, |number| {
        let asked = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &head("/data", &[]));
        [asked, frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8])].concat()
    });
    assert!(ended.await, "rapid reset (CVE-2023-44487)");
    // What began is given up: no backend works for nobody.
    wait_until(SOON, "given up", || async { backend.ended() == backend.connections() }).await;
    still_serves(&balancer).await;
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let ended = flood(&balancer, 20_000, |number| match number {
        0 => frame(HEADERS, 0, 1, &head("/data", &[])),
        number => frame(CONTINUATION, 0, 1, &field(&format!("x-{number}"), &"1".repeat(100))),
    });
    assert!(ended.await, "CONTINUATION flood (CVE-2024-27316)");
    assert_eq!(backend.asked(), []);
    still_serves(&balancer).await;
}

#[tokio::test]
async fn mistakes_that_demand_answers_end_the_connection() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    // Each is a malformed request, which is answered with a reset.
    let ended = flood(&balancer, 20_000, |number| {
        frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &head("/data", &[("connection", "close")]))
    });
    assert!(ended.await, "resets made by us (CVE-2025-8671)");
    assert_eq!(backend.asked(), []);
    still_serves(&balancer).await;
}

#[tokio::test]
async fn frames_that_only_cost_take_no_memory_and_end_with_the_time_of_a_head() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_HEAD_MS", "500")]).await;
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[0, 4, 0, 1, 0, 0])] {
        let mut client = balancer.client().await;
        client.send(begun()).await;
        let client = tokio::sync::Mutex::new(client);
        let many = frame(kind, 0, 0, payload).repeat(100);
        // They are answered one at a time: who does not read the answers cannot go on sending.
        wait_until(SOON, "ended", || async { !client.lock().await.try_send(&many).await }).await;
    }
    still_serves(&balancer).await;
}

#[tokio::test]
async fn empty_pieces_of_a_body_win_no_time() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_STALL_MS", "500")]).await;
    let (read, mut write) = TcpStream::connect(balancer.address).await.unwrap().into_split();
    write.write_all(&[begun(), frame(HEADERS, END_HEADERS, 1, &head("/data", &[]))].concat()).await.unwrap();
    let sending = async {
        let empty = frame(DATA, 0, 1, &[]);
        while write.write_all(&empty).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let mut client = Client::over(tokio::io::join(read, tokio::io::sink()));
    tokio::select! {
        said = client.rest_or(b"request-timeout") => assert!(!said.is_empty(), "it is answered, or ends with a word"),
        () = sending => {}
    }
    still_serves(&balancer).await;
}

#[tokio::test]
async fn what_http_2_forbids_is_passed_to_nobody() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    for fields in [
        &[("transfer-encoding", "chunked")][..],
        &[("connection", "x-secret"), ("x-secret", "1")],
        &[("te", "gzip")],
        &[("x\r\nsmuggled", "1")],
        &[("x", "1\r\nsmuggled: 1")],
        // The garden's two trophies of downgrades to HTTP/1.1.
        &[("x-one", "\t1\t")],
        &[("", "")],
        &[("X-Upper", "1")],
        &[("content-length", "5")],
        &[(":path", "/again")],
        &[("host", "b")],
        &[("host", "a"), ("host", "b")],
    ] {
        let mut client = balancer.client().await;
        let asked = |stream, path, fields| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(path, fields));
        client.send([begun(), asked(1, "/data", fields), asked(3, "/live", &[])].concat()).await;
        // The second is answered, unless the connection ends because of the first.
        client.rest_or(b"method-not-allowed").await;
    }
    assert_eq!(backend.asked(), []);
}
