//! Pages: of jobs, newest first, and of the log, oldest first. Each call looks at a bounded number of rows.

use std::ops::ControlFlow;

use protocol::api::Status;
use protocol::bulk_retry::{PREVIEW_LOOKED_AT_MAX, RetryFilter, RetryPreview, SAMPLE_MAX};
use protocol::ids::Position;
use protocol::job::State;

use super::Viewer;
use crate::storage::row::{Row, state_word};
use crate::storage::sql::{Sql, values};
use crate::storage::transitions::bulk_retry::each_ended;
use crate::storage::{JobsPage, JobsQuery, LogKinds, LogRead, SYSTEM, StorageError};

/// The most rows that one page of jobs looks at; a page may therefore be short, or empty, and still have a next one.
const LOOKED_AT_MAX: usize = 20_000;
/// Once the results in a page reach this size, it ends, in bytes.
const PAGE_BYTES: usize = 4 << 20;
/// Once the entries in a page of the log reach this size, it ends, in bytes.
const LOG_PAGE_BYTES: usize = 4 << 20;

/// Rows that are looked at in one query, if that many are wanted.
const STRETCH: u32 = 1_000;

/// A row of the list, as far as the filters need it.
struct Listed {
    n: i64,
    tenant: i64,
    queue: String,
    task: String,
    has_succeeded: bool,
}

pub(super) fn jobs(sql: &mut dyn Sql, tenant: i64, query: &JobsQuery) -> Result<JobsPage, StorageError> {
    let mut page = JobsPage { jobs: Vec::new(), before: None };
    let mut viewer = Viewer::default();
    let (mut before, mut looked_at, mut bytes) = (query.before.unwrap_or(i64::MAX), 0, 0);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    // One more than fits says whether something follows: the last page says so itself.
    let mut stretch = query.limit.saturating_add(1).min(STRETCH);
    loop {
        let listed = sql.all(statement(query.status, tenant), values![tenant, before, stretch], |columns| {
            let (n, tenant, queue, task) = (columns.int()?, columns.int()?, columns.text()?, columns.text()?);
            Ok(Listed { n, tenant, queue, task, has_succeeded: columns.word()? == state_word(State::Succeeded) })
        })?;
        let is_last = u32::try_from(listed.len()).is_ok_and(|count| count < stretch);
        let mut rows = listed.into_iter().peekable();
        while let Some(row) = rows.next() {
            (before, looked_at) = (row.n, looked_at + 1);
            let is_of = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
            let is_in = row.has_succeeded || query.status != Some(Status::Succeeded);
            let wanted =
                row.tenant == tenant && is_in && is_of(&query.queue, &row.queue) && is_of(&query.task, &row.task);
            if wanted && let Some(row) = Row::load_n(sql, row.n)? {
                let view = viewer.view(sql, &row)?;
                bytes += view.result.as_ref().map_or(0, |result| result.get().len());
                page.jobs.push(view);
            }
            if page.jobs.len() >= limit || looked_at >= LOOKED_AT_MAX || bytes >= PAGE_BYTES {
                page.before = (rows.peek().is_some() || !is_last).then_some(before);
                return Ok(page);
            }
        }
        if is_last {
            return Ok(page);
        }
        stretch = STRETCH;
    }
}

pub(super) fn preview_retry(
    sql: &mut dyn Sql,
    tenant: i64,
    filter: &RetryFilter,
) -> Result<RetryPreview, StorageError> {
    let (mut looked_at, mut matching, mut first) = (0, 0, Vec::new());
    let limit = usize::try_from(PREVIEW_LOOKED_AT_MAX).unwrap_or(usize::MAX);
    each_ended(sql, tenant, filter, 0, limit, |n, selected| {
        looked_at += 1;
        if selected {
            matching += 1;
            if first.len() < SAMPLE_MAX {
                first.push(n);
            }
        }
    })?;
    let (mut viewer, mut sample) = (Viewer::default(), Vec::new());
    for n in first {
        if let Some(row) = Row::load_n(sql, n)? {
            sample.push(viewer.view(sql, &row)?);
        }
    }
    Ok(RetryPreview { matching, exact: looked_at < PREVIEW_LOOKED_AT_MAX, sample })
}

/// By the index `jobs_open`, whose condition it repeats for SQLite. Succeeded jobs are in no index of states: they are looked for among all of
/// the tenant. Those of `default`, which is alone in most systems, are in no index of their own: they are looked for among the rows, by number,
/// and others are passed over, a bounded number at a time.
fn statement(status: Option<Status>, tenant: i64) -> &'static str {
    macro_rules! listed {
        ($from:literal, $condition:literal) => {
            concat!(
                "SELECT n, tenant, queue, task, state FROM ",
                $from,
                " WHERE ",
                $condition,
                " AND n < ?2 ORDER BY n DESC LIMIT ?3"
            )
        };
    }
    match status {
        None | Some(Status::Succeeded) if tenant == SYSTEM => listed!("jobs NOT INDEXED", "CAST(?1 AS BIGINT) = 0"),
        None | Some(Status::Succeeded) => listed!("jobs INDEXED BY jobs_of_others", "tenant = ?1 AND tenant <> 0"),
        Some(Status::Scheduled) => listed!("jobs", "tenant = ?1 AND state = 'scheduled' AND state <> 'succeeded'"),
        Some(Status::Queued) => listed!("jobs", "tenant = ?1 AND state = 'queued' AND state <> 'succeeded'"),
        Some(Status::Running) => {
            listed!("jobs", "tenant = ?1 AND state IN ('running', 'finishing') AND state <> 'succeeded'")
        }
        Some(Status::Failed) => listed!("jobs", "tenant = ?1 AND state = 'failed' AND state <> 'succeeded'"),
        Some(Status::Cancelled) => listed!("jobs", "tenant = ?1 AND state = 'cancelled' AND state <> 'succeeded'"),
    }
}

pub(super) fn log(sql: &mut dyn Sql, after: Position, kinds: LogKinds, limit: u32) -> Result<LogRead, StorageError> {
    let query = "SELECT log_start, fenced_through FROM meta WHERE tenant = ?";
    let (start, fenced_through) =
        sql.single(query, values![SYSTEM], |columns| Ok((columns.counter()?, Position(columns.counter()?))))?;
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
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let limit_reached = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut through = None;
    sql.query(query, values![SYSTEM, after.0, limit], &mut |columns| {
        let position = Position(columns.counter()?);
        let change = columns.text()?;
        bytes += change.len();
        entries.push((position, change));
        let is_full = entries.len() >= limit_reached || bytes >= LOG_PAGE_BYTES;
        through = is_full.then_some(position);
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(LogRead::Page { entries, through, fenced_through })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::plan_of;

    #[test]
    fn a_page_reads_only_what_it_looks_at() {
        let check = |status, tenant, expected: &str| {
            let plan = plan_of(statement(status, tenant));
            assert_eq!(plan, [format!("SEARCH jobs USING {expected}")], "{status:?}");
        };
        let by_number = "INTEGER PRIMARY KEY (rowid<?)";
        let of_others = "INDEX jobs_of_others (tenant=? AND n<?)";
        let by_state = "INDEX jobs_open (tenant=? AND state=? AND n<?)";
        for status in [None, Some(Status::Succeeded)] {
            check(status, SYSTEM, by_number);
            check(status, 7, of_others);
        }
        for status in [Status::Scheduled, Status::Queued, Status::Failed, Status::Cancelled] {
            check(Some(status), SYSTEM, by_state);
            check(Some(status), 7, by_state);
        }
    }
}
