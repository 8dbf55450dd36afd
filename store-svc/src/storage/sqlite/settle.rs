//! How attempts and jobs end or start again: complete, release, reap, cancel, retry, due, and the fence over invalidations.

use protocol::api::{ErrorKind, JobError};
use protocol::ids::{Epoch, JobId, Position};
use protocol::job::{Cancelled, Ended, Settled, State};
use protocol::problem::Kind;
use protocol::retry::CRASH_BACKOFF;
use protocol::store_api::{Complete, JobFence, Outcome, Release, Reply};
use rusqlite::params;

use super::row::{Row, job_columns};
use super::transaction::{Decided, Transaction};
use super::{StorageError, TENANT};
use crate::storage::NewsItem;

impl Transaction<'_> {
    pub(super) fn complete(&mut self, complete: &Complete) -> Result<Decided, StorageError> {
        let Some(mut row) = Row::load(self.sql, complete.job_id)? else {
            return Ok(Err(Kind::NotFound.problem()));
        };
        let before = row.job.clone();
        let ended = match &complete.outcome {
            Outcome::Succeeded { .. } => Ended::Succeeded,
            Outcome::Failed { may_retry, .. } => Ended::Failed { may_retry: *may_retry },
        };
        let settled = row.job.complete(complete.fence, ended);
        if settled == Settled::Recorded {
            self.take_outcome(&mut row, &complete.outcome)?;
            self.record(&mut row, &before)?;
        }
        Ok(Ok(self.settled(settled, &row)))
    }

    fn take_outcome(&mut self, row: &mut Row, outcome: &Outcome) -> Result<(), StorageError> {
        match outcome {
            Outcome::Succeeded { result } => {
                // The last report may have been overtaken by the outcome: what is done has no progress.
                (row.error, row.progress) = (None, None);
                if let Some(result) = result {
                    let query = "INSERT OR REPLACE INTO results (n, tenant, result) VALUES (?, ?, ?)";
                    self.sql.prepare_cached(query)?.execute(params![row.n, TENANT, result.get()])?;
                }
            }
            Outcome::Failed { error, .. } => {
                row.error = Some(error.clone());
                if row.job.state == State::Scheduled {
                    let random = self.random();
                    let wait_ms = self.context.settings.backoff.wait_ms(row.job.attempt, random);
                    let due_at = self.context.wall_ms + wait_ms.cast_signed();
                    row.due_at = Some(due_at);
                    self.due(due_at);
                }
            }
        }
        Ok(())
    }

    pub(super) fn release(&mut self, release: &Release) -> Result<Decided, StorageError> {
        let Some(mut row) = Row::load(self.sql, release.job_id)? else {
            return Ok(Err(Kind::NotFound.problem()));
        };
        let before = row.job.clone();
        let settled = row.job.release(release.fence);
        if settled == Settled::Recorded {
            self.count("released");
            self.record(&mut row, &before)?;
        }
        Ok(Ok(self.settled(settled, &row)))
    }

    fn settled(&mut self, settled: Settled, row: &Row) -> Reply {
        self.count(match settled {
            Settled::Recorded => "settled",
            Settled::AlreadyRecorded => "settled_again",
            Settled::Refused => "refused",
        });
        Reply::Settled { settled, status: Some(row.job.state.into()) }
    }

    pub(super) fn reap_lease(&mut self, lease: JobFence, renewal: u64) -> Result<bool, StorageError> {
        let Some(mut row) = Row::load(self.sql, lease.job_id)? else { return Ok(false) };
        let before = row.job.clone();
        if row.job.reap(lease.fence, renewal).is_err() {
            return Ok(false);
        }
        if row.job.state == State::Scheduled {
            let wait_ms = CRASH_BACKOFF.wait_ms(row.job.crashes - 1, self.random());
            let due_at = self.context.wall_ms + wait_ms.cast_signed();
            row.due_at = Some(due_at);
            self.due(due_at);
        }
        if row.job.state == State::Failed {
            let message = format!("its worker died under it {} times", row.job.crashes);
            row.error = Some(JobError { kind: ErrorKind::Crashed, message });
        }
        self.tell(row.session, NewsItem::Lost(lease));
        self.count("reaped");
        self.record(&mut row, &before)?;
        Ok(true)
    }

    pub(super) fn cancel(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        let Some(mut row) = Row::load(self.sql, job_id)? else {
            return Ok(Err(Kind::NotFound.problem()));
        };
        let before = row.job.clone();
        let cancelled = row.job.cancel();
        if row.job != before {
            row.cancel_requested_at = Some(self.context.wall_ms);
            if cancelled == Cancelled::Requested {
                let lease = JobFence { job_id, fence: row.job.fence };
                self.tell(row.session, NewsItem::Cancelled(lease));
            }
            self.record(&mut row, &before)?;
        }
        let job = Box::new(self.view(&row)?);
        Ok(Ok(Reply::Cancelled { cancelled, job }))
    }

    pub(super) fn retry(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        let Some(mut row) = Row::load(self.sql, job_id)? else {
            return Ok(Err(Kind::NotFound.problem()));
        };
        let before = row.job.clone();
        if !row.job.retry() {
            return Ok(Ok(Reply::Retried { job: None }));
        }
        (row.started_at, row.finished_at, row.cancel_requested_at, row.due_at) = (None, None, None, None);
        (row.error, row.progress, row.session) = (None, None, None);
        self.record(&mut row, &before)?;
        self.count("retried");
        Ok(Ok(Reply::Retried { job: Some(Box::new(self.view(&row)?)) }))
    }

    pub(super) fn queue_due(&mut self, limit: u32) -> Result<bool, StorageError> {
        let query = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE tenant = ?1 AND state = 'scheduled' AND due_at <= ?2 ORDER BY due_at LIMIT ?3"
        );
        let scheduled = self.rows(query, limit)?;
        let query = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE tenant = ?1 AND ring = 'deferred' AND ring_at <= ?2 ORDER BY ring_at LIMIT ?3"
        );
        let deferred = self.rows(query, limit)?;
        let full = |rows: &[Row]| u32::try_from(rows.len()).is_ok_and(|count| count >= limit);
        let more = full(&scheduled) || full(&deferred);
        for mut row in scheduled {
            let before = row.job.clone();
            if row.job.due() {
                row.due_at = None;
                self.record(&mut row, &before)?;
            }
        }
        for mut row in deferred {
            self.place(&mut row);
            row.save(self.sql)?;
        }
        Ok(more)
    }

    fn rows(&self, query: &str, limit: u32) -> Result<Vec<Row>, StorageError> {
        let mut statement = self.sql.prepare_cached(query)?;
        let mut rows = statement.query(params![TENANT, self.context.wall_ms, limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Row::read(row)?);
        }
        Ok(found)
    }

    /// Everything in the log up to `through` is fenced: jobs that waited for it are done in the same commit.
    pub(super) fn fenced(&mut self, epoch: Epoch, through: Position) -> Result<Decided, StorageError> {
        let known = self.memory.holding.is_present(epoch) && through <= self.memory.head;
        if !known {
            self.count("fenced_refused");
            return Ok(Ok(Reply::Fenced { fenced_through: None }));
        }
        if through > self.memory.fenced_through {
            self.memory.fenced_through = through;
            let query = "UPDATE meta SET fenced_through = ? WHERE tenant = ?";
            self.sql.prepare_cached(query)?.execute(params![through.0.cast_signed(), TENANT])?;
            self.finish_fenced(through)?;
        }
        Ok(Ok(Reply::Fenced { fenced_through: Some(self.memory.fenced_through) }))
    }

    fn finish_fenced(&mut self, through: Position) -> Result<(), StorageError> {
        let query = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE tenant = ? AND state = 'finishing' AND invalidation <= ? ORDER BY invalidation"
        );
        let mut found = Vec::new();
        {
            let mut statement = self.sql.prepare_cached(query)?;
            let mut rows = statement.query(params![TENANT, through.0.cast_signed()])?;
            while let Some(row) = rows.next()? {
                found.push(Row::read(row)?);
            }
        }
        for mut row in found {
            let before = row.job.clone();
            if row.job.fence_closed() {
                row.invalidation = None;
                self.record(&mut row, &before)?;
            }
        }
        Ok(())
    }
}
