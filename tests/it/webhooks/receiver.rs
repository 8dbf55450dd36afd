//! A receiver of events and of jobs: it writes down all that it is sent, and answers as the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::task::Tasks;
use chassis::testing::signed_by;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tests::eventually;
use tokio::net::TcpListener;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// The header's value, or "".
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// By exactly these secrets.
    pub(crate) fn signed_by(&self, secrets: &[&str]) -> Result<()> {
        let now_s = chassis::clock::wall_ms() / 1_000;
        signed_by(secrets, &self.headers, &self.body, now_s).map_err(|wrong| anyhow!("{wrong}: {self:?}"))
    }
}

/// What is answered to a request; the number counts them from 1.
pub(crate) type Answer = Arc<dyn Fn(usize, &Request) -> Said + Send + Sync>;

pub(crate) enum Said {
    Now(u16, &'static str),
    /// With a `Retry-After`.
    Later(u16, &'static str),
    Never,
}

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Mutex<Answer>>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Shared,
    tasks: Tasks,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request { headers, body };
    let number = {
        let mut seen = lock(&shared.seen);
        seen.push(request.clone());
        seen.len()
    };
    let answer = Arc::clone(&lock(&shared.answer));
    let status = |status: u16| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answer(number, &request) {
        Said::Now(code, body) => (status(code), body).into_response(),
        Said::Later(code, after) => (status(code), [("retry-after", after)]).into_response(),
        Said::Never => {
            std::future::pending::<()>().await;
            StatusCode::OK.into_response()
        }
    }
}

impl Receiver {
    pub(crate) async fn start(answer: impl Fn(usize, &Request) -> Said + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answer: Answer = Arc::new(answer);
        let shared = Shared { seen: Arc::default(), answer: Arc::new(Mutex::new(answer)) };
        let mut receiver = Self { address, shared, tasks: Tasks::new() };
        receiver.serve(listener);
        Ok(receiver)
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new().fallback(receive).with_state(self.shared.clone());
        self.tasks = Tasks::new();
        self.tasks.spawn("receiver", async move {
            axum::serve(listener, router).await.unwrap_or_default();
        });
    }

    pub(crate) fn answer(&self, answer: impl Fn(usize, &Request) -> Said + Send + Sync + 'static) {
        *lock(&self.shared.answer) = Arc::new(answer);
    }

    /// Connections are refused.
    pub(crate) async fn goes_down(&mut self) -> Result<()> {
        self.tasks.stop();
        self.tasks.join(Duration::from_secs(5)).await.map_err(|busy| anyhow!("{busy}"))
    }

    /// At the same port.
    pub(crate) async fn comes_back(&mut self) -> Result<()> {
        let address = self.address;
        let listener = eventually(Duration::from_secs(5), "its port is free", async || {
            Ok(Some(TcpListener::bind(address).await?))
        })
        .await?;
        self.serve(listener);
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/longshore", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}
