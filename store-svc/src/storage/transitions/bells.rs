//! The places of the dispatch window: held by a bell from the commit that gives it out until a claim names it or it is lost.

use protocol::dispatch::{BELL_TIMEOUT_MS, Outstanding, is_lost, window};
use protocol::envelope::Bell;
use protocol::ids::{Dispatch, JobId};
use protocol::job::State;
use protocol::key::TaskName;
use protocol::store_api::{BellFates, BellId, Reply};
use protocol::time::Timestamp;

use super::memory::{Offered, Place};
use super::{Decided, Transaction};
use crate::storage::row::{Ring, Row};
use crate::storage::sql::{Columns, values};
use crate::storage::{BellSeq, RungBell, StorageError};

impl Transaction<'_> {
    pub(super) fn free_places(&mut self, queue: &str) -> u64 {
        let window = window(self.context.settings.window, self.memory.live.slots(queue));
        window.saturating_sub(self.memory.queue(queue).outstanding())
    }

    /// Gives the row's bell the next place.
    pub(super) fn hold_place(&mut self, row: &Row, by_creator: bool) -> Result<(), StorageError> {
        let offered = Offered { lane: row.lane, row: Some(Place::of(row)) };
        self.hold(&row.queue, BellId { job_id: row.job_id, dispatch: row.job.dispatch }, offered, by_creator)
    }

    pub(super) fn hold(
        &mut self,
        queue: &str,
        bell: BellId,
        offered: Offered,
        by_creator: bool,
    ) -> Result<(), StorageError> {
        let seq = BellSeq(self.memory.bells.0 + 1);
        let query = "INSERT INTO bells (seq, lane, queue, job_id, dispatch, unsent) VALUES (?, ?, ?, ?, ?, ?)";
        let lane = offered.lane;
        self.sql.write(query, values![seq.0, lane.number(), queue, bell.job_id.0, bell.dispatch.0, by_creator])?;
        self.foreseen.hold(bell, queue, seq);
        self.memory.bells = seq;
        self.memory.queue(queue).offered(seq, offered);
        self.memory.tenants.counts(lane, |allowance| allowance.offered += 1);
        self.uses_rate(lane);
        Ok(())
    }

    /// Frees a bell's place and says which it was; a bell has none when it was freed before.
    fn free_place(&mut self, bell: BellId) -> Result<Option<(String, BellSeq)>, StorageError> {
        let Some((name, seq)) = self.remove_bell(bell)? else { return Ok(None) };
        if let Some(lane) = self.memory.queue(&name).taken(seq) {
            self.memory.tenants.counts(lane, |allowance| allowance.offered = allowance.offered.saturating_sub(1));
            self.wake_if_limited(lane)?;
        }
        self.memory.agitate(&name);
        Ok(Some((name, seq)))
    }

    /// A claim named this bell: whatever becomes of the claim, the bell is not in the broker's queue any more.
    pub(super) fn free_named_place(&mut self, bell: BellId) -> Result<(), StorageError> {
        if let Some((name, seq)) = self.free_place(bell)? {
            let queue = self.memory.queue(&name);
            if seq > queue.claimed_through {
                (queue.claimed_through, queue.unsaved) = (seq, true);
            }
        }
        Ok(())
    }

    pub(super) fn bell_fates(&mut self, fates: &BellFates) -> Result<Decided, StorageError> {
        let query = "UPDATE bells SET unsent = 0 WHERE job_id = ? AND dispatch = ? AND unsent = 1";
        for bell in &fates.sent {
            self.sql.write(query, values![bell.job_id.0, bell.dispatch.0])?;
        }
        for bell in &fates.ring_again {
            if let Some(rung) = self.ring_again(*bell)? {
                self.signals.rung.push(rung);
            }
        }
        Ok(Ok(Reply::Done))
    }

    pub(super) fn take_over_unsent(&mut self, through: BellSeq) -> Result<Vec<RungBell>, StorageError> {
        let query = "SELECT job_id, dispatch FROM bells WHERE unsent = 1 AND seq <= ? ORDER BY seq";
        let unsent = self.sql.all(query, values![through.0], read_bell)?;
        let mut rung = Vec::with_capacity(unsent.len());
        for bell in unsent {
            self.count("bell_taken_over");
            rung.extend(self.ring_again(bell)?);
        }
        Ok(rung)
    }

    /// The same bell once more, at the end of its queue; `None`: its job does not wait for it any more, or its queue is paused.
    fn ring_again(&mut self, bell: BellId) -> Result<Option<RungBell>, StorageError> {
        let held = self.free_place(bell)?;
        let row = self.load(bell.job_id)?;
        if row.is_none() {
            self.has_ended_or_is_missing(bell.job_id)?;
        }
        match row.filter(|row| is_rung(row, bell)) {
            Some(mut row) if self.memory.queue(&row.queue).is_paused() => {
                self.place(&mut row);
                self.save(&row)?;
                Ok(None)
            }
            Some(row) if held.is_some() => {
                self.hold_place(&row, false)?;
                message(&row.queue, bell, &row.task, row.created_at, row.trace.clone()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The job's row, if it is rung.
    fn rung_row(&mut self, bell: BellId) -> Result<Option<Row>, StorageError> {
        Ok(self.load(bell.job_id)?.filter(|row| is_rung(row, bell)))
    }

    pub(super) fn unring_one(&mut self, bell: BellId) -> Result<(), StorageError> {
        self.free_place(bell)?;
        if let Some(mut row) = self.rung_row(bell)? {
            self.place(&mut row);
            self.save(&row)?;
        }
        Ok(())
    }

    pub(super) fn lose_aged(&mut self, queue: &str, aged: BellSeq, queue_empty: bool) -> Result<u64, StorageError> {
        let claimed_through = self.memory.queue(queue).claimed_through;
        let query = "SELECT job_id, dispatch, seq FROM bells WHERE queue = ? AND seq <= ? ORDER BY seq";
        let out = self
            .sql
            .all(query, values![queue, aged.0], |columns| Ok((read_bell(columns)?, BellSeq(columns.counter()?))))?;
        let lost = |(bell, seq): (BellId, BellSeq)| {
            let later_bell_claimed = seq < claimed_through;
            is_lost(Outstanding { age_ms: BELL_TIMEOUT_MS, queue_empty, later_bell_claimed }).then_some(bell)
        };
        let lost: Vec<BellId> = out.into_iter().filter_map(lost).collect();
        for bell in &lost {
            self.count("bell_lost");
            self.unring_one(*bell)?;
        }
        Ok(u64::try_from(lost.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn forget_all_bells(&mut self) -> Result<(), StorageError> {
        let held = self.sql.all("SELECT job_id, dispatch FROM bells", &[], read_bell)?;
        held.into_iter().try_for_each(|bell| self.unring_one(bell))
    }
}

fn read_bell(columns: &mut dyn Columns) -> Result<BellId, StorageError> {
    let job_id = JobId(columns.uuid()?);
    Ok(BellId { job_id, dispatch: Dispatch(columns.counter()?) })
}

/// The message that rings the row.
pub(super) fn message(
    queue: &str,
    bell: BellId,
    task: &str,
    created_at: i64,
    trace: Option<String>,
) -> Result<RungBell, StorageError> {
    let task = TaskName::try_from(task).map_err(|error| StorageError::Internal(error.to_string()))?;
    let bell = Bell::new(bell.job_id, bell.dispatch, task, Timestamp::from_unix_ms(created_at), trace);
    Ok(RungBell { queue: queue.to_owned(), bell })
}

/// Whether the row was rung with this bell and is still queued under it.
fn is_rung(row: &Row, bell: BellId) -> bool {
    row.job.state == State::Queued && row.job.dispatch == bell.dispatch && row.ring == Some(Ring::Rung)
}
