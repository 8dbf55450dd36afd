//! The places of the dispatch window: held by a bell from the commit that gives it out until a claim names it or it is lost.

use protocol::dispatch::{BELL_TIMEOUT_MS, Outstanding, is_lost, window};
use protocol::envelope::Bell;
use protocol::ids::{Dispatch, JobId};
use protocol::job::State;
use protocol::key::TaskName;
use protocol::store_api::{BellFates, BellId, Reply};
use protocol::time::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::columns::{Columns, Ring};
use super::row::Row;
use super::transaction::{Decided, Transaction};
use super::{StorageError, TENANT};
use crate::storage::{BellSeq, RungBell};

impl Transaction<'_> {
    pub(super) fn free_places(&mut self, queue: &str) -> u64 {
        let window = window(self.context.settings.window, self.memory.live.slots(queue));
        window.saturating_sub(self.memory.queue(queue).outstanding)
    }

    /// Gives the row's bell the next place.
    pub(super) fn hold_place(&mut self, row: &Row, by_creator: bool) -> Result<(), StorageError> {
        let seq = BellSeq(self.memory.bells.0 + 1);
        let query = "INSERT INTO bells (seq, tenant, queue, job_id, dispatch, unsent) VALUES (?, ?, ?, ?, ?, ?)";
        self.sql.prepare_cached(query)?.execute(params![
            seq.0.cast_signed(),
            TENANT,
            row.queue,
            row.job_id.0.as_bytes(),
            row.job.dispatch.0.cast_signed(),
            by_creator,
        ])?;
        self.memory.bells = seq;
        self.memory.queue(&row.queue).outstanding += 1;
        Ok(())
    }

    /// Frees a bell's place and says which it was; a bell has none when it was freed before.
    fn free_place(&mut self, bell: BellId) -> Result<Option<(String, BellSeq)>, StorageError> {
        let query = "DELETE FROM bells WHERE tenant = ? AND job_id = ? AND dispatch = ? RETURNING queue, seq";
        let mut statement = self.sql.prepare_cached(query)?;
        let freed: Option<(String, i64)> = statement
            .query_row(params![TENANT, bell.job_id.0.as_bytes(), bell.dispatch.0.cast_signed()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((name, seq)) = freed else { return Ok(None) };
        let queue = self.memory.queue(&name);
        queue.outstanding = queue.outstanding.saturating_sub(1);
        self.memory.agitate(&name);
        Ok(Some((name, BellSeq(seq.cast_unsigned()))))
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
        let query = "UPDATE bells SET unsent = 0 WHERE tenant = ? AND job_id = ? AND dispatch = ? AND unsent = 1";
        for bell in &fates.sent {
            let key = params![TENANT, bell.job_id.0.as_bytes(), bell.dispatch.0.cast_signed()];
            self.sql.prepare_cached(query)?.execute(key)?;
        }
        for bell in &fates.ring_again {
            if let Some(rung) = self.ring_again(*bell)? {
                self.signals.rung.push(rung);
            }
        }
        Ok(Ok(Reply::Done))
    }

    pub(super) fn take_over_unsent(&mut self, through: BellSeq) -> Result<Vec<RungBell>, StorageError> {
        let mut unsent = Vec::new();
        {
            let query = "SELECT job_id, dispatch FROM bells WHERE tenant = ? AND unsent = 1 AND seq <= ? ORDER BY seq";
            let mut statement = self.sql.prepare_cached(query)?;
            let mut rows = statement.query(params![TENANT, through.0.cast_signed()])?;
            while let Some(row) = rows.next()? {
                let mut columns = Columns::of(row);
                let job_id = JobId(columns.uuid()?);
                unsent.push(BellId { job_id, dispatch: Dispatch(columns.counter()?) });
            }
        }
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
        match self.rung_row(bell)? {
            Some(mut row) if self.memory.queue(&row.queue).is_paused() => {
                self.place(&mut row);
                row.save(self.sql)?;
                Ok(None)
            }
            Some(row) if held.is_some() => {
                self.hold_place(&row, false)?;
                rung_bell(&row).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The job's row, if it was rung with this bell and is still queued under it.
    fn rung_row(&self, bell: BellId) -> Result<Option<Row>, StorageError> {
        let row = Row::load(self.sql, bell.job_id)?;
        Ok(row.filter(|row| {
            row.job.state == State::Queued && row.job.dispatch == bell.dispatch && row.ring == Some(Ring::Rung)
        }))
    }

    pub(super) fn unring_one(&mut self, bell: BellId) -> Result<(), StorageError> {
        self.free_place(bell)?;
        if let Some(mut row) = self.rung_row(bell)? {
            self.place(&mut row);
            row.save(self.sql)?;
        }
        Ok(())
    }

    pub(super) fn lose_aged(&mut self, queue: &str, aged: BellSeq, queue_empty: bool) -> Result<u64, StorageError> {
        let claimed_through = self.memory.queue(queue).claimed_through;
        let mut lost = Vec::new();
        {
            let query =
                "SELECT job_id, dispatch, seq FROM bells WHERE tenant = ? AND queue = ? AND seq <= ? ORDER BY seq";
            let mut statement = self.sql.prepare_cached(query)?;
            let mut rows = statement.query(params![TENANT, queue, aged.0.cast_signed()])?;
            while let Some(row) = rows.next()? {
                let mut columns = Columns::of(row);
                let job_id = JobId(columns.uuid()?);
                let bell = BellId { job_id, dispatch: Dispatch(columns.counter()?) };
                let later_bell_claimed = BellSeq(columns.counter()?) < claimed_through;
                if is_lost(Outstanding { age_ms: BELL_TIMEOUT_MS, queue_empty, later_bell_claimed }) {
                    lost.push(bell);
                }
            }
        }
        for bell in &lost {
            self.count("bell_lost");
            self.unring_one(*bell)?;
        }
        Ok(u64::try_from(lost.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn forget_all_bells(&mut self) -> Result<(), StorageError> {
        let mut held = Vec::new();
        {
            let mut statement = self.sql.prepare_cached("SELECT job_id, dispatch FROM bells WHERE tenant = ?")?;
            let mut rows = statement.query([TENANT])?;
            while let Some(row) = rows.next()? {
                let mut columns = Columns::of(row);
                let job_id = JobId(columns.uuid()?);
                held.push(BellId { job_id, dispatch: Dispatch(columns.counter()?) });
            }
        }
        held.into_iter().try_for_each(|bell| self.unring_one(bell))
    }
}

/// The message that rings the row.
pub(super) fn rung_bell(row: &Row) -> Result<RungBell, StorageError> {
    let task = TaskName::try_from(row.task.as_str()).map_err(|error| StorageError::Internal(error.to_string()))?;
    let created_at = Timestamp::from_unix_ms(row.created_at);
    let bell = Bell::new(row.job_id, row.job.dispatch, task, created_at, row.trace.clone());
    Ok(RungBell { queue: row.queue.clone(), bell })
}
