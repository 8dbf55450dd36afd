//! Moves everything from an SQLite file into an empty database: in one transaction, counted on both sides, under a history of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use thiserror::Error;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::bound::Bound;
use super::connection::Connection;
use super::fault::Fault;
use super::schema;
use super::url::Url;
use super::{BEGIN, COMMIT, SEAT};
use crate::storage::StorageError;
use crate::storage::sqlite::Sqlite;
use crate::storage::sqlite::lock::OpenError;

/// Rows sent together.
const ROWS: usize = 500;
/// Once the rows that are to be sent together reach this size, they are, in bytes.
const BYTES: usize = 4 << 20;
/// What a table must have on both sides, besides its number of rows: jobs by state, texts to the byte.
const FIGURES: [(&str, &str); 6] = [
    ("jobs by state", "SELECT state, CAST(count(*) AS BIGINT) FROM jobs GROUP BY state ORDER BY state"),
    ("bytes of payloads", "SELECT 'bytes', CAST(coalesce(sum(octet_length(payload)), 0) AS BIGINT) FROM payloads"),
    ("bytes of results", "SELECT 'bytes', CAST(coalesce(sum(octet_length(result)), 0) AS BIGINT) FROM results"),
    ("bytes of logs", "SELECT 'bytes', CAST(coalesce(sum(octet_length(log)), 0) AS BIGINT) FROM logs"),
    ("bytes of the log", "SELECT 'bytes', CAST(coalesce(sum(octet_length(change)), 0) AS BIGINT) FROM log"),
    ("bytes of data", "SELECT 'bytes', CAST(coalesce(sum(octet_length(data)), 0) AS BIGINT) FROM data"),
];
/// What a fresh database may hold: the one entry that it is made with.
const EMPTY: &str = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM log) + (SELECT count(*) FROM sessions)
     + (SELECT count(*) FROM idempotency_keys) + (SELECT count(*) FROM schedules)
     + (SELECT count(*) FROM webhooks) + (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM audit)
     + (SELECT count(*) FROM tenants WHERE tenant <> 0 OR share <> 1 OR coalesce(running_max, rate, queued_max) IS NOT NULL)
     + (SELECT version - 1 FROM meta WHERE tenant = 0)";

/// Why nothing was moved.
#[derive(Debug, Error)]
pub enum ImportError {
    #[error("{path} is in use by {holder}: stop it first")]
    InUse { path: String, holder: String },
    #[error("{path}: {reason}")]
    Unusable { path: String, reason: String },
    #[error("{url} is not empty: name a database of its own, or drop the schema longshore in it")]
    NotEmpty { url: Url },
    #[error("{url}: {reason}")]
    Server { url: Url, reason: String },
    #[error("{what} differ: {before} there, {after} here; nothing was moved")]
    Differs { what: String, before: String, after: String },
}

/// How many rows each table has now.
pub type Moved = BTreeMap<String, u64>;

/// Copies the file, whose store must not run, into the empty database. The file stays as it is.
///
/// # Errors
/// See [`ImportError`]; then the database is as empty as before.
pub fn import(file: &Path, url: &Url) -> Result<Moved, ImportError> {
    let path = file.display().to_string();
    if !file.exists() {
        return Err(ImportError::Unusable { path, reason: "there is no such file".to_owned() });
    }
    let unusable = |reason: String| ImportError::Unusable { path: path.clone(), reason };
    let source = Sqlite::open(file, "a migration").map_err(|error| match error {
        OpenError::Locked { path, holder } => ImportError::InUse { path, holder },
        OpenError::File { .. } | OpenError::Storage(_) => unusable(error.to_string()),
    })?;
    let mut import = Import { url, source: source.connection(), path: &path };
    let mut target = Connection::open(url, Duration::ZERO).map_err(|fault| import.server(fault))?;
    schema::prepare(&mut target).map_err(|fault| import.server(fault))?;
    let moved = import.run(&mut target)?;
    // The planner knows nothing of rows that came all at once.
    for table in moved.keys() {
        drop(target.batch(&format!("ANALYZE {table}")));
    }
    Ok(moved)
}

struct Import<'i> {
    url: &'i Url,
    path: &'i str,
    source: &'i rusqlite::Connection,
}

impl Import<'_> {
    fn server(&self, fault: Fault) -> ImportError {
        ImportError::Server { url: self.url.clone(), reason: StorageError::from(fault).to_string() }
    }

    fn file(&self, error: &rusqlite::Error) -> ImportError {
        ImportError::Unusable { path: self.path.to_owned(), reason: error.to_string() }
    }

    fn run(&mut self, target: &mut Connection) -> Result<Moved, ImportError> {
        // Whoever else has the database open neither writes meanwhile nor goes on afterwards: its history has ended.
        target.batch(&format!("{BEGIN}; {SEAT}")).map_err(|fault| self.server(fault))?;
        let found = schema::number(target, EMPTY).map_err(|fault| self.server(fault))?;
        if found != 0 {
            return Err(ImportError::NotEmpty { url: self.url.clone() });
        }
        target.batch("DELETE FROM data; DELETE FROM tenants").map_err(|fault| self.server(fault))?;
        let mut moved = Moved::new();
        for table in self.tables()? {
            let rows = self.copy(target, &table)?;
            self.compare(target, &format!("rows of {table}"), &format!("SELECT 'rows', count(*) FROM {table}"))?;
            moved.insert(table, rows);
        }
        self.copy_meta(target)?;
        for (what, query) in FIGURES {
            self.compare(target, what, query)?;
        }
        schema::begin_history(target).map_err(|fault| self.server(fault))?;
        target.batch(COMMIT).map_err(|fault| self.server(fault))?;
        Ok(moved)
    }

    /// All tables but `meta`, which is there already.
    fn tables(&self) -> Result<Vec<String>, ImportError> {
        let query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'meta'
                     ORDER BY name";
        let mut statement = self.source.prepare(query).map_err(|error| self.file(&error))?;
        let names = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
        names.map_err(|error| self.file(&error))
    }

    fn copy(&self, target: &mut Connection, table: &str) -> Result<u64, ImportError> {
        let select = format!("SELECT * FROM {table}");
        let mut statement = self.source.prepare(&select).map_err(|error| self.file(&error))?;
        let columns: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
        let places: Vec<String> = (1..=columns.len()).map(|place| format!("${place}")).collect();
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let insert = target.prepare_text(&insert).map_err(|fault| self.server(fault))?;
        let mut rows = statement.query([]).map_err(|error| self.file(&error))?;
        let (mut waiting, mut bytes, mut copied) = (Vec::new(), 0, 0);
        while let Some(row) = rows.next().map_err(|error| self.file(&error))? {
            let values: Result<Vec<Bound>, _> =
                (0..columns.len()).map(|index| self.value(row.get_ref(index))).collect();
            let values = values?;
            bytes += values.iter().map(Bound::size).sum::<usize>();
            waiting.push((insert.clone(), values));
            copied += 1;
            if waiting.len() >= ROWS || bytes >= BYTES {
                self.send(target, &mut waiting)?;
                bytes = 0;
            }
        }
        self.send(target, &mut waiting)?;
        Ok(copied)
    }

    fn send(&self, target: &mut Connection, waiting: &mut Vec<(Statement, Vec<Bound>)>) -> Result<(), ImportError> {
        target.pipeline(waiting).map_err(|fault| self.server(fault))?;
        waiting.clear();
        Ok(())
    }

    /// As the file has it: numbers, texts, ids of 16 bytes.
    fn value(&self, value: rusqlite::Result<ValueRef<'_>>) -> Result<Bound, ImportError> {
        let odd =
            |what: &str| ImportError::Unusable { path: self.path.to_owned(), reason: format!("a value is {what}") };
        match value.map_err(|error| self.file(&error))? {
            ValueRef::Null => Ok(Bound::Null),
            ValueRef::Integer(number) => Ok(Bound::Int(Some(number))),
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|_| odd("no UTF-8"))?;
                Ok(Bound::text(text))
            }
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map(|id| Bound::Uuid(Some(id))).map_err(|_| odd("no id")),
            ValueRef::Real(_) => Err(odd("a fraction")),
        }
    }

    fn copy_meta(&self, target: &mut Connection) -> Result<(), ImportError> {
        let columns =
            ["version", "fenced_through", "log_start", "jobs_through", "epoch", "sequencer", "sequencer_renewal"];
        let select = format!("SELECT {} FROM meta", columns.join(", "));
        let values: Result<Vec<Bound>, ImportError> = self
            .source
            .query_row(&select, [], |row| Ok((0..columns.len()).map(|index| self.value(row.get_ref(index))).collect()))
            .map_err(|error| self.file(&error))?;
        let set: Vec<String> = (1..).zip(columns).map(|(place, column)| format!("{column} = ${place}")).collect();
        let update = format!("UPDATE meta SET {} WHERE tenant = 0", set.join(", "));
        let update = target.prepare_text(&update).map_err(|fault| self.server(fault))?;
        target.pipeline(&[(update, values?)]).map(drop).map_err(|fault| self.server(fault))
    }

    /// The same query says the same on both sides.
    fn compare(&self, target: &mut Connection, what: &str, query: &str) -> Result<(), ImportError> {
        let mut statement = self.source.prepare(query).map_err(|error| self.file(&error))?;
        let before: rusqlite::Result<Vec<(String, i64)>> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect);
        let mut before = before.map_err(|error| self.file(&error))?;
        let rows = target.ask(query).map_err(|fault| self.server(fault))?;
        let after: Result<Vec<(String, i64)>, _> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
        let mut after = after.map_err(|error: tokio_postgres::Error| self.server(error.into()))?;
        // Words may be in another order under another collation.
        before.sort();
        after.sort();
        if before == after {
            return Ok(());
        }
        let (before, after) = (format!("{before:?}"), format!("{after:?}"));
        Err(ImportError::Differs { what: what.to_owned(), before, after })
    }
}
