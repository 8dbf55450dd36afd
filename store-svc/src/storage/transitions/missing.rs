//! Jobs that the broker or a worker knows and the store does not: it has lost what it had acknowledged.

use protocol::ids::JobId;

use super::Transaction;
use crate::storage::StorageError;

impl Transaction<'_> {
    /// A bell or a worker names a job that has no row. `true`: it has ended and is no longer kept. What ended long ago is forgotten in the end;
    /// anything else should be here.
    pub(super) fn has_ended_or_is_missing(&mut self, job_id: JobId) -> Result<bool, StorageError> {
        if self.expired_of(job_id)?.is_some() {
            return Ok(true);
        }
        let kept_since_ms = self.context.wall_ms.saturating_sub_unsigned(self.context.settings.retention_ms);
        let may_be_forgotten = job_id.made_ms().is_some_and(|made_ms| made_ms < kept_since_ms);
        if !may_be_forgotten {
            self.signals.missing.push(job_id);
        }
        Ok(false)
    }
}
