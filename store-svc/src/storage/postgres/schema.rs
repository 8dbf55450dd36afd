//! The schema `longshore`: its versions, applied in order, and which history the database is of.

use protocol::ids::Incarnation;
use uuid::Uuid;

use super::connection::Connection;
use super::fault::Fault;

pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];
/// Advisory locks of ours are pairs that begin with this: "LSHR".
pub(super) const LOCKS: i32 = 0x4c53_4852;
/// The second number of the lock that lets one store migrate at a time; the writer's seat has 0.
const MIGRATING: i32 = 1;
/// A restored job's next fence is above any that its lost history can have given.
const FENCES_SKIPPED: i64 = 1 << 20;
/// Which history the tables are of: the cluster, the very table, and the line of time that the server writes on. A dump that was restored is in
/// a new table; a server restored to a point in time, or a standby that took over, writes on a new line.
pub(super) const ORIGIN: &str =
    "(SELECT system_identifier FROM pg_control_system())::text || '/' || 'longshore.meta'::regclass::oid
                      || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)";

/// The identity of a database's history, and where that history was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) incarnation: Incarnation,
    origin: String,
}

/// Creates or migrates the schema, and begins a history of its own where the present one is not that of the tables: a restored dump, another
/// server. Then cursors of the former one are void, caches are flushed, and what still runs on one of its leases has no say any more.
pub(super) fn prepare(connection: &mut Connection) -> Result<History, Fault> {
    connection.be_patient()?;
    connection.batch("BEGIN")?;
    let history = migrate(connection).and_then(|()| own_history(connection));
    match history {
        Ok(history) => connection.batch("COMMIT").map(|()| history),
        Err(fault) => {
            if connection.is_open() {
                connection.batch("ROLLBACK")?;
            }
            Err(fault)
        }
    }
}

fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    connection.ask(&format!("SELECT pg_advisory_xact_lock({LOCKS}, {MIGRATING})"))?;
    let there = connection.ask("SELECT 1 FROM pg_namespace WHERE nspname = 'longshore'")?;
    if there.is_empty() {
        connection.batch("CREATE SCHEMA longshore")?;
    }
    connection.batch("CREATE TABLE IF NOT EXISTS longshore.schema_version (version BIGINT NOT NULL)")?;
    let found = number(connection, "SELECT coalesce(max(version), 0)::bigint FROM longshore.schema_version")?;
    let Some(pending) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        let known = MIGRATIONS.len();
        let text = format!("the database has schema version {found}, this program knows versions up to {known}");
        return Err(Fault::Defect(text));
    };
    for (version, migration) in (found + 1..).zip(pending) {
        connection.batch(migration)?;
        connection.batch(&format!("INSERT INTO longshore.schema_version VALUES ({version})"))?;
        if version == 1 {
            create_meta(connection)?;
        }
    }
    Ok(())
}

fn create_meta(connection: &mut Connection) -> Result<(), Fault> {
    let incarnation = Uuid::new_v4();
    connection.batch(&format!(
        "INSERT INTO longshore.meta (tenant, incarnation, origin, changes, version, fenced_through, log_start, jobs_through,
             epoch, sequencer_renewal)
         VALUES (0, '{incarnation}', {ORIGIN}, 0, 1, 0, 0, 0, 0, 0)"
    ))
}

fn own_history(connection: &mut Connection) -> Result<History, Fault> {
    let history = history(connection)?;
    if is_present(connection, &history)? {
        return Ok(history);
    }
    begin_history(connection)?;
    self::history(connection)
}

/// Gives the tables a history of their own, whatever they were before.
pub(super) fn begin_history(connection: &mut Connection) -> Result<(), Fault> {
    let incarnation = Uuid::new_v4();
    connection.batch(&format!(
        "UPDATE longshore.meta SET incarnation = '{incarnation}', origin = {ORIGIN}, changes = changes + 1 WHERE tenant = 0;
         UPDATE longshore.jobs SET fence = fence + {FENCES_SKIPPED} WHERE state <> 'succeeded'"
    ))
}

pub(super) fn history(connection: &mut Connection) -> Result<History, Fault> {
    let rows = connection.ask("SELECT incarnation, origin FROM longshore.meta WHERE tenant = 0")?;
    let row = rows.first().ok_or_else(|| Fault::Defect("the table meta is empty".to_owned()))?;
    Ok(History { incarnation: Incarnation(row.try_get(0)?), origin: row.try_get(1)? })
}

/// Whether the tables are still those of this history.
pub(super) fn is_present(connection: &mut Connection, history: &History) -> Result<bool, Fault> {
    let rows = connection.ask(&format!("SELECT {ORIGIN}"))?;
    let origin: String = rows.first().ok_or_else(|| Fault::Defect("no origin".to_owned()))?.try_get(0)?;
    Ok(origin == history.origin)
}

/// The first column of the first row.
pub(super) fn number(connection: &mut Connection, query: &str) -> Result<i64, Fault> {
    let rows = connection.ask(query)?;
    let row = rows.first().ok_or_else(|| Fault::Defect(format!("no row: {query}")))?;
    Ok(row.try_get(0)?)
}
