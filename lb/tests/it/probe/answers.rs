//! Answers at the edge of HTTP/1.1 and beyond: what a broken or hostile backend says is mended or refused, and never becomes the answer
//! to another request.

use crate::backend::{Backend, Deed, ok};
use crate::balancer::Balancer;
use crate::client::Answer;

const GET: &str = "GET /data HTTP/1.1\r\nhost: a\r\n\r\n";
const CLOSING: &str = "GET /data HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A backend that says this once, and a balancer in front of it.
async fn saying(answer: &str) -> (Backend, Balancer) {
    let backend = Backend::doing([Deed::Say(answer.into()), Deed::Say(ok("next"))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    (backend, balancer)
}

/// The next request gets the answer to itself.
async fn check_next(balancer: &Balancer, answer: &str) {
    let next = balancer.get("/data").await;
    assert_eq!((next.status, next.text().as_str()), (200, "next"), "after {answer:?}");
}

async fn check_passed(answer: &str, status: u16, body: &str) -> Answer {
    let (_backend, balancer) = saying(answer).await;
    let mut client = balancer.client().await;
    client.send(GET).await;
    let told = client.answer().await;
    assert_eq!((told.status, told.text().as_str()), (status, body), "{answer:?}");
    client.send(GET).await;
    assert_eq!(client.answer().await.text(), "next", "on the same connection, after {answer:?}");
    check_next(&balancer, answer).await;
    told
}

async fn check_bad_gateway(answer: &str) {
    let (_backend, balancer) = saying(answer).await;
    assert_eq!(balancer.get("/data").await.status, 502, "{answer:?}");
    check_next(&balancer, answer).await;
}

/// The client learns from the end of its connection that the body is not whole.
async fn check_cut(body: &str) {
    let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n{body}");
    let (_backend, balancer) = saying(&answer).await;
    let mut client = balancer.client().await;
    client.send(CLOSING).await;
    let told = String::from_utf8(client.rest().await).unwrap();
    assert!(!told.contains("\r\n0\r\n") && !told.contains("smuggled"), "{body:?} became {told}");
    check_next(&balancer, &answer).await;
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_next_one() {
    let extra = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    check_passed(&format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc{extra}"), 200, "abc").await;
    check_passed(&format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{extra}"), 200, "").await;
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    check_passed(&format!("{chunks}{extra}"), 200, "abc").await;
    check_passed(&format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 43\r\n\r\n{extra}"), 304, "").await;
}

#[tokio::test]
async fn an_answer_without_content_has_no_length() {
    let told = check_passed("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", 204, "").await;
    assert_eq!((told.field("content-length"), told.field("transfer-encoding")), (None, None));
}

#[tokio::test]
async fn answers_are_written_anew() {
    let told = check_passed("HTTP/1.1 200 OK\r\ncontent-length: 003\r\n\r\nabc", 200, "abc").await;
    assert_eq!(told.field("content-length"), Some("3"));
    let told = check_passed("HTTP/1.1 200 OK\nx-one: 1\ncontent-length: 3\n\nabc", 200, "abc").await;
    assert_eq!((told.field("x-one"), told.field("content-length")), (Some("1"), Some("3")));
    let told = check_passed("HTTP/1.1 200\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", 200, "abc").await;
    assert_eq!(told.fields.iter().filter(|(name, _)| name == "content-length").count(), 1);
    let many = "HTTP/1.1 100 Continue\r\ncontent-length: 9\r\n\r\n".repeat(3);
    check_passed(&format!("{many}HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"), 200, "abc").await;
}

#[tokio::test]
async fn answers_that_may_end_here_or_there_are_not_passed_on() {
    for length in ["3\r\ncontent-length: 4", "4\r\ncontent-length: 3", "3, 4", "+3", "-3", "0x3", "3_0", "3x", ""] {
        check_bad_gateway(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nabcd")).await;
    }
    for coding in
        ["chunked, chunked", ",chunked", "chunked\r\ntransfer-encoding: chunked", "xchunked", "chunked, gzip", ""]
    {
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n");
        check_bad_gateway(&format!("{head}3\r\nabc\r\n0\r\n\r\n")).await;
    }
    check_bad_gateway("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn answers_that_are_no_http_are_not_passed_on() {
    for field in ["x-one : 1", "x-one: 1\r\n 2", ": 1", "x[one: 1", "x-one", "x-one: 1\r2", "x-one: 1\0"] {
        check_bad_gateway(&format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 3\r\n\r\nabc")).await;
    }
    for line in ["HTTP/2.0 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 OK", "hello", "http/1.1 200 OK"] {
        check_bad_gateway(&format!("{line}\r\ncontent-length: 3\r\n\r\nabc")).await;
    }
    // A backend that echoes a request's body before it answers (BONUS-4).
    check_bad_gateway("1\r\nb\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
}

#[tokio::test]
async fn bodies_in_broken_chunks_have_no_end() {
    for size in ["0x3", "+3", "-3", "3_0", " 3", "fffffffffffffffff3", "3\r", "x", ""] {
        check_cut(&format!("{size}\r\nabc\r\n0\r\n\r\n")).await;
    }
    for chunk in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "0_2e\r\n\r\nsmuggled",
    ] {
        check_cut(chunk).await;
    }
}
