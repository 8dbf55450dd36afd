//! A service that answers as a test tells it to, for what a real one does not do when asked: stall, or forget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What it does besides answering at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// At its hundredth read it answers nobody for so long; then all at once.
    Stall(Duration),
    /// It accepts jobs, and knows none of them afterwards.
    Forget,
    /// It refuses every job.
    Refuse,
    /// It is something else altogether.
    Stranger,
}

const STALLS_AT: u64 = 100;

struct Service {
    script: Script,
    reads: AtomicU64,
    stalled_until: watch::Sender<Option<Instant>>,
}

/// Serves until the test's `LocalSet` ends; the address.
pub(crate) async fn serve(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let service = Arc::new(Service { script, reads: AtomicU64::new(0), stalled_until: watch::Sender::new(None) });
    let router = Router::new().fallback(move |method: Method, uri: Uri| {
        let service = Arc::clone(&service);
        async move { service.answer(&method, uri.path()).await }
    });
    tokio::task::spawn_local(async move { axum::serve(listener, router).await });
    address
}

impl Service {
    async fn answer(&self, method: &Method, path: &str) -> Response {
        let json = |status: StatusCode, body: String| (status, [("content-type", "application/json")], body);
        let answer = match (method, path, self.script) {
            (_, _, Script::Stranger) => return "<h1>It works!</h1>".into_response(),
            (&Method::GET, "/jobs", _) => json(StatusCode::OK, "{\"jobs\":[],\"next_cursor\":null}".to_owned()),
            (&Method::POST, "/longtask", Script::Refuse) => {
                let problem =
                    "{\"type\":\"urn:longshore:problem:rate-limited\",\"title\":\"\",\"status\":429,\"detail\":\"\"}";
                json(StatusCode::TOO_MANY_REQUESTS, problem.to_owned())
            }
            (&Method::POST, "/longtask", _) => {
                json(StatusCode::ACCEPTED, format!("{{\"job_id\":\"{}\"}}", uuid::Uuid::now_v7()))
            }
            (&Method::GET, path, _) if path.starts_with("/data/") => {
                self.stall().await;
                json(StatusCode::OK, "{\"cached\":true,\"data\":1}".to_owned())
            }
            (&Method::PUT, _, _) => json(StatusCode::OK, "{\"version\":1,\"fenced\":true}".to_owned()),
            _ => json(StatusCode::NOT_FOUND, "{}".to_owned()),
        };
        answer.into_response()
    }

    /// Holds an answer for as long as the service stalls.
    async fn stall(&self) {
        if let Script::Stall(time) = self.script
            && self.reads.fetch_add(1, Ordering::Relaxed) + 1 == STALLS_AT
        {
            self.stalled_until.send_replace(Some(Instant::now() + time));
        }
        let until = *self.stalled_until.borrow();
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }
}
