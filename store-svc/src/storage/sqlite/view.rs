//! A job as its clients see it.

use protocol::api::{JobView, Links, Progress, WaitingFor};
use protocol::job::State;
use protocol::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::value::RawValue;

use super::StorageError;
use super::row::Row;
use super::transaction::Transaction;
use crate::storage::Live;

impl Transaction<'_> {
    pub(super) fn view(&mut self, row: &Row) -> Result<JobView, StorageError> {
        let paused = self.memory.queue(&row.queue).paused;
        view(self.sql, row, &self.memory.live, paused)
    }
}

pub(super) fn view(sql: &Connection, row: &Row, live: &Live, paused: bool) -> Result<JobView, StorageError> {
    let state = row.job.state;
    let progress: Option<Progress> = row.progress.as_deref().map(serde_json::from_str).transpose()?;
    let invalidates = row.invalidates.as_deref().map(serde_json::from_str).transpose()?;
    Ok(JobView {
        job_id: row.job_id,
        task: row.task.clone(),
        queue: row.queue.clone(),
        priority: row.priority,
        status: state.into(),
        waiting_for: waiting_for(row, live, paused),
        run: row.job.run,
        attempt: row.job.attempt,
        max_attempts: row.job.max_attempts,
        crashes: row.job.crashes,
        progress,
        result: if state == State::Succeeded { result(sql, row.n)? } else { None },
        error: row.error.clone(),
        invalidates: invalidates.unwrap_or_default(),
        timeout_ms: row.timeout_ms,
        created_at: Timestamp::from_unix_ms(row.created_at),
        run_at: row.due_at.filter(|_| state == State::Scheduled).map(Timestamp::from_unix_ms),
        started_at: row.started_at.map(Timestamp::from_unix_ms),
        finished_at: row.finished_at.map(Timestamp::from_unix_ms),
        cancel_requested_at: row.cancel_requested_at.map(Timestamp::from_unix_ms),
        links: Links::of(row.job_id),
    })
}

/// Whether the broker is away is not in the rows: whoever answers turns `slot` into `broker` then.
fn waiting_for(row: &Row, live: &Live, paused: bool) -> Option<WaitingFor> {
    match row.job.state {
        State::Scheduled => Some(WaitingFor::DueTime),
        State::Queued if paused => Some(WaitingFor::QueuePaused),
        State::Queued if !live.matches(&row.queue, &row.task) && !live.pulls(&row.queue, &row.task) => {
            Some(WaitingFor::Worker)
        }
        State::Queued => Some(WaitingFor::Slot),
        State::Running | State::Finishing | State::Succeeded | State::Failed | State::Cancelled => None,
    }
}

pub(super) fn result(sql: &Connection, n: i64) -> Result<Option<Box<RawValue>>, StorageError> {
    let mut statement = sql.prepare_cached("SELECT result FROM results WHERE n = ?")?;
    let text: Option<String> = statement.query_row(params![n], |row| row.get(0)).optional()?;
    Ok(text.map(RawValue::from_string).transpose()?)
}
