//! One connection: HTTP/1.1 with keep-alive, bounds on head, body and time, and a graceful end.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::{Either, ready};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use protocol::problem::{self, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::bounded::Bounded;
use super::observe::Quick;
use super::pace::{Signs, Verdict};
use super::serve::Limits;
use super::wire::Wire;

/// The body of an answer given at once, or of one by the router.
type Answer = http_body_util::Either<Full<Bytes>, Body>;

/// What is served on every connection.
#[derive(Debug, Clone)]
pub(super) struct Served {
    router: Router,
    quick: Quick,
    limits: Limits,
    http: http1::Builder,
}

impl Served {
    pub(super) fn new(router: Router, quick: Quick, limits: Limits) -> Served {
        let mut http = http1::Builder::new();
        // hyper's own time for heads would run between requests too, and costs a timer per request; see `pace`.
        http.header_read_timeout(None).max_header_size(limits.head_bytes).keep_alive(true);
        Served { router, quick, limits, http }
    }

    /// Until the connection ends, or `stopping` says to; the place is given back then.
    pub(super) async fn run(self, stream: TcpStream, _place: OwnedSemaphorePermit, stopping: CancellationToken) {
        // Answers are written whole; waiting for more to send only delays them. Failing costs latency, not correctness.
        drop(stream.set_nodelay(true));
        let Served { router, quick, limits, http } = self;
        let signs = Signs::new();
        let wire = Wire::new(stream, signs.clone());
        let service = service_fn(|request: hyper::Request<Incoming>| {
            signs.answering();
            if let Some(response) = quick.answer(&request) {
                signs.answered();
                return Either::Left(ready(Ok(response.map(Answer::Left))));
            }
            let mut router = router.clone();
            let request = request.map(|body| Body::new(Bounded::new(body, limits.body_bytes)));
            let signs = signs.clone();
            Either::Right(async move {
                let answer = router.call(request).await;
                signs.answered();
                answer.map(|response| response.map(Answer::Right))
            })
        });
        let connection = http.serve_connection(wire, service);
        tokio::pin!(connection);
        let mut is_stopping = false;
        let result = loop {
            tokio::select! {
                result = connection.as_mut() => break result,
                () = stopping.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                verdict = too_slow(&signs, &limits) => {
                    tracing::debug!(?verdict, "connection closed");
                    return;
                }
            }
        };
        if let Err(error) = result {
            // The client's doing in most cases: it went away, or sent no HTTP.
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// Ends when the client has been too slow. It looks seldom, so that a request costs no timer.
async fn too_slow(signs: &Signs, limits: &Limits) -> Verdict {
    loop {
        match signs.judge(limits.head_time, limits.idle_time) {
            Verdict::LookAgainAfter(pause) => tokio::time::sleep(pause).await,
            verdict => return verdict,
        }
    }
}

/// How long a client that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Says that all connections are in use, and closes.
pub(super) async fn turn_away(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let body = serde_json::to_string(&Kind::TooManyConnections.problem()).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        problem::CONTENT_TYPE,
        body.len(),
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What the client still sends is read, because closing on unread bytes would reset the connection and lose the answer.
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Either way the connection is over.
    drop(tokio::time::timeout(FAREWELL, farewell).await);
}
