//! Keeps what only grows within its bounds: the log and the idempotency keys.

use std::ops::ControlFlow;

use super::Transaction;
use crate::storage::sql::values;
use crate::storage::{SYSTEM, StorageError};

impl Transaction<'_> {
    /// The head itself is never dropped: it says where the log goes on after a restart.
    pub(super) fn trim_log_entries(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        let bound = self.log_keeps_after()?;
        let query = "SELECT position, at FROM log WHERE position <= ? ORDER BY position LIMIT ?";
        let mut through = None;
        let mut seen = 0;
        self.sql.query(query, values![bound, limit], &mut |columns| {
            let (position, at) = (columns.int()?, columns.int()?);
            if at >= before_wall_ms {
                return Ok(ControlFlow::Break(()));
            }
            through = Some(position);
            seen += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(through) = through else { return Ok(false) };
        self.sql.write("DELETE FROM log WHERE position <= ?", values![through])?;
        self.sql.write("UPDATE meta SET log_start = ? WHERE tenant = ?", values![through, SYSTEM])?;
        Ok(seen == limit)
    }

    /// Before the first invalidation that is not fenced, and before the head.
    fn log_keeps_after(&mut self) -> Result<i64, StorageError> {
        let query = "SELECT min(position) FROM log WHERE tenant = ? AND kind = 1 AND position > ?";
        let fenced_through = self.memory.fenced_through.0;
        let unfenced = self.sql.single(query, values![SYSTEM, fenced_through], |columns| columns.maybe_int())?;
        let head = self.memory.head.0.cast_signed();
        Ok(unfenced.unwrap_or(head).min(head) - 1)
    }

    pub(super) fn trim_idempotency_keys(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        let query = "SELECT created_at FROM idempotency_keys WHERE created_at < ?
                     ORDER BY created_at LIMIT 1 OFFSET ?";
        let beyond = self.sql.one(query, values![before_wall_ms, limit], |columns| columns.int())?;
        let bound = beyond.unwrap_or(before_wall_ms);
        let query = "DELETE FROM idempotency_keys WHERE created_at < ?";
        self.sql.write(query, values![bound])?;
        Ok(beyond.is_some())
    }
}
