//! HTTP/2 from clients, HTTP/1.1 to backends: what is the same, and what is said in another way.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chassis::task::Tasks;
use chassis::testing::wait_until;
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::{Backend, Deed, ok};
use crate::balancer::{Balancer, SOON};
use crate::client::Duplex;
use crate::secured::Secured;

type Content = BoxBody<Bytes, std::io::Error>;

/// A connection of HTTP/2, and its end.
struct Connection {
    sender: SendRequest<Content>,
    tasks: Tasks,
}

impl Connection {
    async fn to(address: SocketAddr) -> Connection {
        Connection::over(TcpStream::connect(address).await.unwrap()).await
    }

    async fn over(stream: impl Duplex + 'static) -> Connection {
        let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let tasks = Tasks::new();
        tasks.spawn("connection", async move { drop(driver.await) });
        Connection { sender, tasks }
    }

    async fn send(&self, request: Request<Content>) -> hyper::Result<Response<Incoming>> {
        timeout(SOON, self.sender.clone().send_request(request)).await.unwrap()
    }

    /// The status and the content.
    async fn get(&self, path: &str) -> (u16, String) {
        whole(self.send(request("GET", path, &[], none())).await.unwrap()).await
    }

    /// Waits until the balancer has closed it.
    async fn closed(self) {
        self.tasks.join(SOON).await.unwrap();
    }
}

fn none() -> Content {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn full(text: impl Into<Bytes>) -> Content {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A body whose length is not known before it ends.
fn pieces(frames: Vec<Frame<Bytes>>) -> Content {
    StreamBody::new(stream::iter(frames.into_iter().map(Ok))).boxed()
}

fn request(method: &str, path: &str, fields: &[(&str, &str)], content: Content) -> Request<Content> {
    let mut builder = Request::builder().method(method).uri(format!("http://a{path}"));
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(content).unwrap()
}

async fn whole(answer: Response<Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let content = timeout(SOON, answer.into_body().collect()).await.unwrap().unwrap().to_bytes();
    (status, String::from_utf8(content.to_vec()).unwrap())
}

async fn before(backend: &Backend, settings: &[(&str, &str)]) -> (Balancer, Connection) {
    let balancer = Balancer::start(&[backend.address], settings).await;
    let connection = Connection::to(balancer.address).await;
    (balancer, connection)
}

#[tokio::test]
async fn requests_run_side_by_side_on_one_connection() {
    let deeds = (0..3).flat_map(|_| [Deed::Wait, Deed::Say(ok("done"))]);
    let backend = Backend::doing(deeds).await;
    let (_balancer, connection) = before(&backend, &[]).await;
    let answers = join_all((0..3).map(|number| connection.get(["/a", "/b", "/c"][number])));
    let opened = async {
        // All three were passed on before one was answered.
        wait_until(SOON, "asked", || async { backend.asked().len() == 3 }).await;
        backend.gate.add_permits(3);
    };
    let (answers, ()) = tokio::join!(answers, opened);
    assert_eq!(answers, vec![(200, "done".to_owned()); 3]);
}

#[tokio::test]
async fn a_backend_gets_it_as_http_1_1() {
    let backend = Backend::start().await;
    let (_balancer, connection) = before(&backend, &[]).await;
    let fields = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("x-forwarded-for", "10.0.0.1")];
    let answer = connection.send(request("GET", "/data?q=1", &fields, none())).await.unwrap();
    assert_eq!(whole(answer).await.0, 200);
    let head = backend.asked()[0].head.clone();
    assert!(head.starts_with("GET /data?q=1 HTTP/1.1\r\n"), "{head}");
    for said in ["host: a", "cookie: a=1; b=2", "te: trailers", "x-forwarded-for: 127.0.0.1"] {
        assert_eq!(head.lines().filter(|line| *line == said).count(), 1, "{said} in {head}");
    }
    assert!(!head.contains("10.0.0.1"), "{head}");
}

#[tokio::test]
async fn bodies_are_framed_by_what_is_known_of_them() {
    let backend = Backend::start().await;
    let (_balancer, connection) = before(&backend, &[]).await;
    let streamed = pieces(vec![Frame::data("ab".into()), Frame::data("c".into())]);
    for (content, framing, body) in [
        (full("abc"), "content-length: 3", "abc"),
        (streamed, "transfer-encoding: chunked", "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (none(), "x-forwarded-proto: http", ""),
    ] {
        assert_eq!(whole(connection.send(request("POST", "/", &[], content)).await.unwrap()).await.0, 200);
        let asked = backend.asked().pop().unwrap();
        assert_eq!((asked.head.contains(framing), String::from_utf8(asked.body).unwrap().as_str()), (true, body));
    }
}

#[tokio::test]
async fn answers_come_with_their_trailers_and_without_fields_of_connections() {
    let chunked = "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n3\r\nabc\r\n0\r\nsum: 6\r\n\r\n";
    let backend = Backend::doing([Deed::Say(chunked.into())]).await;
    let (_balancer, connection) = before(&backend, &[]).await;
    let answer = connection.send(request("GET", "/", &[("te", "trailers")], none())).await.unwrap();
    for gone in ["connection", "transfer-encoding", "x-hop"] {
        assert_eq!(answer.headers().get(gone), None, "{gone}");
    }
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().map(|trailers| trailers["sum"].clone()), Some("6".parse().unwrap()));
    assert_eq!(collected.to_bytes(), "abc");
}

fn length_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("content-length").map(|length| length.to_str().unwrap())
}

#[tokio::test]
async fn the_answer_to_a_head_has_no_content() {
    let backend = Backend::doing([Deed::Say("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".into())]).await;
    let (_balancer, connection) = before(&backend, &[]).await;
    for (path, length) in [("/data", "1234"), ("/live", "17")] {
        let answer = connection.send(request("HEAD", path, &[], none())).await.unwrap();
        assert_eq!(length_of(answer.headers()), Some(length), "{path}");
        assert!(answer.body().is_end_stream(), "{path}");
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways_as_fast_as_they_are_taken() {
    let large = "x".repeat(3 << 20);
    let backend = Backend::doing([Deed::Say(ok(&large))]).await;
    let (_balancer, connection) = before(&backend, &[]).await;
    let answer = connection.send(request("POST", "/", &[], full(large.clone()))).await.unwrap();
    assert!(whole(answer).await == (200, large.clone()));
    assert!(backend.asked()[0].body == large.as_bytes());
}

#[tokio::test]
async fn what_is_refused_is_a_problem_here_too_and_costs_no_other_request() {
    let backend = Backend::start().await;
    let (_balancer, connection) = before(&backend, &[]).await;
    let (status, content) = whole(connection.send(request("TRACE", "/", &[], none())).await.unwrap()).await;
    assert!(status == 501 && content.contains("not-implemented"), "{content}");
    let many: Vec<_> = (0..101).map(|number| (format!("x-{number}"), "1")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let large = "1".repeat(17 << 10);
    for fields in [&many[..], &[("x-a", large.as_str())]] {
        let answer = connection.send(request("GET", "/data", fields, none())).await.unwrap();
        assert_eq!(answer.status(), 431);
    }
    assert_eq!(backend.asked(), []);
    assert_eq!(connection.get("/data").await.0, 200);
}

#[tokio::test]
async fn a_repeated_request_is_the_same_over_http_2() {
    let backend = Backend::doing([Deed::Close, Deed::Say(ok("late"))]).await;
    let other = Backend::start().await;
    let balancer = Balancer::start(&[backend.address, other.address], &[]).await;
    let connection = Connection::to(balancer.address).await;
    for _ in 0..4 {
        assert_eq!(connection.get("/data").await.0, 200);
    }
    assert_eq!(backend.asked().len() + other.asked().len(), 5);
}

#[tokio::test]
async fn a_drain_finishes_what_was_begun() {
    let backend = Backend::doing([Deed::Wait, Deed::Say(ok("late"))]).await;
    let (balancer, connection) = before(&backend, &[]).await;
    let answered = connection.get("/data");
    let drained = async {
        wait_until(SOON, "asked", || async { backend.asked().len() == 1 }).await;
        balancer.trigger.drain();
        wait_until(SOON, "refusing", || async { TcpStream::connect(balancer.address).await.is_err() }).await;
        backend.gate.add_permits(1);
    };
    assert_eq!(tokio::join!(answered, drained).0, (200, "late".to_owned()));
    connection.closed().await;
    balancer.tasks.join(SOON).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let backend = Backend::start().await;
    let (_balancer, connection) = before(&backend, &[("CLIENT_IDLE_MS", "300")]).await;
    assert_eq!(connection.get("/data").await.0, 200);
    connection.closed().await;
}

#[tokio::test]
async fn a_request_has_its_own_deadline_beside_others() {
    let backend = Backend::doing([Deed::Ignore]).await;
    let settings = [("BACKEND_ANSWER_MS", "300"), ("CLIENT_STALL_MS", "300")];
    let (_balancer, connection) = before(&backend, &settings).await;
    let stalled = BodyExt::boxed(StreamBody::new(stream::pending()));
    let stalled = connection.send(request("POST", "/", &[("content-length", "100")], stalled));
    let unanswered = connection.get("/data");
    let live = connection.get("/live");
    let (stalled, unanswered, live) = tokio::join!(stalled, unanswered, live);
    assert_eq!((stalled.unwrap().status().as_u16(), unanswered.0, live.0), (408, 504, 200));
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up_alone() {
    let large = "x".repeat(3 << 20);
    let backend = Backend::doing([Deed::Say(ok(&large)), Deed::Say(ok("small"))]).await;
    let (_balancer, connection) = before(&backend, &[("CLIENT_STALL_MS", "300")]).await;
    let untaken = connection.send(request("GET", "/", &[], none())).await.unwrap();
    // Its connection ends with it.
    wait_until(SOON, "given up", || async { backend.ended() == 1 }).await;
    assert_eq!(connection.get("/data").await, (200, "small".to_owned()));
    let cut = timeout(Duration::from_secs(20), untaken.into_body().collect()).await.unwrap();
    assert!(cut.is_err(), "it was cut");
}

#[tokio::test]
async fn it_is_the_same_over_tls() {
    let (secured, backend) = (Secured::new(), Backend::start().await);
    let balancer = secured.balancer(&backend, &[]).await;
    let connection = Connection::over(secured.connect(balancer.secured, &["h2"]).await.unwrap()).await;
    assert_eq!(connection.get("/data").await.0, 200);
    assert!(backend.asked()[0].head.contains("x-forwarded-proto: https\r\n"));
}
