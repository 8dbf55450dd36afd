//! Writes of data entries: ordered by one store-wide version, announced in the log in the same commit.

use protocol::etag::entity_tag;
use protocol::ids::Version;
use protocol::key::{DataKey, MediaType};
use protocol::problem::Kind;
use protocol::store_api::{Change, DeleteData, Precondition, PutData, Reply};

use super::{Decided, Transaction};
use crate::storage::sql::values;
use crate::storage::{SYSTEM, StorageError};

impl Transaction<'_> {
    pub(super) fn put_data(&mut self, put: &PutData) -> Result<Decided, StorageError> {
        let stored = self.stored(&put.key)?;
        if !holds(put.only_if.as_ref(), stored.as_deref()) {
            return Ok(Err(Kind::PreconditionFailed.problem()));
        }
        let version = self.next_version()?;
        let query = "INSERT INTO data (tenant, key, version, data, tags, media_type) VALUES (?, ?, ?, ?, ?, ?)
                     ON CONFLICT (tenant, key) DO UPDATE SET version = excluded.version, data = excluded.data,
                         tags = excluded.tags, media_type = excluded.media_type";
        let tags = if put.tags.is_empty() { None } else { Some(serde_json::to_string(&put.tags)?) };
        let media_type = put.media_type.as_ref().map(MediaType::as_str);
        let values = values![SYSTEM, put.key.as_str(), version.0, put.data.get(), &tags, media_type];
        self.sql.write(query, values)?;
        self.written(&put.key, version).map(Ok)
    }

    pub(super) fn delete_data(&mut self, delete: &DeleteData) -> Result<Decided, StorageError> {
        let stored = self.stored(&delete.key)?;
        if !holds(delete.only_if.as_ref(), stored.as_deref()) {
            return Ok(Err(Kind::PreconditionFailed.problem()));
        }
        if stored.is_none() {
            return Ok(Err(Kind::NotFound.problem()));
        }
        let version = self.next_version()?;
        let query = "DELETE FROM data WHERE tenant = ? AND key = ?";
        self.sql.write(query, values![SYSTEM, delete.key.as_str()])?;
        self.written(&delete.key, version).map(Ok)
    }

    fn stored(&mut self, key: &DataKey) -> Result<Option<String>, StorageError> {
        let query = "SELECT data FROM data WHERE tenant = ? AND key = ?";
        self.sql.one(query, values![SYSTEM, key.as_str()], |columns| columns.text())
    }

    fn next_version(&mut self) -> Result<Version, StorageError> {
        let version = self.memory.version.next();
        self.sql.write("UPDATE meta SET version = ? WHERE tenant = ?", values![version.0, SYSTEM])?;
        self.memory.version = version;
        Ok(version)
    }

    fn written(&mut self, key: &DataKey, version: Version) -> Result<Reply, StorageError> {
        self.count("data_written");
        let position = self.log(&Change::Data { key: key.clone(), version })?;
        Ok(Reply::DataWritten { version, position })
    }
}

/// Whether a precondition holds for what is stored (RFC 9110 §13.1).
fn holds(condition: Option<&Precondition>, stored: Option<&str>) -> bool {
    let tagged = |tags: &[String]| stored.is_some_and(|data| tags.contains(&entity_tag(data.as_bytes())));
    match condition {
        None => true,
        Some(Precondition::Exists) => stored.is_some(),
        Some(Precondition::Absent) => stored.is_none(),
        Some(Precondition::AnyOf(tags)) => tagged(tags),
        Some(Precondition::NoneOf(tags)) => !tagged(tags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_follow_the_stored_bytes() {
        let check = |condition: Option<Precondition>, stored: Option<&str>, expected: bool| {
            assert_eq!(holds(condition.as_ref(), stored), expected, "{condition:?} on {stored:?}");
        };
        let tags = vec![entity_tag(b"1"), entity_tag(b"2")];
        check(None, None, true);
        check(Some(Precondition::Exists), None, false);
        check(Some(Precondition::Exists), Some("1"), true);
        check(Some(Precondition::Absent), None, true);
        check(Some(Precondition::Absent), Some("1"), false);
        check(Some(Precondition::AnyOf(tags.clone())), Some("2"), true);
        check(Some(Precondition::AnyOf(tags.clone())), Some("3"), false);
        check(Some(Precondition::AnyOf(tags.clone())), None, false);
        check(Some(Precondition::NoneOf(tags.clone())), Some("2"), false);
        check(Some(Precondition::NoneOf(tags.clone())), Some("3"), true);
        check(Some(Precondition::NoneOf(tags)), None, true);
    }
}
