//! A job as its clients see it.

use chassis::trace::TraceParent;
use protocol::api::{JobView, Links, Progress, WaitingFor};
use protocol::job::State;
use protocol::namespace;
use protocol::time::Timestamp;
use serde_json::value::RawValue;

use super::Transaction;
use super::tenants::Reached;
use crate::storage::row::{Ring, Row};
use crate::storage::sql::{Sql, values};
use crate::storage::{Live, StorageError};

impl Transaction<'_> {
    pub(super) fn view(&mut self, row: &Row) -> Result<JobView, StorageError> {
        let paused = self.memory.queue(&row.queue).is_paused();
        let reached = self.memory.tenants.reached(row.lane, self.context.wall_ms);
        let held_back = reached.as_ref().map(Reached::waiting_for);
        view(self.sql, row, &self.memory.live, Around { paused, held_back })
    }
}

/// What keeps a queued row from being offered, besides the workers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    pub(super) paused: bool,
    /// By which limit, if one is reached.
    pub(super) held_back: Option<WaitingFor>,
}

pub(super) fn view(sql: &mut dyn Sql, row: &Row, live: &Live, around: Around) -> Result<JobView, StorageError> {
    let result = if row.job.state == State::Succeeded { result(sql, row.n)? } else { None };
    Ok(JobView { result, ..bare(row, live, around)? })
}

/// Without its result.
pub(super) fn bare(row: &Row, live: &Live, around: Around) -> Result<JobView, StorageError> {
    let state = row.job.state;
    let progress: Option<Progress> = row.progress.as_deref().map(serde_json::from_str).transpose()?;
    let invalidates: Option<Vec<String>> = row.invalidates.as_deref().map(serde_json::from_str).transpose()?;
    let as_known = |key: String| namespace::public(&key).to_owned();
    Ok(JobView {
        job_id: row.job_id,
        task: row.task.clone(),
        queue: row.queue.clone(),
        priority: row.priority,
        status: state.into(),
        waiting_for: waiting_for(row, live, around),
        run: row.job.run,
        attempt: row.job.attempt,
        max_attempts: row.job.max_attempts,
        crashes: row.job.crashes,
        progress,
        result: None,
        error: row.error.clone(),
        invalidates: invalidates.unwrap_or_default().into_iter().map(as_known).collect(),
        timeout_ms: row.timeout_ms,
        start_deadline_ms: row.start_deadline_ms,
        unique_key: row.unique_key.clone(),
        schedule: row.schedule.as_deref().map(serde_json::from_str).transpose()?,
        trace_id: row.trace.as_deref().and_then(recorded),
        created_at: Timestamp::from_unix_ms(row.created_at),
        run_at: row.due_at.filter(|_| state == State::Scheduled).map(Timestamp::from_unix_ms),
        start_by: row.start_by.map(Timestamp::from_unix_ms),
        started_at: row.started_at.map(Timestamp::from_unix_ms),
        finished_at: row.finished_at.map(Timestamp::from_unix_ms),
        cancel_requested_at: row.cancel_requested_at.map(Timestamp::from_unix_ms),
        links: Links::of(row.job_id),
    })
}

/// The id of a trace, if there is more of it than the id.
fn recorded(trace: &str) -> Option<String> {
    let trace = TraceParent::parse(trace).filter(|trace| trace.is_sampled())?;
    Some(format!("{:032x}", trace.trace_id()))
}

/// Whether the broker is away is not in the rows: whoever answers turns `slot` into `broker` then.
pub(super) fn waiting_for(row: &Row, live: &Live, around: Around) -> Option<WaitingFor> {
    match row.job.state {
        State::Scheduled => Some(WaitingFor::DueTime),
        State::Queued if around.paused => Some(WaitingFor::QueuePaused),
        State::Queued if !live.matches(&row.queue, &row.task) && !live.pulls(&row.queue, &row.task) => {
            Some(WaitingFor::Worker)
        }
        State::Queued => around.held_back.filter(|_| row.ring != Some(Ring::Rung)).or(Some(WaitingFor::Slot)),
        State::Running | State::Finishing | State::Succeeded | State::Failed | State::Cancelled => None,
    }
}

pub(super) fn result(sql: &mut dyn Sql, n: i64) -> Result<Option<Box<RawValue>>, StorageError> {
    sql.one("SELECT result FROM results WHERE n = ?", values![n], |columns| columns.json())
}
