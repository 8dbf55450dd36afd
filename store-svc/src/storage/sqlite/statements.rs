//! How SQLite runs the shared statements: each is prepared once and kept.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use uuid::Uuid;

use crate::storage::StorageError;
use crate::storage::sql::{Columns, Each, Sql, Value};
use crate::storage::transitions::{Reads, Snapshots};

pub(super) struct Statements<'c> {
    connection: &'c Connection,
    changes_before: u64,
}

impl<'c> Statements<'c> {
    pub(super) fn of(connection: &'c Connection) -> Self {
        Self { connection, changes_before: connection.total_changes() }
    }
}

impl Sql for Statements<'_> {
    fn query(&mut self, statement: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StorageError> {
        let mut prepared = self.connection.prepare_cached(statement)?;
        let mut rows = prepared.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if each(&mut Cells { row, next: 0 })?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<(), StorageError> {
        self.connection.prepare_cached(statement)?.execute(params_from_iter(values))?;
        Ok(())
    }

    fn has_written(&self) -> bool {
        self.connection.total_changes() != self.changes_before
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(Some(number)) => ValueRef::Integer(*number),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Uuid(Some(uuid)) => ValueRef::Blob(uuid.as_bytes()),
            Self::Int(None) | Self::Text(None) | Self::Uuid(None) => ValueRef::Null,
            Self::Ints(_) | Self::Uuids(_) | Self::Texts(_) => {
                return Err(rusqlite::Error::ToSqlConversionFailure("SQLite has no arrays".into()));
            }
        }))
    }
}

struct Cells<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Cells<'_> {
    fn cell(&mut self) -> Result<ValueRef<'_>, StorageError> {
        let index = self.next;
        self.next += 1;
        Ok(self.row.get_ref(index)?)
    }
}

fn other(found: ValueRef<'_>) -> StorageError {
    StorageError::Internal(format!("a column has the type {}", found.data_type()))
}

impl Columns for Cells<'_> {
    fn maybe_int(&mut self) -> Result<Option<i64>, StorageError> {
        match self.cell()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            found => Err(other(found)),
        }
    }

    fn maybe_word(&mut self) -> Result<Option<&str>, StorageError> {
        match self.cell()? {
            ValueRef::Null => Ok(None),
            found => found.as_str().map(Some).map_err(|error| StorageError::Internal(error.to_string())),
        }
    }

    fn maybe_uuid(&mut self) -> Result<Option<Uuid>, StorageError> {
        match self.cell()? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => {
                Uuid::from_slice(bytes).map(Some).map_err(|error| StorageError::Internal(error.to_string()))
            }
            found => Err(other(found)),
        }
    }
}

pub(super) struct Snapshot {
    connection: Connection,
}

impl Snapshot {
    pub(super) fn of(connection: Connection) -> Self {
        Self { connection }
    }
}

impl Snapshots for Snapshot {
    fn snapshot(&mut self, reads: Reads<'_>) -> Result<(), StorageError> {
        let snapshot = self.connection.transaction()?;
        reads(&mut Statements::of(&snapshot))
    }
}
