//! What the last attempts of a job wrote.

use protocol::ids::Fence;
use protocol::logs::{AttemptEnd, AttemptLog, LOGS_KEPT, Output};
use protocol::time::Timestamp;
use rusqlite::{Connection, params};

use super::row::Row;
use super::transaction::Transaction;
use super::{StorageError, TENANT};

impl Transaction<'_> {
    /// Keeps what the attempt under this fence wrote, in place of the oldest one's if there are too many.
    pub(super) fn keep_log(
        &self,
        row: &Row,
        (attempt, fence): (u32, Fence),
        ended: AttemptEnd,
        output: Option<&Output>,
    ) -> Result<(), StorageError> {
        let Some(output) = output.filter(|output| !output.is_empty()) else { return Ok(()) };
        let ended_at = Timestamp::from_unix_ms(self.context.wall_ms);
        let log = AttemptLog { run: row.job.run, attempt, ended, ended_at, output: output.clone().bounded() };
        let query = "INSERT INTO logs (tenant, n, fence, log) VALUES (?, ?, ?, ?)";
        let text = serde_json::to_string(&log)?;
        self.sql.prepare_cached(query)?.execute(params![TENANT, row.n, fence.0.cast_signed(), text])?;
        let query = "DELETE FROM logs WHERE tenant = ?1 AND n = ?2 AND fence <=
                         (SELECT fence FROM logs WHERE tenant = ?1 AND n = ?2 ORDER BY fence DESC LIMIT 1 OFFSET ?3)";
        self.sql.prepare_cached(query)?.execute(params![TENANT, row.n, LOGS_KEPT])?;
        Ok(())
    }
}

/// In the order of the attempts.
pub(super) fn logs(sql: &Connection, n: i64) -> Result<Vec<AttemptLog>, StorageError> {
    let mut statement = sql.prepare_cached("SELECT log FROM logs WHERE tenant = ? AND n = ? ORDER BY fence")?;
    let mut rows = statement.query(params![TENANT, n])?;
    let mut logs = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        logs.push(serde_json::from_str(&text)?);
    }
    Ok(logs)
}
