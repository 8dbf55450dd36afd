//! Which waiting rows get the free places of a queue: those that come first in its [line](super::line), at a cost that does not grow with what
//! waits.

use super::Transaction;
use super::bells::message;
use super::line::{Line, Purpose, STRETCH_MAX, Waiting};
use super::memory::Offered;
use crate::storage::row::Ring;
use crate::storage::sql::values;
use crate::storage::{Rung, RungBell, StorageError};

/// The most rows that one step looks at.
const LOOKED_AT_MAX: usize = STRETCH_MAX;

impl Transaction<'_> {
    pub(super) fn ring_queue(&mut self, name: &str) -> Result<Rung, StorageError> {
        let paused = self.memory.queue(name).is_paused();
        if paused || !self.memory.live.consumes(name) {
            self.memory.restless.remove(name);
            return Ok(Rung::default());
        }
        let mut rung = Rung::default();
        let mut free = self.free_places(name);
        let mut line = Line::new(name, Purpose::Ring, usize::try_from(free).unwrap_or(usize::MAX));
        for _ in 0..LOOKED_AT_MAX {
            // Whoever frees a place agitates the queue again.
            let next = if free == 0 { None } else { self.next_in(&mut line)? };
            let Some(row) = next else {
                self.memory.restless.remove(name);
                self.memory.queue(name).looked_through |= free > 0;
                return Ok(rung);
            };
            if self.memory.live.matches(name, &row.task) {
                rung.bells.push(self.ring_row(name, &row)?);
                free -= 1;
            } else if row.ring == Ring::Ready {
                self.set_ring(row.place.n, row.bell.job_id, Ring::NoMatch)?;
            }
            self.looked_at(name, &row);
        }
        Ok(Rung { more: true, ..rung })
    }

    fn looked_at(&mut self, name: &str, row: &Waiting) {
        if let Some(reached) = &mut self.memory.queue(name).part(row.lane).looked_through {
            *reached = (*reached).max(row.place);
        }
    }

    fn ring_row(&mut self, queue: &str, row: &Waiting) -> Result<RungBell, StorageError> {
        self.set_ring(row.place.n, row.bell.job_id, Ring::Rung)?;
        self.hold(queue, row.bell, Offered { lane: row.lane, row: Some(row.place) }, false)?;
        self.count("rung");
        message(queue, row.bell, &row.task, row.created_at, row.trace.clone())
    }

    /// A task became known in the queue: everything that waits in it is looked at again.
    pub(super) fn look_through_again(&mut self, name: &str) -> Result<(), StorageError> {
        self.memory.queue(name).look_through_again();
        self.memory.agitate(name);
        let query = "UPDATE jobs SET ring = 'ready', ring_at = NULL WHERE ring = 'deferred' AND queue = ?";
        self.foreseen.forget_rows();
        self.sql.write(query, values![name])
    }
}
