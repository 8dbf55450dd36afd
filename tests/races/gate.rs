//! A way between two programs. It counts what is asked, and holds questions or answers back until the test lets them go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chassis::client::{Call, Http};
use chassis::http::Rejection;
use chassis::task::Tasks;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use protocol::problem::Kind;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::SOON;

/// A body that is larger is none of ours.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A handle; clones are the same.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    http: Http,
    tasks: Tasks,
}

#[derive(Default)]
struct Inner {
    to: Option<SocketAddr>,
    asked: BTreeMap<String, usize>,
    traps: Vec<Trap>,
}

/// Where a call is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Before whom it asks has heard of it.
    Question,
    /// When it was answered: what it carries may be old by the time it is let go.
    Answer,
    /// It is answered 503.
    Refused,
}

#[derive(Clone)]
struct Trap {
    path: String,
    stop: Stop,
    state: watch::Sender<Caught>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Caught {
    calls: usize,
    /// It catches nothing more.
    shut: bool,
    /// What it caught may go.
    open: bool,
}

/// What a gate holds; dropped, it lets everything go.
pub(crate) struct Held(watch::Sender<Caught>);

impl Gate {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let gate = Self { address, inner: Arc::default(), http: Http::new(), tasks: Tasks::new() };
        let router = Router::new().fallback(pass).with_state(gate.clone());
        gate.tasks.spawn("gate", async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        gate
    }

    /// Whom it leads to from now on, calls that are held included.
    pub(crate) fn lead_to(&self, to: SocketAddr) {
        self.inner().to = Some(to);
    }

    /// How often this path, without its query, was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.inner().asked.get(path).copied().unwrap_or(0)
    }

    pub(crate) fn hold_questions(&self, path: &str) -> Held {
        self.trap(path, Stop::Question)
    }

    pub(crate) fn hold_answers(&self, path: &str) -> Held {
        self.trap(path, Stop::Answer)
    }

    /// Until the return is dropped.
    pub(crate) fn refuse(&self, path: &str) -> Held {
        self.trap(path, Stop::Refused)
    }

    fn trap(&self, path: &str, stop: Stop) -> Held {
        let state = watch::Sender::new(Caught::default());
        self.inner().traps.push(Trap { path: path.to_owned(), stop, state: state.clone() });
        Held(state)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test broke")
    }

    fn trap_of(&self, path: &str, stop: Stop) -> Option<Trap> {
        let mut inner = self.inner();
        inner.traps.retain(|trap| !trap.state.borrow().shut);
        inner.traps.iter().find(|trap| trap.path == path && trap.stop == stop).cloned()
    }

    /// Looked at when the call comes to this point, so that one that was under way when the trap was set is caught too.
    async fn stops(&self, path: &str, stop: Stop) {
        let Some(trap) = self.trap_of(path, stop) else { return };
        let mut state = trap.state.subscribe();
        trap.state.send_modify(|caught| caught.calls += 1);
        state.wait_for(|caught| caught.open).await.expect("the trap holds its sender");
    }
}

impl Held {
    /// Waits until so many calls are held.
    pub(crate) async fn caught(&self, calls: usize) {
        let mut state = self.0.subscribe();
        let caught = tokio::time::timeout(SOON, state.wait_for(|caught| caught.calls >= calls)).await;
        assert!(caught.is_ok(), "{calls} calls were to be held, and {:?} were", self.0.borrow());
    }

    /// What comes from now on passes; what is held stays.
    pub(crate) fn let_others_pass(&self) {
        self.0.send_modify(|caught| caught.shut = true);
    }

    pub(crate) fn release(self) {
        drop(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|caught| (caught.shut, caught.open) = (true, true));
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    *gate.inner().asked.entry(parts.uri.path().to_owned()).or_default() += 1;
    if gate.trap_of(parts.uri.path(), Stop::Refused).is_some() {
        return Rejection::from(Kind::Unavailable).into_response();
    }
    let body = to_bytes(body, BODY_BYTES_MAX).await.expect("a body");
    gate.stops(parts.uri.path(), Stop::Question).await;
    let to = gate.inner().to.expect("it leads somewhere");
    let path = parts.uri.path_and_query().expect("a path").as_str();
    let call = Call::new(parts.method, path, false).json_bytes(body).within(Duration::from_secs(60));
    let answer = gate.http.send(&to.into(), &call).await;
    gate.stops(parts.uri.path(), Stop::Answer).await;
    let Ok(answer) = answer else { return Rejection::from(Kind::Unavailable).into_response() };
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    for hop in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        response.headers_mut().remove(hop);
    }
    response
}
