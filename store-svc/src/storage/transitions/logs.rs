//! What the last attempts of a job wrote.

use protocol::ids::Fence;
use protocol::logs::{AttemptEnd, AttemptLog, LOGS_KEPT, Output};
use protocol::time::Timestamp;

use super::Transaction;
use crate::storage::StorageError;
use crate::storage::row::Row;
use crate::storage::sql::{Sql, values};

impl Transaction<'_> {
    /// Keeps what the attempt under this fence wrote, in place of the oldest one's if there are too many.
    pub(super) fn keep_log(
        &mut self,
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
        self.sql.write(query, values![row.tenant, row.n, fence.0, &text])?;
        let query = "DELETE FROM logs WHERE tenant = ?1 AND n = ?2 AND fence <=
                         (SELECT fence FROM logs WHERE tenant = ?1 AND n = ?2 ORDER BY fence DESC LIMIT 1 OFFSET ?3)";
        self.sql.write(query, values![row.tenant, row.n, LOGS_KEPT])
    }
}

/// In the order of the attempts.
pub(super) fn logs(sql: &mut dyn Sql, row: &Row) -> Result<Vec<AttemptLog>, StorageError> {
    let query = "SELECT log FROM logs WHERE tenant = ? AND n = ? ORDER BY fence";
    sql.all(query, values![row.tenant, row.n], |columns| Ok(serde_json::from_str(columns.word()?)?))
}
