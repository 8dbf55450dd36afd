//! Keeps what only grows within its bounds: the log and the idempotency keys.

use rusqlite::{OptionalExtension as _, params};

use super::transaction::Transaction;
use super::{StorageError, TENANT};

impl Transaction<'_> {
    /// The head itself is never dropped: it says where the log goes on after a restart.
    pub(super) fn trim_log_entries(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        let bound = self.log_keeps_after()?;
        let query = "SELECT position, at FROM log WHERE position <= ? ORDER BY position LIMIT ?";
        let mut through = None;
        let mut seen = 0;
        {
            let mut statement = self.sql.prepare_cached(query)?;
            let mut rows = statement.query(params![bound, limit])?;
            while let Some(row) = rows.next()? {
                let (position, at): (i64, i64) = (row.get(0)?, row.get(1)?);
                if at >= before_wall_ms {
                    break;
                }
                through = Some(position);
                seen += 1;
            }
        }
        let Some(through) = through else { return Ok(false) };
        self.sql.prepare_cached("DELETE FROM log WHERE position <= ?")?.execute([through])?;
        let query = "UPDATE meta SET log_start = ? WHERE tenant = ?";
        self.sql.prepare_cached(query)?.execute(params![through, TENANT])?;
        Ok(seen == limit)
    }

    /// Before the first invalidation that is not fenced, and before the head.
    fn log_keeps_after(&self) -> Result<i64, StorageError> {
        let query = "SELECT min(position) FROM log WHERE tenant = ? AND kind = 1 AND position > ?";
        let fenced_through = self.memory.fenced_through.0.cast_signed();
        let unfenced: Option<i64> =
            self.sql.prepare_cached(query)?.query_row(params![TENANT, fenced_through], |row| row.get(0))?;
        let head = self.memory.head.0.cast_signed();
        Ok(unfenced.unwrap_or(head).min(head) - 1)
    }

    pub(super) fn trim_idempotency_keys(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        let query = "SELECT created_at FROM idempotency_keys WHERE tenant = ? AND created_at < ?
                     ORDER BY created_at LIMIT 1 OFFSET ?";
        let mut statement = self.sql.prepare_cached(query)?;
        let beyond: Option<i64> =
            statement.query_row(params![TENANT, before_wall_ms, limit], |row| row.get(0)).optional()?;
        let bound = beyond.unwrap_or(before_wall_ms);
        let query = "DELETE FROM idempotency_keys WHERE tenant = ? AND created_at < ?";
        self.sql.prepare_cached(query)?.execute(params![TENANT, bound])?;
        Ok(beyond.is_some())
    }
}
