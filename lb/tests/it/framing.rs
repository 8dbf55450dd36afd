//! Where messages end, and whether the connection goes on.

use crate::backend::{Backend, Deed, ok};
use crate::balancer::Balancer;

const GET: &str = "GET /data HTTP/1.1\r\nhost: a\r\n\r\n";
const HEAD: &str = "HEAD /data HTTP/1.1\r\nhost: a\r\n\r\n";

/// A request whose answer has no body, then a GET on the same connection: the second answer must begin where the first ended.
async fn check_bodiless(request: &str, answer: &str, expected_length: Option<&str>) {
    let backend = Backend::doing([Deed::Say(answer.into()), Deed::Say(ok("next"))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut client = balancer.client().await;
    client.send(request).await;
    let first = client.answer_without_body().await;
    assert_eq!(first.field("content-length"), expected_length, "{answer}");
    assert_eq!(first.field("transfer-encoding"), None, "{answer}");
    client.send(GET).await;
    assert_eq!(client.answer().await.text(), "next", "{answer}");
    assert_eq!(backend.asked()[1].connection, 0, "{answer}");
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    check_bodiless(HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n", Some("1234")).await;
    check_bodiless(HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None).await;
    check_bodiless(HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some("0")).await;
    check_bodiless(GET, "HTTP/1.1 204 No Content\r\n\r\n", None).await;
    check_bodiless(GET, "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n", None).await;
    check_bodiless(GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some("0")).await;
}

#[tokio::test]
async fn interim_answers_of_backends_are_passed_over() {
    check_bodiless(
        GET,
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        Some("0"),
    )
    .await;
}

async fn check_body(answer: &str, closes: bool, expected: &str) {
    let deed = if closes { Deed::SayAndClose(answer.into()) } else { Deed::Say(answer.into()) };
    let backend = Backend::doing([deed, Deed::Say(ok("next"))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut client = balancer.client().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.text(), expected);
    client.send(GET).await;
    assert_eq!(client.answer().await.text(), "next", "after {answer}");
}

#[tokio::test]
async fn bodies_are_framed_anew_and_the_clients_connection_goes_on() {
    check_body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", false, "abc").await;
    check_body(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nt: 1\r\n\r\n",
        false,
        "abc",
    )
    .await;
    check_body("HTTP/1.1 200 OK\r\n\r\nabc", true, "abc").await;
    check_body("HTTP/1.0 200 OK\r\n\r\nabc", true, "abc").await;
    check_body("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", true, "abc").await;
}

#[tokio::test]
async fn bodies_of_requests_keep_their_framing() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    for (fields, body) in [
        ("content-length: 3", "abc"),
        ("transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
        ("content-length: 0", ""),
    ] {
        let answer = balancer.ask(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}")).await;
        assert_eq!(answer.status, 200);
        let asked = backend.asked().pop().unwrap();
        assert_eq!(String::from_utf8(asked.body).unwrap(), body, "{fields}");
        assert!(asked.head.contains(fields), "{}", asked.head);
    }
    // A GET with a body is rare, but its body is a body.
    let answer =
        balancer.ask("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!((answer.status, backend.asked().pop().unwrap().body), (200, b"3\r\nabc\r\n0\r\n\r\n".to_vec()));
}

#[tokio::test]
async fn two_framings_are_refused_and_requests_before_them_are_answered() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let both = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let before = "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /second HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut client = balancer.client().await;
    client.send(&[before, both].concat()).await;
    for status in [200, 200, 400] {
        assert_eq!(client.answer().await.status, status);
    }
    assert_eq!(client.rest().await, b"");
    let asked: Vec<_> =
        backend.asked().into_iter().map(|asked| asked.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["POST /first HTTP/1.1", "GET /second HTTP/1.1"]);
}

#[tokio::test]
async fn of_two_framings_of_an_answer_the_chunks_count() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    check_body(both, false, "abcde").await;
    let both = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    check_body(both, false, "abcde").await;
}

#[tokio::test]
async fn an_answer_in_a_coding_that_nobody_asked_for_is_a_502() {
    let coded = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let backend = Backend::doing([Deed::Say(coded.into())]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    assert_eq!(balancer.get("/data").await.status, 502);
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let backend = Backend::doing([Deed::Say(ok("one")), Deed::Say(ok("two")), Deed::Say(ok("three"))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut client = balancer.client().await;
    client.send(GET.repeat(3)).await;
    for expected in ["one", "two", "three"] {
        assert_eq!(client.answer().await.text(), expected);
    }
}

#[tokio::test]
async fn the_client_decides_about_its_connection() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    for (request, closes) in [
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ] {
        let mut client = balancer.client().await;
        client.send(request).await;
        assert_eq!(client.answer().await.status, 200);
        if closes {
            assert_eq!(client.rest().await, b"", "{request}");
        } else {
            client.send(GET).await;
            assert_eq!(client.answer().await.status, 200, "{request}");
        }
    }
    // Whatever the clients do, the backend's connection is kept.
    assert!(backend.asked().len() == 6 && backend.ended() == 0);
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_it() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(client.answer_without_body().await.status, 100);
    client.send("abc").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(backend.asked()[0].body, b"abc");
}
