//! One connection: HTTP/1.1 with keep-alive, bounds on head and body, and a graceful end.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::problem::{self, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::serve::Limits;

/// What is served on every connection.
#[derive(Debug, Clone)]
pub(super) struct Served {
    router: Router,
    limits: Limits,
    http: http1::Builder,
}

impl Served {
    pub(super) fn new(router: Router, limits: Limits) -> Served {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_header_size(limits.head_bytes)
            .keep_alive(true)
            .pipeline_flush(true);
        Served { router, limits, http }
    }

    pub(super) async fn run(self, stream: TcpStream, stopping: CancellationToken) {
        // Answers are written whole; waiting for more to send only delays them. Failing costs latency, not correctness.
        drop(stream.set_nodelay(true));
        let (router, body_bytes) = (self.router, self.limits.body_bytes);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut router = router.clone();
            let request = request.map(|body| Body::new(Limited::new(body, body_bytes)));
            async move { answer(&mut router, request).await }
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            // The client's doing in most cases: it went away, or sent no HTTP.
            tracing::debug!(%error, "connection ended");
        }
    }
}

async fn answer(router: &mut Router, request: hyper::Request<Body>) -> Result<Response, Infallible> {
    router.call(request).await
}

/// How long a client that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Says that all connections are in use, and closes.
pub(super) async fn turn_away(mut stream: TcpStream) {
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
