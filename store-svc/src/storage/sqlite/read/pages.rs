//! Pages: of jobs, newest first, and of the log, oldest first. Each call looks at a bounded number of rows.

use protocol::api::Status;
use protocol::bulk_retry::{PREVIEW_LOOKED_AT_MAX, RetryFilter, RetryPreview, SAMPLE_MAX};
use protocol::ids::Position;
use rusqlite::{Connection, params};

use super::Viewer;
use crate::storage::sqlite::TENANT;
use crate::storage::sqlite::bulk_retry::each_ended;
use crate::storage::sqlite::columns::Columns;
use crate::storage::sqlite::row::Row;
use crate::storage::{JobsPage, JobsQuery, LogKinds, LogRead, StorageError};

/// The most rows that one page of jobs looks at; a page may therefore be short, or empty, and still have a next one.
const LOOKED_AT_MAX: usize = 20_000;
/// Once the results in a page reach this size, it ends, in bytes.
const PAGE_BYTES: usize = 4 << 20;
/// Once the entries in a page of the log reach this size, it ends, in bytes.
const LOG_PAGE_BYTES: usize = 4 << 20;

pub(super) fn jobs(sql: &Connection, query: &JobsQuery) -> Result<JobsPage, StorageError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT n, queue, task FROM jobs WHERE tenant = ? AND n < ? {} ORDER BY n DESC",
        condition(query.status)
    ))?;
    let before = query.before.unwrap_or(i64::MAX);
    let mut rows = statement.query([TENANT, before])?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut page = JobsPage { jobs: Vec::new(), before: None };
    let mut viewer = Viewer::new(sql);
    let (mut looked_at, mut bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let n: i64 = columns.take()?;
        let is_of = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let wanted = is_of(&query.queue, columns.word()?) && is_of(&query.task, columns.word()?);
        if wanted && let Some(row) = Row::load_n(sql, n)? {
            let view = viewer.view(&row)?;
            bytes += view.result.as_ref().map_or(0, |result| result.get().len());
            page.jobs.push(view);
        }
        looked_at += 1;
        if page.jobs.len() >= limit || looked_at >= LOOKED_AT_MAX || bytes >= PAGE_BYTES {
            // Only if something follows: the last page says so itself.
            page.before = rows.next()?.is_some().then_some(n);
            break;
        }
    }
    Ok(page)
}

pub(super) fn preview_retry(sql: &Connection, filter: &RetryFilter) -> Result<RetryPreview, StorageError> {
    let (mut looked_at, mut matching, mut first) = (0, 0, Vec::new());
    let limit = usize::try_from(PREVIEW_LOOKED_AT_MAX).unwrap_or(usize::MAX);
    each_ended(sql, filter, 0, limit, |n, selected| {
        looked_at += 1;
        if selected {
            matching += 1;
            if first.len() < SAMPLE_MAX {
                first.push(n);
            }
        }
    })?;
    let (mut viewer, mut sample) = (Viewer::new(sql), Vec::new());
    for n in first {
        if let Some(row) = Row::load_n(sql, n)? {
            sample.push(viewer.view(&row)?);
        }
    }
    Ok(RetryPreview { matching, exact: looked_at < PREVIEW_LOOKED_AT_MAX, sample })
}

/// Repeats the condition of the index `jobs_open`, so that SQLite uses it.
fn condition(status: Option<Status>) -> &'static str {
    match status {
        None => "",
        Some(Status::Scheduled) => "AND state = 'scheduled' AND state <> 'succeeded'",
        Some(Status::Queued) => "AND state = 'queued' AND state <> 'succeeded'",
        Some(Status::Running) => "AND state IN ('running', 'finishing') AND state <> 'succeeded'",
        Some(Status::Succeeded) => "AND state = 'succeeded'",
        Some(Status::Failed) => "AND state = 'failed' AND state <> 'succeeded'",
        Some(Status::Cancelled) => "AND state = 'cancelled' AND state <> 'succeeded'",
    }
}

pub(super) fn log(sql: &Connection, after: Position, kinds: LogKinds, limit: u32) -> Result<LogRead, StorageError> {
    let query = "SELECT log_start, fenced_through FROM meta WHERE tenant = ?";
    let meta: (i64, i64) = sql.prepare_cached(query)?.query_row([TENANT], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (start, fenced_through) = (meta.0.cast_unsigned(), Position(meta.1.cast_unsigned()));
    if after.0 < start {
        return Ok(LogRead::Trimmed);
    }
    let query = match (kinds.jobs, kinds.invalidations) {
        (true, false) => {
            "SELECT position, change FROM log WHERE tenant = ? AND position > ? AND kind = 0 ORDER BY position LIMIT ?"
        }
        (false, true) => {
            "SELECT position, change FROM log INDEXED BY log_invalidations
             WHERE tenant = ? AND position > ? AND kind = 1 ORDER BY position LIMIT ?"
        }
        _ => "SELECT position, change FROM log WHERE tenant = ? AND position > ? ORDER BY position LIMIT ?",
    };
    let mut statement = sql.prepare_cached(query)?;
    let mut rows = statement.query(params![TENANT, after.0.cast_signed(), limit])?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let position = Position(columns.counter()?);
        let change: String = columns.take()?;
        bytes += change.len();
        entries.push((position, change));
        if entries.len() >= limit || bytes >= LOG_PAGE_BYTES {
            return Ok(LogRead::Page { entries, through: Some(position), fenced_through });
        }
    }
    Ok(LogRead::Page { entries, through: None, fenced_through })
}
