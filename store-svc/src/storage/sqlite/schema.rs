//! The schema's versions, applied in order, each in a transaction of its own.

use protocol::ids::Incarnation;
use rusqlite::{Connection, params};

use super::{SYSTEM, StorageError};

const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];
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
    let incarnation = Incarnation(uuid::Uuid::new_v4());
    let sql = "INSERT INTO meta (tenant, incarnation, version, fenced_through, log_start, jobs_through, epoch, sequencer_renewal)
               VALUES (?, ?, 1, 0, 0, 0, 0, 0)";
    connection.execute(sql, params![SYSTEM, incarnation.0.as_bytes()])?;
    Ok(())
}

/// What a copy of a database has instead of an incarnation, until it is opened.
const NOT_YET: Incarnation = Incarnation(uuid::Uuid::nil());
/// A restored job's next fence is above any that its lost history can have given.
const FENCES_SKIPPED: i64 = 1 << 20;

/// The identity of the database's history. A copy gets one of its own when it is first opened, each time that it is restored: cursors of
/// the history that it left are void, caches are flushed, and what still runs on a lease of that history has no say any more.
pub(super) fn incarnation(connection: &Connection) -> Result<Incarnation, StorageError> {
    let bytes: [u8; 16] =
        connection.query_row("SELECT incarnation FROM meta WHERE tenant = ?", [SYSTEM], |row| row.get(0))?;
    let found = Incarnation(uuid::Uuid::from_bytes(bytes));
    if found != NOT_YET {
        return Ok(found);
    }
    let fresh = Incarnation(uuid::Uuid::new_v4());
    connection.execute_batch("BEGIN IMMEDIATE")?;
    set_incarnation(connection, fresh)?;
    let sql = "UPDATE jobs SET fence = fence + ? WHERE state <> 'succeeded'";
    connection.execute(sql, params![FENCES_SKIPPED])?;
    connection.execute_batch("COMMIT")?;
    Ok(fresh)
}

/// Makes a copy of a database know that it is one.
pub(super) fn mark_copy(connection: &Connection) -> Result<(), StorageError> {
    set_incarnation(connection, NOT_YET)
}

fn set_incarnation(connection: &Connection, incarnation: Incarnation) -> Result<(), StorageError> {
    let sql = "UPDATE meta SET incarnation = ? WHERE tenant = ?";
    connection.execute(sql, params![incarnation.0.as_bytes(), SYSTEM])?;
    Ok(())
}

/// The file is a database of ours, whole, and of a version that this program can read.
pub(super) fn check(connection: &Connection) -> Result<(), String> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let told = |error: rusqlite::Error| error.to_string();
    if pragma("application_id").map_err(told)? != APPLICATION {
        return Err("it is not a database of Longshore".to_owned());
    }
    let (found, known) = (pragma("user_version").map_err(told)?, MIGRATIONS.len());
    if usize::try_from(found).map_or(true, |found| found > known) {
        return Err(format!("it has schema version {found}, this program knows versions up to {known}"));
    }
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(told)?;
    if verdict == "ok" { Ok(()) } else { Err(format!("it is damaged: {verdict}")) }
}
