//! PostgreSQL behind the transitions: a schema of its own, any number of stores at once.
//!
//! Each transaction of a store first takes the writer's *seat*, an advisory lock that it holds until its commit is on disk. So the stores'
//! group commits follow one another as those of one store do: log positions, bells and versions are given in commit order, no cursor can
//! skip one, and what a store keeps in memory is right as long as nobody else has committed since, which a counter tells.

use std::sync::Arc;
use std::time::Duration;

use chassis::fault_points::{FaultPoint, fault_point};
use protocol::ids::Incarnation;
use thiserror::Error;
use tokio::time::Instant;
use uuid::Uuid;

use super::transitions::{Memory, Reads, Snapshots, Transaction, Viewed};
use super::{Context, Reader, Signals, Storage, StorageError, Work};
use bound::Bound;
use connection::Connection;
use fault::Fault;
use heard::Heard;
use link::{Link, Target};
use statements::Statements;

pub use follow::{Follower, Replaced, Told};
pub use url::{ACCEPTED, Url, UrlError};

mod bound;
mod connection;
pub mod examine;
mod fault;
mod follow;
mod heard;
pub mod import;
mod link;
mod schema;
mod statements;
mod url;

/// The writer's seat: see [`schema::LOCKS`].
const SEAT: &str = "SELECT pg_advisory_xact_lock(1280526418, 0)";
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// How many commits there were before this one, and its number at the server.
const PLACE: &str = "SELECT changes, pg_current_xact_id()::text FROM meta WHERE tenant = 0";
const COUNT: &str = "UPDATE meta SET changes = changes + 1 WHERE tenant = 0";
const NOTIFY: &str = "SELECT pg_notify('longshore', $1)";
const COMMIT: &str = "COMMIT";
const FATE: &str = "SELECT pg_xact_status($1::text::xid8)";
/// After a connection was lost while it committed: how long to ask for the fate of the commit.
const FATE_WITHIN: Duration = Duration::from_secs(10);

/// Why a database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It may be there later.
    #[error("{url} is not there: {reason}")]
    Away { url: Url, reason: String },
    /// It will not be there later either, unless somebody changes something.
    #[error("{url} cannot be used: {reason}")]
    Unusable { url: Url, reason: String },
}

/// One store's way to the database.
#[derive(Debug)]
pub struct Postgres {
    target: Arc<Target>,
    link: Link,
    /// Names this store among those that commit.
    name: Uuid,
    /// What is known without asking, and after which commit; `None` after an error, until it is read again.
    memory: Option<(Memory, i64)>,
}

/// Where a transaction begins.
struct Place {
    changes: i64,
    transaction: String,
}

/// Why a transaction did not commit.
enum Failed {
    /// It was rolled back, or will be: nothing of it has happened.
    Before(StorageError),
    /// Nobody answered the commit. What it would have been.
    Meanwhile(Box<Unanswered>),
}

struct Unanswered {
    transaction: String,
    changes: i64,
    memory: Memory,
    signals: Signals,
    error: StorageError,
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self::Before(error)
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Before(fault.into())
    }
}

impl Postgres {
    /// Connects, creates or migrates the schema, and reads what a store must know.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(url: &Url) -> Result<Self, OpenError> {
        let opened = Connection::open(url, Duration::ZERO).and_then(|mut connection| {
            warn_of_settings(&mut connection)?;
            schema::prepare(&mut connection)
        });
        let history = opened.map_err(|fault| {
            let (url, reason) = (url.clone(), fault.to_string());
            match fault {
                Fault::Lost(_) | Fault::Refused(_) => OpenError::Away { url, reason },
                Fault::NotAdmitted(_) | Fault::Defect(_) => OpenError::Unusable { url, reason },
            }
        })?;
        let target = Arc::new(Target { url: url.clone(), history });
        let link = Link::new(Arc::clone(&target));
        Ok(Self { target, link, name: Uuid::new_v4(), memory: None })
    }

    /// Hears what other stores commit.
    #[must_use]
    pub fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.target), self.name)
    }

    fn attempt(&mut self, context: &Context, work: Work<'_>) -> Result<Signals, Failed> {
        let mut statements = Statements::on(self.link.connection()?);
        let place = sit_down(&mut statements)?;
        let memory = match self.memory.take() {
            Some((memory, changes)) if changes == place.changes => memory,
            Some((memory, _)) => memory.reload(&mut statements)?,
            None => Memory::load(&mut statements)?,
        };
        let mut transaction = Transaction::new(&mut statements, context, memory);
        work(&mut transaction)?;
        let (memory, signals) = transaction.finish()?;
        let mut changes = place.changes;
        if super::sql::Sql::has_written(&statements) {
            changes += 1;
            let told = Heard::of(self.name, &signals).into_text().map_err(StorageError::from)?;
            statements.add(COUNT, Vec::new())?;
            statements.add(NOTIFY, vec![Bound::Text(Some(told))])?;
        }
        fault_point(FaultPoint::StoreBeforeCommit);
        statements.add(COMMIT, Vec::new())?;
        match statements.send() {
            Ok(_) => {
                self.memory = Some((memory, changes));
                Ok(signals)
            }
            Err(fault @ Fault::Lost(_)) => {
                let error = fault.into();
                let transaction = place.transaction;
                Err(Failed::Meanwhile(Box::new(Unanswered { transaction, changes, memory, signals, error })))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Ends a transaction that failed, so that the next one can begin.
    fn roll_back(&mut self) {
        if self.link.is_open()
            && let Ok(connection) = self.link.connection()
            && connection.batch("ROLLBACK").is_err()
        {
            self.link.drop_connection();
        }
    }

    /// What became of a transaction whose commit was not answered. Whoever has the seat knows that it has ended.
    fn fate(&mut self, transaction: &str) -> Result<bool, StorageError> {
        let deadline = Instant::now() + FATE_WITHIN;
        loop {
            match self.try_fate(transaction) {
                Ok(committed) => return Ok(committed),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(error) => tracing::warn!(%error, "the fate of a commit is not known yet"),
            }
        }
    }

    fn try_fate(&mut self, transaction: &str) -> Result<bool, StorageError> {
        let mut statements = Statements::on(self.link.new_connection()?);
        sit_down(&mut statements)?;
        statements.add(FATE, vec![Bound::Text(Some(transaction.to_owned()))])?;
        let fate = statements.send();
        self.roll_back();
        let rows = fate?;
        let status: Option<String> = rows.first().map(|row| row.try_get(0)).transpose().map_err(Fault::from)?.flatten();
        Ok(status.as_deref() == Some("committed"))
    }
}

/// Begins a transaction and waits for the writer's seat.
fn sit_down(statements: &mut Statements<'_>) -> Result<Place, Fault> {
    statements.add(BEGIN, Vec::new())?;
    statements.add(SEAT, Vec::new())?;
    statements.add(PLACE, Vec::new())?;
    let rows = statements.send()?;
    let row = rows.first().ok_or_else(|| Fault::Defect("the table meta is empty".to_owned()))?;
    Ok(Place { changes: row.try_get(0)?, transaction: row.try_get(1)? })
}

/// What an operator must know, said once.
fn warn_of_settings(connection: &mut Connection) -> Result<(), Fault> {
    let rows = connection.ask("SELECT current_setting('fsync'), current_setting('full_page_writes')")?;
    if let Some(row) = rows.first() {
        let (fsync, pages): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if fsync == "off" || pages == "off" {
            tracing::warn!(
                fsync,
                full_page_writes = pages,
                "this PostgreSQL may lose accepted jobs when its machine stops"
            );
        }
    }
    Ok(())
}

impl Storage for Postgres {
    fn transact(&mut self, context: &Context, work: Work<'_>) -> Result<Signals, StorageError> {
        // A connection that was kept may have been lost long before: that is found out only now.
        let kept = self.link.is_open();
        let mut result = self.attempt(context, work);
        if kept && matches!(result, Err(Failed::Before(_))) && !self.link.is_open() {
            result = self.attempt(context, work);
        }
        match result {
            Ok(signals) => Ok(signals),
            Err(Failed::Before(error)) => {
                self.roll_back();
                Err(error)
            }
            Err(Failed::Meanwhile(unanswered)) => {
                let Unanswered { transaction, changes, memory, signals, error } = *unanswered;
                if self.fate(&transaction)? {
                    self.memory = Some((memory, changes));
                    return Ok(signals);
                }
                Err(error)
            }
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StorageError> {
        Ok(Box::new(Viewed::of(Snapshot { link: Link::new(Arc::clone(&self.target)) })))
    }

    fn incarnation(&self) -> Incarnation {
        self.target.history.incarnation
    }
}

/// Snapshots on a connection of their own.
struct Snapshot {
    link: Link,
}

impl Snapshot {
    fn attempt(&mut self, reads: Reads<'_>) -> Result<(), StorageError> {
        let mut statements = Statements::on(self.link.connection()?);
        statements.add(SNAPSHOT, Vec::new())?;
        let read = reads(&mut statements);
        if self.link.is_open() {
            let ended = self.link.connection()?.batch("ROLLBACK");
            read.and(ended.map_err(StorageError::from))
        } else {
            read
        }
    }
}

impl Snapshots for Snapshot {
    fn snapshot(&mut self, reads: Reads<'_>) -> Result<(), StorageError> {
        let kept = self.link.is_open();
        let result = self.attempt(reads);
        if kept && result.is_err() && !self.link.is_open() { self.attempt(reads) } else { result }
    }
}
