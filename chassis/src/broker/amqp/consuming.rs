//! The owner of the consume connection: keeps one alive and shows it to the slots, subscriptions and depth asks that open their channels on it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_lapin::Object;
use futures_util::StreamExt;
use lapin::Event;
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::connector::{self, Connector};
use super::failure::{Failure, LastSaid};
use crate::broker::{ConnectOptions, metrics};

const SIDE: &str = "consume";
const TICK: Duration = Duration::from_millis(500);

/// The connection of the present session, or none while there is no link.
pub(super) type Shown = Option<Arc<Object>>;

#[derive(Debug)]
pub(super) struct Consuming {
    pub(super) connector: Connector,
    pub(super) options: Arc<ConnectOptions>,
    pub(super) shown: watch::Sender<Shown>,
    pub(super) closing: CancellationToken,
}

impl Consuming {
    pub(super) async fn run(self) {
        let mut backoff = self.options.pauses();
        let program = self.options.program.as_str();
        let mut said = LastSaid::default();
        while !self.closing.is_cancelled() {
            let failure = tokio::select! {
                () = self.closing.cancelled() => return,
                connected = self.connector.connect() => match connected {
                    Ok(connection) => {
                        backoff.reset();
                        said.forget();
                        self.session(connection).await
                    }
                    Err(failure) => Some(failure),
                },
            };
            let Some(failure) = failure.map(|failure| failure.to_string()) else { return };
            if said.is_new(&failure) {
                tracing::warn!(program, reason = failure, "consuming is interrupted");
            }
            tokio::select! {
                () = self.closing.cancelled() => {}
                () = tokio::time::sleep(backoff.next_random()) => {}
            }
        }
    }

    /// `None` when the port is closing.
    async fn session(&self, connection: Object) -> Option<Failure> {
        let connection = Arc::new(connection);
        let program = self.options.program.as_str();
        metrics::session(program, SIDE);
        metrics::up(program, SIDE, true);
        self.shown.send_replace(Some(connection.clone()));
        let failure = tokio::select! {
            () = self.closing.cancelled() => None,
            failure = ended(&connection) => Some(failure),
        };
        self.shown.send_replace(None);
        metrics::up(program, SIDE, false);
        connector::close(&connection).await;
        if let Some(connection) = Arc::into_inner(connection) {
            drop(Object::take(connection));
        }
        failure
    }
}

/// Waits for the end of a connection.
async fn ended(connection: &lapin::Connection) -> Failure {
    let mut events = connection.events_listener().boxed();
    let mut tick = interval(TICK);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Error(error)) => return Failure::Ended(error.to_string()),
                Some(_) => {}
                None => return Failure::Ended("no more events".to_owned()),
            },
            _ = tick.tick() => if !connection.status().connected() {
                return Failure::Ended("it is no longer connected".to_owned());
            },
        }
    }
}

/// Waits for a connection that works. `None` when there will be none any more.
pub(super) async fn shown(sessions: &mut watch::Receiver<Shown>) -> Option<Arc<Object>> {
    sessions
        .wait_for(|shown| shown.as_ref().is_some_and(|connection| connection.status().connected()))
        .await
        .ok()?
        .clone()
}
