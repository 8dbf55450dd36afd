//! The SQL that all adapters share: statements with values in, rows of columns out. A statement is written once, in what SQLite and
//! PostgreSQL both understand, with `?` or `?1` for a value and `INDEXED BY`, or `NOT INDEXED` for the order of the rows themselves, where
//! SQLite's planner needs it; an adapter knows how to run it.

use std::ops::ControlFlow;

use protocol::queue::Depth;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::StorageError;

/// Rows that fit on a page, and whether something follows: one more than fits was asked for, and says so.
pub(super) fn fitting<T>(mut rows: Vec<T>, limit: u32) -> (Vec<T>, bool) {
    let fit = usize::try_from(limit).unwrap_or(usize::MAX);
    let follows = rows.len() > fit;
    rows.truncate(fit);
    (rows, follows)
}

/// What a statement is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'v> {
    Int(Option<i64>),
    Text(Option<&'v str>),
    Uuid(Option<Uuid>),
    /// For `= ANY (?)`, which only remote storage is asked.
    Ints(&'v [i64]),
    Uuids(&'v [Uuid]),
    Texts(&'v [&'v str]),
}

macro_rules! value_from {
    ($($type:ty: |$value:ident| $as:expr;)+) => {
        $(impl<'v> From<$type> for Value<'v> {
            fn from($value: $type) -> Self {
                $as
            }
        })+
    };
}

value_from! {
    i64: |number| Self::Int(Some(number));
    u32: |number| Self::Int(Some(i64::from(number)));
    bool: |flag| Self::Int(Some(i64::from(flag)));
    u64: |number| Self::Int(Some(number.cast_signed()));
    Option<i64>: |number| Self::Int(number);
    Option<u64>: |number| Self::Int(number.map(u64::cast_signed));
    &'v str: |text| Self::Text(Some(text));
    &'v String: |text| Self::Text(Some(text));
    Option<&'v str>: |text| Self::Text(text);
    &'v Option<String>: |text| Self::Text(text.as_deref());
    Uuid: |uuid| Self::Uuid(Some(uuid));
    Option<Uuid>: |uuid| Self::Uuid(uuid);
    &'v [i64]: |numbers| Self::Ints(numbers);
    &'v [Uuid]: |uuids| Self::Uuids(uuids);
    &'v [&'v str]: |texts| Self::Texts(texts);
}

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::storage::sql::Value::from($value)),*]
    };
}
pub(super) use values;

/// The columns of a row, taken one after the other, so that a list of names and a list of fields stay in one order.
pub(super) trait Columns {
    fn maybe_int(&mut self) -> Result<Option<i64>, StorageError>;
    fn maybe_word(&mut self) -> Result<Option<&str>, StorageError>;
    fn maybe_uuid(&mut self) -> Result<Option<Uuid>, StorageError>;
}

impl dyn Columns + '_ {
    pub(super) fn int(&mut self) -> Result<i64, StorageError> {
        self.maybe_int()?.ok_or_else(missing)
    }

    /// A number that never goes back.
    pub(super) fn counter(&mut self) -> Result<u64, StorageError> {
        self.int().map(i64::cast_unsigned)
    }

    /// A small number.
    pub(super) fn small(&mut self) -> Result<u32, StorageError> {
        u32::try_from(self.int()?).map_err(|error| StorageError::Internal(error.to_string()))
    }

    pub(super) fn flag(&mut self) -> Result<bool, StorageError> {
        Ok(self.int()? != 0)
    }

    pub(super) fn word(&mut self) -> Result<&str, StorageError> {
        self.maybe_word()?.ok_or_else(missing)
    }

    pub(super) fn text(&mut self) -> Result<String, StorageError> {
        self.word().map(str::to_owned)
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, StorageError> {
        Ok(self.maybe_word()?.map(str::to_owned))
    }

    pub(super) fn json(&mut self) -> Result<Box<RawValue>, StorageError> {
        Ok(RawValue::from_string(self.text()?)?)
    }

    pub(super) fn depth(&mut self) -> Result<Depth, StorageError> {
        Ok(Depth { scheduled: self.counter()?, queued: self.counter()?, running: self.counter()? })
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, StorageError> {
        self.maybe_uuid()?.ok_or_else(missing)
    }
}

fn missing() -> StorageError {
    StorageError::Internal("a column that cannot be null is null".to_owned())
}

/// Is given each row, until it breaks off.
pub(super) type Each<'e> = &'e mut dyn FnMut(&mut dyn Columns) -> Result<ControlFlow<()>, StorageError>;

/// A statement that will be asked.
pub(super) type Asked<'a> = (&'static str, &'a [Value<'a>]);

/// A place where statements run, inside a transaction or a snapshot.
pub(super) trait Sql {
    fn query(&mut self, statement: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StorageError>;

    /// As [`Sql::query`], for rows that are about to be changed: those that a stranger has locked are left out instead of waited for.
    fn take(&mut self, statement: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StorageError> {
        self.query(statement, values, each)
    }

    /// Changes rows. An error may come with a later call, before the commit at the latest.
    fn write(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<(), StorageError>;

    /// These queries follow, in this order and with these values, and nothing between them: one round trip is enough.
    fn ahead(&mut self, _queries: &[Asked<'_>]) -> Result<(), StorageError> {
        Ok(())
    }

    /// Each query costs a round trip, and others write the same data.
    fn is_remote(&self) -> bool {
        false
    }

    fn has_written(&self) -> bool;
}

impl dyn Sql + '_ {
    /// The first row, if there is one.
    pub(super) fn one<T>(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
        read: impl Fn(&mut dyn Columns) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        let mut found = None;
        self.query(statement, values, &mut |columns| {
            found = Some(read(columns)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The one row that is always there.
    pub(super) fn single<T>(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
        read: impl Fn(&mut dyn Columns) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let found = self.one(statement, values, read)?;
        found.ok_or_else(|| StorageError::Internal(format!("no row: {statement}")))
    }

    pub(super) fn all<T>(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
        read: impl Fn(&mut dyn Columns) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError> {
        let mut found = Vec::new();
        self.query(statement, values, &mut gather(&mut found, read))?;
        Ok(found)
    }

    pub(super) fn take_all<T>(
        &mut self,
        statement: &'static str,
        values: &[Value<'_>],
        read: impl Fn(&mut dyn Columns) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError> {
        let mut found = Vec::new();
        self.take(statement, values, &mut gather(&mut found, read))?;
        Ok(found)
    }
}

fn gather<T>(
    found: &mut Vec<T>,
    read: impl Fn(&mut dyn Columns) -> Result<T, StorageError>,
) -> impl FnMut(&mut dyn Columns) -> Result<ControlFlow<()>, StorageError> {
    move |columns| {
        found.push(read(columns)?);
        Ok(ControlFlow::Continue(()))
    }
}
