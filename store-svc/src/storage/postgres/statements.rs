//! How PostgreSQL runs the shared statements: writes wait for the next query or the commit and go out with it in one round trip.

use std::collections::VecDeque;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::bound::Bound;
use super::connection::{Bind, Connection, Lock};
use super::fault::Fault;
use crate::storage::StorageError;
use crate::storage::sql::{Asked, Columns, Each, Sql, Value};

/// Writes that may wait; more are sent.
const WAITING_MAX: usize = 512;

pub(super) struct Statements<'c> {
    connection: &'c mut Connection,
    waiting: Vec<Bind>,
    /// Answers to what will be asked next, in order.
    ahead: VecDeque<(&'static str, Vec<Row>)>,
    has_written: bool,
}

impl<'c> Statements<'c> {
    pub(super) fn on(connection: &'c mut Connection) -> Self {
        Self { connection, waiting: Vec::new(), ahead: VecDeque::new(), has_written: false }
    }

    /// A statement of ours, not shared: it waits like a write.
    pub(super) fn add(&mut self, statement: &'static str, values: Vec<Bound>) -> Result<(), Fault> {
        let prepared = self.connection.prepare(statement, Lock::No)?;
        self.waiting.push((prepared, values));
        Ok(())
    }

    /// Sends what waits; the rows of the last statement.
    pub(super) fn send(&mut self) -> Result<Vec<Row>, Fault> {
        let waiting = std::mem::take(&mut self.waiting);
        Ok(self.connection.pipeline(&waiting)?.pop().unwrap_or_default())
    }

    fn rows(&mut self, statement: &'static str, values: &[Value<'_>], lock: Lock) -> Result<Vec<Row>, Fault> {
        if let Some((expected, rows)) = self.ahead.pop_front() {
            if expected == statement {
                return Ok(rows);
            }
            self.ahead.clear();
        }
        let prepared = self.connection.prepare(statement, lock)?;
        self.waiting.push((prepared, values.iter().map(Bound::from).collect()));
        self.send()
    }

    fn read(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
        lock: Lock,
        each: Each<'_>,
    ) -> Result<(), StorageError> {
        for row in &self.rows(statement, values, lock)? {
            if each(&mut Cells { row, next: 0 })?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Sql for Statements<'_> {
    fn query(&mut self, statement: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StorageError> {
        self.read(statement, values, Lock::No, each)
    }

    fn take(&mut self, statement: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StorageError> {
        self.read(statement, values, Lock::SkipLocked, each)
    }

    fn write(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<(), StorageError> {
        self.has_written = true;
        self.add(statement, values.iter().map(Bound::from).collect())?;
        if self.waiting.len() >= WAITING_MAX {
            self.send()?;
        }
        Ok(())
    }

    fn ahead(&mut self, queries: &[Asked<'_>]) -> Result<(), StorageError> {
        let first = self.waiting.len();
        for (statement, values) in queries {
            self.add(statement, values.iter().map(Bound::from).collect())?;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let answers = self.connection.pipeline(&waiting)?.into_iter().skip(first);
        self.ahead = queries.iter().map(|(statement, _)| *statement).zip(answers).collect();
        Ok(())
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn has_written(&self) -> bool {
        self.has_written
    }
}

struct Cells<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Cells<'r> {
    fn cell<T: FromSql<'r>>(&mut self) -> Result<Option<T>, StorageError> {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(|error| StorageError::Internal(format!("column {index}: {error}")))
    }
}

impl Columns for Cells<'_> {
    fn maybe_int(&mut self) -> Result<Option<i64>, StorageError> {
        self.cell()
    }

    fn maybe_word(&mut self) -> Result<Option<&str>, StorageError> {
        self.cell()
    }

    fn maybe_uuid(&mut self) -> Result<Option<Uuid>, StorageError> {
        self.cell()
    }
}
