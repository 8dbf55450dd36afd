//! Values on their way to PostgreSQL.

use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type};
use uuid::Uuid;

use crate::storage::sql::Value;

/// A value that can wait until the statements before it were sent.
#[derive(Debug)]
pub(super) enum Bound {
    Int(Option<i64>),
    Text(Option<String>),
    Uuid(Option<Uuid>),
    Ints(Vec<i64>),
    Uuids(Vec<Uuid>),
    Texts(Vec<String>),
    /// Of any type.
    Null,
}

impl Bound {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Some(storable(text).into_owned()))
    }

    /// About so many bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(Some(text)) => text.len(),
            _ => 16,
        }
    }
}

impl From<&Value<'_>> for Bound {
    fn from(value: &Value<'_>) -> Self {
        match value {
            Value::Int(number) => Self::Int(*number),
            Value::Text(text) => Self::Text(text.map(|text| storable(text).into_owned())),
            Value::Uuid(uuid) => Self::Uuid(*uuid),
            Value::Ints(numbers) => Self::Ints(numbers.to_vec()),
            Value::Uuids(uuids) => Self::Uuids(uuids.to_vec()),
            Value::Texts(texts) => Self::Texts(texts.iter().map(|text| storable(text).into_owned()).collect()),
        }
    }
}

/// PostgreSQL's text cannot hold the character U+0000, which an error message may.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

impl ToSql for Bound {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Int(number) => number.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Uuid(uuid) => uuid.to_sql_checked(ty, out),
            Self::Ints(numbers) => numbers.to_sql_checked(ty, out),
            Self::Uuids(uuids) => uuids.to_sql_checked(ty, out),
            Self::Texts(texts) => texts.to_sql_checked(ty, out),
            Self::Null => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}
