//! Accepts connections within a bound and serves a router on them until it has drained.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::at_once::AtOnce;
use super::observe::{Observe, Quick};
use super::{admin, connection};
use crate::health::Health;
use crate::program::affordable_connections;
use crate::shutdown::Shutdown;
use crate::task::Tasks;
use crate::telemetry;

/// The bounds of a server. Each has an answer when it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// More are answered 503 `too-many-connections` and closed.
    pub connections: usize,
    /// A larger body is answered 413.
    pub body_bytes: u64,
    /// A larger head is answered 431.
    pub head_bytes: usize,
    /// A head that takes longer ends the connection.
    pub head_time: Duration,
    /// A connection on which nothing moves for this long, and nothing is being worked on, is closed.
    pub idle_time: Duration,
    /// After the drain began, new connections are still served for this long, so that balancers can notice first.
    pub drain_notice: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4_096,
            body_bytes: 1 << 20,
            head_bytes: 16 << 10,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            drain_notice: Duration::from_millis(500),
        }
    }
}

/// Metrics are folded this often, so that samples do not pile up between scrapes.
const FOLD_EVERY: Duration = Duration::from_secs(5);

/// Connections over the limit that are being told so; yet more are closed without a word.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// A failed accept (out of file descriptors) is retried after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router`, and `/live`, `/ready` and `/metrics`, until `shutdown` drains it.
///
/// When draining begins, `/ready` says so and answers close their connections; after the notice no connection is
/// accepted and idle ones are closed; requests are finished until the shutdown's deadline, then dropped.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, health: &Health, shutdown: &Shutdown) {
    serve_on(listener, router, None, limits, health, shutdown).await;
}

/// As [`serve`], for clients from outside: what can be answered at once is answered before it is routed, and a request that belongs to no trace
/// begins one.
pub async fn serve_edge(
    listener: TcpListener,
    router: Router,
    at_once: Arc<dyn AtOnce>,
    limits: Limits,
    health: &Health,
    shutdown: &Shutdown,
) {
    serve_on(listener, router, Some(at_once), limits, health, shutdown).await;
}

async fn serve_on(
    listener: TcpListener,
    router: Router,
    at_once: Option<Arc<dyn AtOnce>>,
    limits: Limits,
    health: &Health,
    shutdown: &Shutdown,
) {
    let router = admin::with_admin(router, health, shutdown);
    let observe = Observe::new(health.program(), at_once.is_some(), shutdown);
    let router = router.layer(observe.clone());
    let connections = Tasks::new();
    let places = affordable_connections(limits.connections);
    let server = Server {
        places: Arc::new(Semaphore::new(places)),
        turned_away: Arc::new(Semaphore::new((places / 4).clamp(1, TURNED_AWAY_AT_ONCE))),
        served: connection::Served::new(router, Quick::new(at_once, observe), limits.clone()),
        connections: connections.clone(),
    };
    let stopping = CancellationToken::new();
    tokio::select! {
        () = server.accept(&listener, &stopping) => {}
        () = after_notice(shutdown, limits.drain_notice) => {}
        () = fold_metrics() => {}
    }
    drop(listener);
    stopping.cancel();
    tokio::select! {
        joined = connections.join(Duration::MAX) => drop(joined),
        () = shutdown.ended() => {
            let busy = connections.running();
            if !busy.is_empty() {
                tracing::warn!(program = health.program(), ?busy, "requests were dropped at the deadline");
            }
            connections.stop();
        }
    }
}

struct Server {
    places: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    served: connection::Served,
    connections: Tasks,
}

impl Server {
    async fn accept(&self, listener: &TcpListener, stopping: &CancellationToken) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream, stopping),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, stopping: &CancellationToken) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.connections.spawn("connection", self.served.clone().run(stream, place, stopping.clone()));
        } else if let Ok(place) = Arc::clone(&self.turned_away).try_acquire_owned() {
            self.connections.spawn("turned-away connection", connection::turn_away(stream, place));
        }
    }
}

async fn after_notice(shutdown: &Shutdown, notice: Duration) {
    shutdown.draining().await;
    tokio::select! {
        () = tokio::time::sleep(notice) => {}
        () = shutdown.ended() => {}
    }
}

async fn fold_metrics() {
    let mut every = tokio::time::interval(FOLD_EVERY);
    loop {
        every.tick().await;
        telemetry::fold_metrics();
    }
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
