//! Behind a backlog bells are a detour: a slot that tells how its job ended takes the job that comes next along with the answer. Only
//! rows without a bell are taken so, in the order in which they would be rung: a bell that is out is somebody's already.

use std::sync::Arc;

use protocol::lease_api::{LEASE_MS, TASKS_MAX};
use protocol::store_api::{Next, PulledJob};

use super::Transaction;
use super::ring::STRETCH;
use crate::storage::StorageError;
use crate::storage::row::Row;

impl Transaction<'_> {
    /// `is_repeated`: it may have been taken before, and the answer lost.
    pub(super) fn next(
        &mut self,
        queue: &str,
        next: &Next,
        is_repeated: bool,
    ) -> Result<Option<PulledJob>, StorageError> {
        let is_sound = LEASE_MS.contains(&next.lease_ms) && next.except.len() <= TASKS_MAX;
        let live = Arc::clone(&self.memory.live);
        let Some(session) = live.session(next.session).filter(|_| is_sound) else { return Ok(None) };
        if is_repeated && let Some(taken) = self.pulled_before(next.claim_id)?.pop() {
            return Ok(Some(taken));
        }
        if self.memory.queue(queue).is_paused() || !self.waits_without_bell(queue) {
            return Ok(None);
        }
        for waiting in self.waiting(queue, STRETCH)?.rows {
            if next.except.iter().any(|pattern| pattern.matches(&waiting.task)) {
                return Ok(None);
            }
            if !session.knows(&waiting.task) {
                continue;
            }
            let Some(row) = Row::load_n(self.sql, waiting.place.n)? else { continue };
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
