//! Behind a backlog bells are a detour: a slot that tells how its job ended takes the job that comes next along with the answer. Only
//! rows without a bell are taken so, in the order of the line: a bell that is out is somebody's already.
//!
//! Where several tenants wait, bells come too late: one that is rung now lies behind a window of others. So a delivery is only the news that a slot is
//! free, and its claim is given the job that is due then, whosever; the one that the bell named waits for another bell.

use std::sync::Arc;

use protocol::lease_api::{LEASE_MS, TASKS_MAX};
use protocol::store_api::{Claim, Next, PulledJob};

use super::Transaction;
use super::line::{Line, Purpose, STRETCH};
use super::memory::Place;
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
        let mut line = Line::new(queue, Purpose::Start, 1);
        for _ in 0..STRETCH {
            let Some(waiting) = self.next_in(&mut line)? else { return Ok(None) };
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

    /// The job that is due before the one whose bell was delivered, if the claimant takes it; begun.
    pub(super) fn due_before(&mut self, claim: &Claim, named: &Row) -> Result<Option<PulledJob>, StorageError> {
        let Some(except) = &claim.or_except else { return Ok(None) };
        if except.len() > TASKS_MAX || !self.is_shared(&named.queue) || self.is_turn_of(named) {
            return Ok(None);
        }
        let live = Arc::clone(&self.memory.live);
        let Some(session) = live.session(claim.session) else { return Ok(None) };
        let mut line = Line::new(&named.queue, Purpose::Start, 1).up_to(named.lane, Place::of(named));
        for _ in 0..STRETCH {
            let Some(waiting) = self.next_in(&mut line)? else { return Ok(None) };
            if !session.knows(&waiting.task) || except.iter().any(|pattern| pattern.matches(&waiting.task)) {
                continue;
            }
            let Some(row) = Row::load_n(self.sql, waiting.place.n)? else { continue };
            if let Some(taken) = self.pull_row(row, claim.claim_id, claim.session, claim.lease_ms)? {
                self.count("taken_in_turn");
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    /// A guess that costs nothing: rows whose task nobody knows wait without one, too.
    pub(super) fn waits_without_bell(&mut self, queue: &str) -> bool {
        let queue = self.memory.queue(queue);
        queue.depth.queued > queue.outstanding()
    }
}
