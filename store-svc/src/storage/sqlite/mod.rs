//! SQLite behind the transitions: WAL, `synchronous=FULL`, one connection that writes, any number that read.

use std::path::{Path, PathBuf};

use chassis::fault_points::{FaultPoint, fault_point};
use protocol::ids::Incarnation;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::transitions::{Memory, Transaction, Viewed};
use super::{Context, Reader, SYSTEM, Signals, Storage, StorageError, Work};
use statements::{Snapshot, Statements};

pub mod backup;
pub mod lock;
mod schema;
mod statements;

/// Pages of the write-ahead log before it is copied into the database: 16 MiB.
const CHECKPOINT_PAGES: i64 = 4_096;
/// Kept prepared; every statement of the transitions fits.
const STATEMENTS_KEPT: usize = 128;

/// A database file, held by this process alone.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    incarnation: Incarnation,
    /// What is known without asking the file; `None` after an error, until it is read again.
    memory: Option<Memory>,
    _lock: lock::Lock,
}

impl Sqlite {
    /// Opens the file, creates or migrates it, and keeps everybody else out.
    ///
    /// # Errors
    /// [`lock::OpenError::Locked`] names who has it open.
    pub fn open(path: &Path, holder: &str) -> Result<Self, lock::OpenError> {
        let lock = lock::Lock::take(path, holder)?;
        let connection = Connection::open(path).map_err(StorageError::from)?;
        configure(&connection)?;
        schema::migrate(&connection)?;
        let incarnation = schema::incarnation(&connection)?;
        let memory = Memory::load(&mut Statements::of(&connection))?;
        Ok(Self { path: path.to_owned(), connection, incarnation, memory: Some(memory), _lock: lock })
    }

    pub(in crate::storage) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn attempt(&mut self, context: &Context, work: Work<'_>) -> Result<Signals, StorageError> {
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => Memory::load(&mut Statements::of(&self.connection))?,
        };
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut statements = Statements::of(&self.connection);
        let mut transaction = Transaction::new(&mut statements, context, memory);
        work(&mut transaction)?;
        let (memory, signals) = transaction.finish()?;
        fault_point(FaultPoint::StoreBeforeCommit);
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.memory = Some(memory);
        Ok(signals)
    }
}

impl Storage for Sqlite {
    fn transact(&mut self, context: &Context, work: Work<'_>) -> Result<Signals, StorageError> {
        let result = self.attempt(context, work);
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StorageError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        keep_statements(&connection)?;
        connection.pragma_update(None, "cache_size", -4_096)?;
        Ok(Box::new(Viewed::of(Snapshot::of(connection))))
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

/// Each statement is planned once. Without the planner's stability guarantee SQLite plans one that has `LIMIT ?` again whenever another number is
/// bound to it.
fn keep_statements(connection: &Connection) -> Result<(), StorageError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn configure(connection: &Connection) -> Result<(), StorageError> {
    keep_statements(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        let away = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::OutOfMemory
                    | ErrorCode::PermissionDenied
            )
        );
        if away { Self::Unavailable(error.to_string()) } else { Self::Internal(error.to_string()) }
    }
}

/// How SQLite runs this statement: a line for each step.
#[cfg(test)]
pub(in crate::storage) fn plan_of(statement: &str) -> Vec<String> {
    let connection = Connection::open_in_memory().expect("it opens");
    schema::migrate(&connection).expect("a schema");
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).expect("sql");
    let lines = explained.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>();
    lines.expect("a plan")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::store_api::{Answer, Command, Create};
    use protocol::tenant::Tenant;

    use super::*;
    use crate::samples;
    use crate::storage::Settings;

    fn create() -> Command {
        let payload = serde_json::value::to_raw_value(&"x".repeat(10_000)).expect("json");
        Command::Create(Box::new(Create { payload: Some(payload), ..samples::create() }))
    }

    fn try_create(storage: &mut Sqlite) -> Result<(), StorageError> {
        let settings = Settings { queues: ["default".to_owned()].into(), ..Settings::default() };
        let context = Context { wall_ms: 0, now_ms: 0, seed: 0, settings: Arc::new(settings) };
        let work = &mut |transitions: &mut dyn crate::storage::Transitions| {
            assert!(matches!(transitions.apply(&Tenant::default(), &create())?, Answer::Ok(_)));
            Ok(())
        };
        storage.transact(&context, work).map(drop)
    }

    #[test]
    fn a_statement_is_planned_once() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let storage = Sqlite::open(&folder.path().join("store.db"), "a test").expect("it opens");
        let mut statement = storage.connection.prepare("SELECT n FROM jobs WHERE tenant = ? LIMIT ?").expect("sql");
        for limit in 1..5 {
            assert!(!statement.exists((SYSTEM, limit)).expect("read"));
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[test]
    fn a_full_disk_is_unavailable_until_there_is_room() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let mut storage = Sqlite::open(&folder.path().join("store.db"), "a test").expect("it opens");
        try_create(&mut storage).expect("there is room");
        storage.connection.pragma_update(None, "max_page_count", 60).expect("set");
        let full = (0..100).find_map(|_| try_create(&mut storage).err()).expect("it fills up");
        assert!(matches!(full, StorageError::Unavailable(_)), "{full}");
        assert!(try_create(&mut storage).is_err());
        storage.connection.pragma_update(None, "max_page_count", 1_000_000).expect("set");
        try_create(&mut storage).expect("there is room again");
        let positions: (i64, i64) = storage
            .connection
            .query_row("SELECT count(*), max(position) FROM log", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("read");
        assert_eq!(positions.0, positions.1, "what failed used no position");
    }
}
