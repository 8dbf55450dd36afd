//! Which waiting rows get the free places of a queue: by priority, then age, at a cost that does not grow with what waits.
//!
//! Rows whose task nobody knows lie apart (`no_match`), so they cost nothing. When a task becomes known, the queue is looked through
//! again in the order of ringing, a bounded stretch at a time; nothing behind the place that was reached is rung before.

use std::ops::ControlFlow;

use protocol::ids::{Dispatch, JobId};
use protocol::store_api::BellId;

use super::Transaction;
use super::bells::message;
use super::memory::Place;
use crate::storage::row::Ring;
use crate::storage::sql::values;
use crate::storage::{Rung, RungBell, StorageError, TENANT};

/// How many rows are looked at first.
pub(super) const STRETCH: usize = 16;
/// The most rows that one step looks at.
const LOOKED_AT_MAX: usize = 1_024;

/// From high to low, as in the rows.
pub(super) const PRIORITIES: std::ops::RangeInclusive<i64> = 0..=2;

/// A waiting row, as far as ringing needs it.
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) task: String,
    ring: Ring,
    bell: BellId,
    created_at: i64,
    trace: Option<String>,
}

impl Transaction<'_> {
    pub(super) fn ring_queue(&mut self, name: &str) -> Result<Rung, StorageError> {
        let paused = self.memory.queue(name).is_paused();
        if paused || !self.memory.live.consumes(name) {
            self.memory.restless.remove(name);
            return Ok(Rung::default());
        }
        let mut bells = Vec::new();
        if self.free_places(name) == 0 {
            // Whoever frees one agitates the queue again.
            self.memory.restless.remove(name);
            return Ok(Rung::default());
        }
        let mut budget = LOOKED_AT_MAX;
        // Mostly a few rows suffice; the stretches grow while nothing in them is known to anybody.
        let mut stretch = STRETCH;
        loop {
            let waiting = self.waiting(name, stretch)?;
            let free = self.ring_stretch(name, &waiting, &mut bells)?;
            budget = budget.saturating_sub(waiting.rows.len());
            if !waiting.more || free == 0 {
                self.memory.restless.remove(name);
                return Ok(Rung { bells, more: false });
            }
            if budget == 0 {
                return Ok(Rung { bells, more: true });
            }
            stretch = (stretch * 4).min(LOOKED_AT_MAX);
        }
    }

    /// Gives the free places to the stretch's rows, in order, and says how many are left.
    fn ring_stretch(&mut self, name: &str, waiting: &Stretch, bells: &mut Vec<RungBell>) -> Result<u64, StorageError> {
        let mut free = self.free_places(name);
        for row in &waiting.rows {
            if free == 0 {
                return Ok(0);
            }
            if self.memory.live.matches(name, &row.task) {
                bells.push(self.ring_row(name, row)?);
                free -= 1;
            } else if row.ring == Ring::Ready {
                self.set_ring(row.place.n, row.bell.job_id, Ring::NoMatch)?;
            }
            self.looked_at(name, row.place);
        }
        if waiting.looked_at_all {
            self.memory.queue(name).looked_through = None;
        }
        Ok(free)
    }

    fn looked_at(&mut self, name: &str, place: Place) {
        if let Some(reached) = &mut self.memory.queue(name).looked_through {
            *reached = (*reached).max(place);
        }
    }

    /// The next stretch of rows that may be rung, in order.
    pub(super) fn waiting(&mut self, name: &str, stretch: usize) -> Result<Stretch, StorageError> {
        let ready = self.rows_at(name, Ring::Ready, Place::START, stretch)?;
        let Some(looked_through) = self.memory.queue(name).looked_through else {
            let more = ready.len() == stretch;
            return Ok(Stretch { rows: ready, more, looked_at_all: false });
        };
        let unmatched = self.rows_at(name, Ring::NoMatch, looked_through, stretch)?;
        // What lies behind the end of a full stretch of either kind must wait for the next one, or it would overtake.
        let end = |rows: &[Waiting]| if rows.len() == stretch { rows.last().map(|row| row.place) } else { None };
        let bound = [end(&ready), end(&unmatched)].into_iter().flatten().min();
        let looked_at_all = unmatched.len() < stretch && bound.is_none();
        let mut rows: Vec<Waiting> = ready.into_iter().chain(unmatched).collect();
        rows.sort_by_key(|row| row.place);
        if let Some(bound) = bound {
            rows.retain(|row| row.place <= bound);
        }
        Ok(Stretch { rows, more: bound.is_some(), looked_at_all })
    }

    /// Each priority by itself: SQLite would begin `(priority, n) > (?, ?)` at the start of the priority, not at the place.
    fn rows_at(&mut self, queue: &str, ring: Ring, after: Place, limit: usize) -> Result<Vec<Waiting>, StorageError> {
        let query = match ring {
            Ring::Ready => {
                "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs
                 WHERE tenant = ? AND queue = ? AND ring = 'ready' AND priority = ? AND n > ?
                 ORDER BY n LIMIT ?"
            }
            _ => {
                "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs
                 WHERE tenant = ? AND queue = ? AND ring = 'no_match' AND priority = ? AND n > ?
                 ORDER BY n LIMIT ?"
            }
        };
        let mut waiting = Vec::new();
        for priority in PRIORITIES.filter(|priority| *priority >= after.priority) {
            let after_n = if priority == after.priority { after.n } else { 0 };
            let room = i64::try_from(limit - waiting.len()).unwrap_or(i64::MAX);
            self.sql.take(query, values![TENANT, queue, priority, after_n, room], &mut |columns| {
                let place = Place { priority, n: columns.int()? };
                let task = columns.text()?;
                let job_id = JobId(columns.uuid()?);
                let bell = BellId { job_id, dispatch: Dispatch(columns.counter()?) };
                let (created_at, trace) = (columns.int()?, columns.maybe_text()?);
                waiting.push(Waiting { place, task, ring, bell, created_at, trace });
                Ok(ControlFlow::Continue(()))
            })?;
            if waiting.len() >= limit {
                break;
            }
        }
        Ok(waiting)
    }

    fn ring_row(&mut self, queue: &str, row: &Waiting) -> Result<RungBell, StorageError> {
        self.set_ring(row.place.n, row.bell.job_id, Ring::Rung)?;
        self.hold(queue, row.bell, false)?;
        self.count("rung");
        message(queue, row.bell, &row.task, row.created_at, row.trace.clone())
    }

    /// A task became known in the queue: everything that waits in it is looked at again.
    pub(super) fn look_through_again(&mut self, name: &str) -> Result<(), StorageError> {
        self.memory.queue(name).looked_through = Some(Place::START);
        self.memory.agitate(name);
        let query =
            "UPDATE jobs SET ring = 'ready', ring_at = NULL WHERE tenant = ? AND ring = 'deferred' AND queue = ?";
        self.foreseen.forget_rows();
        self.sql.write(query, values![TENANT, name])
    }
}

pub(super) struct Stretch {
    pub(super) rows: Vec<Waiting>,
    more: bool,
    /// No unmatched row lies behind these.
    looked_at_all: bool,
}
