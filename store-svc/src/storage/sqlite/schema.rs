//! The schema's versions, applied in order, each in a transaction of its own.

use protocol::ids::Incarnation;
use rusqlite::{Connection, params};

use super::columns::uuid;
use super::{StorageError, TENANT};

const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];
/// Marks the file as ours (`PRAGMA application_id`): "LSHR".
const APPLICATION: i64 = 0x4c53_4852;

pub(super) fn migrate(connection: &Connection) -> Result<(), StorageError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len();
    let Some(pending) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        let text = format!("the database has schema version {found}, this program knows versions up to {known}");
        return Err(StorageError::Internal(text));
    };
    for (version, migration) in (found + 1..).zip(pending) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute_batch(migration)?;
        if version == 1 {
            create_meta(connection)?;
        }
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", version)?;
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}

fn create_meta(connection: &Connection) -> Result<(), StorageError> {
    let incarnation = Incarnation(::uuid::Uuid::new_v4());
    let sql = "INSERT INTO meta (tenant, incarnation, version, fenced_through, log_start, epoch, sequencer_renewal)
               VALUES (?, ?, 1, 0, 0, 0, 0)";
    connection.execute(sql, params![TENANT, incarnation.0.as_bytes()])?;
    Ok(())
}

pub(super) fn incarnation(connection: &Connection) -> Result<Incarnation, StorageError> {
    let bytes: Vec<u8> =
        connection.query_row("SELECT incarnation FROM meta WHERE tenant = ?", [TENANT], |row| row.get(0))?;
    Ok(Incarnation(uuid(&bytes)?))
}
