//! A connection that is made anew when it is lost, not more often than a server that is down can bear.

use std::sync::Arc;
use std::time::Duration;

use chassis::backoff::Backoff;
use tokio::time::Instant;

use super::connection::Connection;
use super::fault::Fault;
use super::schema::{self, History};
use super::url::Url;
use crate::storage::StorageError;

/// Bounds of the pause between attempts to connect; who asks meanwhile is told so at once.
const PAUSE: (Duration, Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(2));

/// Where to connect, and whose tables must be there.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) history: History,
}

#[derive(Debug)]
pub(super) struct Link {
    target: Arc<Target>,
    connection: Option<Connection>,
    backoff: Backoff,
    /// Before this no attempt is made.
    again_at: Option<Instant>,
}

impl Link {
    pub(super) fn new(target: Arc<Target>) -> Self {
        let (floor, base, cap) = PAUSE;
        Self { target, connection: None, backoff: Backoff::new(floor, base, cap), again_at: None }
    }

    /// The connection, made anew if it was lost.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, StorageError> {
        if self.connection.as_ref().is_none_or(|connection| !connection.is_open()) {
            self.connection = None;
            if !self.pause().is_zero() {
                return Err(StorageError::Unavailable("PostgreSQL was not there a moment ago".to_owned()));
            }
            self.connection = Some(self.connect(Duration::ZERO)?);
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }

    /// A new connection, even if that takes a pause first.
    pub(super) fn new_connection(&mut self) -> Result<&mut Connection, StorageError> {
        self.connection = None;
        let connection = self.connect(self.pause())?;
        Ok(self.connection.insert(connection))
    }

    /// How long no attempt is made.
    fn pause(&self) -> Duration {
        self.again_at.map_or(Duration::ZERO, |again_at| again_at.saturating_duration_since(Instant::now()))
    }

    fn connect(&mut self, pause: Duration) -> Result<Connection, StorageError> {
        match open(&self.target, pause) {
            Ok(connection) => {
                self.backoff.reset();
                self.again_at = None;
                Ok(connection)
            }
            Err(fault) => {
                self.again_at = Some(Instant::now() + self.backoff.next_random());
                Err(fault.into())
            }
        }
    }

    /// Lets go of a connection of which nobody knows what it is doing.
    pub(super) fn drop_connection(&mut self) {
        self.connection = None;
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_open)
    }
}

/// A connection to the tables of the target's history. To others nothing may be written that was decided by what was known of these.
fn open(target: &Target, pause: Duration) -> Result<Connection, Fault> {
    let mut connection = Connection::open(&target.url, pause)?;
    let history = schema::history(&mut connection)?;
    if history != target.history || !schema::is_present(&mut connection, &history)? {
        return Err(Fault::Refused(REPLACED.to_owned()));
    }
    Ok(connection)
}

pub(super) const REPLACED: &str =
    "the database is of another history now: it was restored, or another server took over";
