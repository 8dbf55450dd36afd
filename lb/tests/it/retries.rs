//! What is sent again, and what is not.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::backend::{Asked, Backend, Deed, ok};
use crate::balancer::Balancer;
use crate::client::Answer;

/// An hour between checks: only requests find out.
const UNCHECKED: (&str, &str) = ("CHECK_INTERVAL_MS", "3600000");

const POST: &str = "POST /longtask HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
const KEYED_POST: &str =
    "POST /longtask HTTP/1.1\r\nhost: a\r\nidempotency-key: \"k\"\r\ncontent-length: 5\r\n\r\nhello";
const KEYED_CHUNKS: &str = "POST /longtask HTTP/1.1\r\nhost: a\r\nidempotency-key: \"k\"\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// Asks once, with the turn at the first backend.
async fn first_turn(backends: &[SocketAddr], settings: &[(&str, &str)], request: &str) -> (Balancer, Answer) {
    let balancer = Balancer::start(backends, &[settings, &[UNCHECKED]].concat()).await;
    let answer = balancer.ask(request).await;
    (balancer, answer)
}

/// Two backends, in the order of their turns.
async fn pair(first: Vec<Deed>, second: Vec<Deed>) -> [Backend; 2] {
    let mut listeners =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    listeners.sort_by_key(|listener| listener.local_addr().unwrap());
    let [first_listener, second_listener] = listeners;
    [Backend::on(first_listener, first), Backend::on(second_listener, second)]
}

fn bodies(backend: &Backend) -> Vec<Vec<u8>> {
    backend.asked().into_iter().map(|asked| asked.body).collect()
}

#[tokio::test]
async fn whatever_could_not_be_sent_goes_to_the_next_backend() {
    for request in ["GET /data HTTP/1.1\r\nhost: a\r\n\r\n", POST, KEYED_CHUNKS] {
        let [gone, there] = pair(vec![Deed::Ignore], vec![Deed::Say(ok("there"))]).await;
        let balancer = Balancer::start(&[gone.address, there.address], &[UNCHECKED]).await;
        gone.stop().await;
        for _ in 0..4 {
            let answer = balancer.ask(request).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "there"), "{request}");
        }
        assert_eq!(balancer.metric("longshore_lb_backend_failures_total", gone.address).await, Some(2));
        assert_eq!(balancer.metric("longshore_lb_backend_retries_total", there.address).await, Some(2));
    }
}

#[tokio::test]
async fn when_nobody_can_be_reached_the_answer_is_503() {
    let [one, two] = pair(vec![Deed::Ignore], vec![Deed::Ignore]).await;
    let balancer = Balancer::start(&[one.address, two.address], &[UNCHECKED]).await;
    one.stop().await;
    two.stop().await;
    let answer = balancer.get("/data").await;
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("unavailable")));
    assert_eq!(answer.field("retry-after"), Some("1"));
    for (backend, turn) in [(one.address, "first"), (two.address, "second")] {
        assert_eq!(balancer.metric("longshore_lb_backend_requests_total", backend).await, Some(1), "{turn}");
    }
}

#[tokio::test]
async fn a_get_without_an_answer_goes_to_the_next_backend() {
    for method in ["GET", "HEAD"] {
        let [broken, sound] = pair(vec![Deed::Close], vec![Deed::Say(ok(""))]).await;
        let request = format!("{method} /data HTTP/1.1\r\nhost: a\r\n\r\n");
        let (_balancer, answer) = first_turn(&[broken.address, sound.address], &[], &request).await;
        assert_eq!((answer.status, broken.asked().len(), sound.asked().len()), (200, 1, 1), "{method}");
    }
}

#[tokio::test]
async fn a_get_that_nobody_answers_is_tried_once_at_each() {
    let [one, two] = pair(vec![Deed::Close], vec![Deed::Close]).await;
    let (_balancer, answer) = first_turn(&[one.address, two.address], &[], "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-gateway")));
    assert_eq!((one.asked().len(), two.asked().len()), (1, 1));
}

#[tokio::test]
async fn a_post_that_may_have_been_acted_on_is_not_sent_again() {
    let [broken, sound] = pair(vec![Deed::Close], vec![Deed::Say(ok(""))]).await;
    let (_balancer, answer) = first_turn(&[broken.address, sound.address], &[], POST).await;
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("bad-gateway")));
    assert_eq!((broken.asked().len(), sound.asked().len()), (1, 0));
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_sent_again_whole() {
    for request in [KEYED_POST, KEYED_CHUNKS] {
        let [broken, sound] = pair(vec![Deed::Close], vec![Deed::Say(ok("done"))]).await;
        let (_balancer, answer) = first_turn(&[broken.address, sound.address], &[], request).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        assert_eq!((bodies(&broken).len(), bodies(&sound)), (1, bodies(&broken)), "{request}");
        assert!(String::from_utf8_lossy(&bodies(&sound)[0]).contains("hello"));
    }
}

#[tokio::test]
async fn a_body_larger_than_what_is_remembered_is_not_sent_again() {
    let [broken, sound] = pair(vec![Deed::Close], vec![Deed::Say(ok(""))]).await;
    let small = [("REPLAY_BYTES", "4")];
    let (_balancer, answer) = first_turn(&[broken.address, sound.address], &small, KEYED_POST).await;
    assert_eq!((answer.status, broken.asked().len(), sound.asked().len()), (502, 1, 0));
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_part_of_an_answer_came() {
    for part in ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "garbage, not HTTP\r\n\r\n", "HTTP/1.1 200 O"] {
        let [broken, sound] = pair(vec![Deed::SayAndClose(part.into())], vec![Deed::Say(ok(""))]).await;
        let balancer = Balancer::start(&[broken.address, sound.address], &[UNCHECKED]).await;
        let mut client = balancer.client().await;
        client.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = String::from_utf8(client.rest_or(b"bad-gateway").await).unwrap();
        assert!(answer.ends_with("half") || answer.contains("502 Bad Gateway"), "{answer}");
        assert_eq!((broken.asked().len(), sound.asked().len()), (1, 0), "{part}");
    }
}

/// Answers once on a connection, then does `deed` with the next request.
async fn after_one_answer(deed: Deed, request: &str) -> (Answer, Vec<Asked>) {
    let backend = Backend::doing([Deed::Say(ok("first")), deed, Deed::Say(ok("again"))]).await;
    let balancer = Balancer::start(&[backend.address], &[UNCHECKED, ("EVENT_LOOPS", "1")]).await;
    assert_eq!(balancer.get("/data").await.text(), "first");
    let answer = balancer.ask(request).await;
    (answer, backend.asked())
}

#[tokio::test]
async fn a_get_that_met_a_closing_kept_connection_is_sent_again_on_a_new_one() {
    let (answer, asked) = after_one_answer(Deed::Close, "GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "again"));
    assert_eq!(asked.iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 0, 1]);
}

#[tokio::test]
async fn a_post_that_met_a_closing_kept_connection_is_not() {
    let (answer, asked) = after_one_answer(Deed::Close, POST).await;
    assert_eq!((answer.status, asked.len()), (502, 2));
    let (answer, asked) = after_one_answer(Deed::Close, KEYED_POST).await;
    assert_eq!((answer.status, asked.len()), (200, 3));
    assert_eq!(asked[1].body, asked[2].body);
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_has_closed_is_not_used() {
    for request in ["GET /data HTTP/1.1\r\nhost: a\r\n\r\n", POST] {
        // No `connection: close`: the balancer must find out by itself.
        let backend = Backend::doing([Deed::SayAndClose(ok("one")), Deed::SayAndClose(ok("two"))]).await;
        let balancer = Balancer::start(&[backend.address], &[UNCHECKED, ("EVENT_LOOPS", "1")]).await;
        for number in 0..20 {
            let answer = balancer.ask(request).await;
            assert_eq!((answer.status, number), (200, number), "{request}");
        }
        assert_eq!(backend.asked().len(), 20);
    }
}
