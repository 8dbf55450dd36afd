//! A connection of HTTP/2: requests side by side, each like one of HTTP/1.1 with a deadline of its own. The connection and its requests
//! are one task, so that they end together.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{CONTENT_LENGTH, COOKIE, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Response, request};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::answer::AnswerBody;
use crate::connection::{Client, unless};
use crate::event_loop::{BUFFER_BYTES, HEAD_BYTES_MAX};
use crate::forward;
use crate::socket::Socket;
use crate::watch::{Phase, Watch};

/// Requests of one connection at a time; more wait with the client.
const STREAMS_MAX: u32 = 100;

/// Requests that were reset before they were looked at; a client that has more of them is only playing (CVE-2023-44487).
const RESETS_MAX: usize = 20;

/// Answers that a client's mistakes may demand of one connection.
const ERRORS_MAX: usize = 128;

/// What one request's body may have on its way, and all of them together.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The requests of one connection, as hyper's executor.
#[derive(Clone)]
struct Requests(Rc<Open>);

struct Open {
    client: Client,
    /// Being answered.
    count: Cell<usize>,
    /// That of the request that hyper has just asked for, and executes next.
    latest: Cell<Option<Counted>>,
    /// To be taken up.
    begun: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
}

/// Counts a request for as long as it lives.
struct Counted {
    open: Rc<Open>,
    watch: Rc<Watch>,
}

pub(crate) async fn serve(client: Client, socket: Socket) {
    let (watch, event_loop) = (Rc::clone(&client.watch), Rc::clone(&client.event_loop));
    let (count, latest, begun) = (Cell::new(0), Cell::default(), RefCell::default());
    let requests = Requests(Rc::new(Open { client, count, latest, begun }));
    let mut running = FuturesUnordered::new();
    let asked = requests.clone();
    let service = service_fn(move |request| {
        let answer = asked.answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(builder(requests.clone()).serve_connection(TokioIo::new(socket), service));
    let mut is_told = false;
    let ended = poll_fn(|cx| {
        watch.register(cx);
        let is_overdue = watch.is_overdue();
        if is_overdue && watch.phase() != Phase::Kept {
            return Poll::Ready(Ok(()));
        }
        if !is_told && (is_overdue || event_loop.is_draining()) {
            is_told = true;
            connection.as_mut().graceful_shutdown();
            if is_overdue {
                watch.close();
            }
        }
        let polled = connection.as_mut().poll(cx);
        running.extend(requests.0.begun.take());
        while let Poll::Ready(Some(())) = running.poll_next_unpin(cx) {}
        polled
    })
    .await;
    // It would keep itself.
    drop(requests.0.latest.take());
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder(requests: Requests) -> http2::Builder<Requests> {
    let mut builder = http2::Builder::new(requests);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX.into())
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES);
    builder
}

impl Requests {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<AnswerBody>> + use<> {
        let watch = Rc::new(self.0.client.watch.of_stream());
        self.0.latest.set(Some(Counted::new(Rc::clone(&self.0), Rc::clone(&watch))));
        let client = Rc::new(self.0.client.request(&watch));
        let (mut head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        as_http1(&mut head, !body.is_end_stream());
        async move {
            let answer = forward::answer(client, Request::from_parts(head, body)).await;
            if is_head { without_content(answer) } else { answer }
        }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Requests {
    fn execute(&self, future: F) {
        let counted = self.0.latest.take();
        self.0.begun.borrow_mut().push(Box::pin(async move {
            match counted {
                Some(counted) => counted.run(future).await,
                None => future.await,
            }
        }));
    }
}

impl Counted {
    fn new(open: Rc<Open>, watch: Rc<Watch>) -> Counted {
        open.count.set(open.count.get() + 1);
        open.client.watch.begin();
        Counted { open, watch }
    }

    /// Answers the request, unless the client takes too long to take the answer.
    async fn run(self, answering: impl Future<Output = ()>) {
        let _entry = self.open.client.event_loop.connections.enter(&self.watch);
        let is_given_up = || self.watch.phase() == Phase::Answering && self.watch.is_overdue();
        // What is given up is reset when it is dropped.
        unless(&self.watch, is_given_up, answering).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let left = self.open.count.get() - 1;
        self.open.count.set(left);
        if left == 0 {
            self.open.client.watch.keep();
        }
    }
}

/// A head of HTTP/2 as one of HTTP/1.1 says it (RFC 9113 §8.2.3 and §8.1).
fn as_http1(head: &mut request::Parts, has_body: bool) {
    let mut cookies = head.headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let crumbs: Vec<_> = [first, second].into_iter().chain(cookies).map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            head.headers.insert(COOKIE, whole);
        }
    }
    if has_body && !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// The answer to a HEAD: what it would be, without the content.
fn without_content(answer: Response<AnswerBody>) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream()) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, body.without_content())
}
