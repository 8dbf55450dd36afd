//! The ticks of schedules: each is a job under an id of its own, made in the commit that moves the schedule on. So neither a transition that is
//! repeated nor a clock that is put back makes a second one.

use protocol::problem::Kind;
use protocol::schedule::{JobTemplate, LastTick, MadeBy, Skipped, due, job_of};
use protocol::store_api::{Created, Reply};
use protocol::time::Timestamp;

use super::Transaction;
use super::schedules::{ScheduleRow, schedule_columns};
use crate::storage::StorageError;
use crate::storage::sql::values;

impl Transaction<'_> {
    /// Makes at most so many jobs; `true`: there may be more.
    pub(super) fn run_due_ticks(&mut self, limit: u32) -> Result<bool, StorageError> {
        let query = concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM schedules WHERE next_tick <= ? AND next_tick IS NOT NULL ORDER BY next_tick LIMIT ?"
        );
        let rows = self.sql.take_all(query, values![self.context.wall_ms, limit], ScheduleRow::read)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut more, mut made) = (rows.len() >= limit, 0);
        for row in rows {
            if made >= limit {
                return Ok(true);
            }
            let (jobs, open) = self.run_ticks(row, limit - made)?;
            made += jobs;
            more |= open;
        }
        Ok(more)
    }

    /// How many ticks were run, and whether more of them are due.
    fn run_ticks(&mut self, mut row: ScheduleRow, most: usize) -> Result<(usize, bool), StorageError> {
        let Some(first) = row.next_tick.map(Timestamp::from_unix_ms) else { return Ok((0, false)) };
        let now = Timestamp::from_unix_ms(self.context.wall_ms);
        let due = due(row.ticks(), row.catch_up, first, now, most);
        if due.passed_over {
            tracing::warn!(schedule = %row.name, since = %first, "ticks came while nobody looked; not all of them are run");
            self.count("ticks_passed_over");
        }
        if let Some(tick) = due.missed {
            self.count("tick_missed");
            row.ended(LastTick { tick, at: now, job_id: None, skipped: Some(Skipped::missed()) });
        }
        let (template, made) = (row.template()?, due.run.len());
        for tick in due.run {
            let last = self.run_tick(&row, &template, tick)?;
            row.ended(last);
        }
        row.next_tick = due.next.map(Timestamp::unix_ms);
        row.save_tick(self.sql)?;
        if let Some(next_tick) = row.next_tick {
            self.due(next_tick);
        }
        Ok((made, due.next.is_some_and(|next| next <= now)))
    }

    fn run_tick(&mut self, row: &ScheduleRow, job: &JobTemplate, tick: Timestamp) -> Result<LastTick, StorageError> {
        let known = self.memory.tenants.get(row.tenant);
        let salt =
            known.map(|known| known.salt).ok_or_else(|| StorageError::Internal("a schedule is nobody's".to_owned()))?;
        let job_id = job_of(salt, &row.name, tick);
        let at = Timestamp::from_unix_ms(self.context.wall_ms);
        let made_by = MadeBy { name: row.name.to_string(), tick: Some(tick) };
        let problem = match self.create_by(row.tenant, &job.create(job_id), Some(&made_by))? {
            Ok(Reply::Created(Created { replayed: None, .. })) => {
                self.count("tick_run");
                return Ok(LastTick { tick, at, job_id: Some(job_id), skipped: None });
            }
            Err(problem) if problem.kind() != Some(Kind::JobExpired) => problem,
            // Its job was made before; if it is no longer kept, it has ended.
            Ok(_) | Err(_) => {
                self.count("tick_repeated");
                return Ok(LastTick { tick, at, job_id: Some(job_id), skipped: None });
            }
        };
        tracing::warn!(schedule = %row.name, %tick, reason = %problem.title, "a tick has no job");
        self.count("tick_skipped");
        Ok(LastTick { tick, at, job_id: None, skipped: Some(Skipped::refused(&problem)) })
    }

    /// After the clock was put back: ticks that it shows again lie ahead again. Those that were run have their jobs.
    pub(super) fn recount_all_ticks(&mut self) -> Result<(), StorageError> {
        let query = concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM schedules WHERE next_tick > ? AND next_tick IS NOT NULL ORDER BY tenant, name"
        );
        let now = self.context.wall_ms;
        for mut row in self.sql.take_all(query, values![now], ScheduleRow::read)? {
            let next = row.next_after(now);
            if next != row.next_tick {
                row.next_tick = next;
                row.save_tick(self.sql)?;
                next.into_iter().for_each(|next_tick| self.due(next_tick));
                self.count("ticks_recounted");
            }
        }
        Ok(())
    }
}
