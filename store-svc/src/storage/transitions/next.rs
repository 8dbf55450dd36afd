//! Behind a backlog bells are a detour: a slot that tells how its job ended takes the job that comes next along with the answer. Only
//! rows without a bell are taken so, in the order in which they would be rung: a bell that is out is somebody's already.

use protocol::lease_api::{LEASE_MS, TASKS_MAX};
use protocol::store_api::{Next, PulledJob};

use super::Transaction;
use crate::storage::StorageError;
use crate::storage::row::Row;

/// How many rows are looked at for one whose task the worker knows.
const LOOKED_AT_MAX: usize = 16;

impl Transaction<'_> {
    /// `is_repeated`: it may have been taken before, and the answer lost.
    pub(super) fn next(
        &mut self,
        queue: &str,
        next: &Next,
        is_repeated: bool,
    ) -> Result<Option<PulledJob>, StorageError> {
        let is_sound = LEASE_MS.contains(&next.lease_ms) && next.except.len() <= TASKS_MAX;
        if !is_sound || self.memory.live.session(next.session).is_none() {
            return Ok(None);
        }
        if is_repeated && let Some(taken) = self.pulled_before(next.claim_id)?.pop() {
            return Ok(Some(taken));
        }
        if self.memory.queue(queue).is_paused() || !self.waits_without_bell(queue) {
            return Ok(None);
        }
        for waiting in self.waiting(queue, LOOKED_AT_MAX)?.rows {
            if next.except.iter().any(|pattern| pattern.matches(&waiting.task)) {
                return Ok(None);
            }
            let knows = self.memory.live.session(next.session).is_some_and(|session| session.knows(&waiting.task));
            let row = if knows { Row::load_n(self.sql, waiting.place.n)? } else { None };
            let Some(row) = row else { continue };
            if let Some(taken) = self.pull_row(row, next.claim_id, next.session, next.lease_ms)? {
                self.count("taken_next");
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// A guess that costs nothing: rows whose task nobody knows wait without one, too.
    pub(super) fn waits_without_bell(&mut self, queue: &str) -> bool {
        let queue = self.memory.queue(queue);
        queue.depth.queued > queue.outstanding
    }
}
