//! Retries of many jobs: a row that says which ones, and how far it has come. Each step saves both in one commit with the jobs, so a
//! restart goes on where it was.

use std::ops::ControlFlow;

use protocol::bulk_retry::{BulkRetry, BulkState, Candidate, ENDED_KEPT, RUNNING_MAX, RetryFilter};
use protocol::ids::RetryId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Reply, RetryJobs};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::settle::Reopened;
use super::{Decided, Transaction};
use crate::storage::row::{self, Row};
use crate::storage::sql::{Columns, Sql, values};
use crate::storage::{RetryStep, SYSTEM, StorageError};

/// The most jobs that one step looks at.
const LOOKED_AT_MAX: usize = 1_000;

macro_rules! retry_columns {
    () => {
        "retry, filter, rate, jobs_max, retried, skipped, created_at, ended_at, stopped"
    };
}

impl Transaction<'_> {
    /// The same id again finds what it began.
    pub(super) fn begin_retry(&mut self, name: &Tenant, asked: &RetryJobs) -> Result<Decided, StorageError> {
        let tenant = match self.tenant_that_creates(name)? {
            Ok(tenant) => tenant,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(known) = load(self.sql, tenant, asked.retry_id)? {
            return Ok(Ok(Reply::BulkRetry(Box::new(known))));
        }
        let query = "SELECT count(*) FROM retries WHERE tenant = ? AND ended_at IS NULL";
        let running = self.sql.single(query, values![tenant], |columns| columns.small())?;
        if usize::try_from(running).is_ok_and(|running| running >= RUNNING_MAX) {
            return Ok(Err(too_many()));
        }
        let now = self.context.wall_ms;
        // What fails from now on is not meant.
        let mut filter = asked.filter.clone();
        let through = Timestamp::from_unix_ms(now + 1);
        filter.before = Some(filter.before.map_or(through, |before| before.min(through)));
        let query =
            "INSERT INTO retries (tenant, retry, filter, rate, jobs_max, cursor, retried, skipped, created_at, stopped)
                     VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, 0)";
        let (id, filter) = (asked.retry_id.0, serde_json::to_string(&filter)?);
        self.sql.write(query, values![tenant, id, &filter, asked.rate_per_second, asked.limit, now])?;
        self.signals.retries = true;
        self.bulk_retry(tenant, asked.retry_id)
    }

    pub(super) fn stop_retry(&mut self, retry_id: RetryId) -> Result<Decided, StorageError> {
        let Some(tenant) = self.caller else { return Ok(Err(no_such_retry())) };
        let query = "UPDATE retries SET ended_at = ?, stopped = 1 WHERE tenant = ? AND retry = ? AND ended_at IS NULL";
        self.sql.write(query, values![self.context.wall_ms, tenant, retry_id.0])?;
        self.forget_ended_retries(tenant)?;
        self.bulk_retry(tenant, retry_id)
    }

    fn bulk_retry(&mut self, tenant: i64, retry_id: RetryId) -> Result<Decided, StorageError> {
        Ok(match load(self.sql, tenant, retry_id)? {
            Some(retry) => Ok(Reply::BulkRetry(Box::new(retry))),
            None => Err(no_such_retry()),
        })
    }

    /// Goes through the jobs in the order of their age, so that each is met once, whatever becomes of it meanwhile.
    pub(super) fn retry_matching(&mut self, retry_id: RetryId, jobs: u32) -> Result<RetryStep, StorageError> {
        let tenant = tenant_of(self.sql, retry_id)?;
        let known = load(self.sql, tenant.unwrap_or(SYSTEM), retry_id)?;
        let Some((tenant, mut retry)) = tenant.zip(known).filter(|(_, retry)| retry.state == BulkState::Running) else {
            return Ok(RetryStep { ended: true, ..RetryStep::default() });
        };
        let jobs = u64::from(jobs).min(retry.limit - retry.retried);
        let mut step = RetryStep::default();
        let after = cursor(self.sql, tenant, retry_id)?;
        let (found, mut cursor, all) = self.candidates(tenant, &retry.filter, after)?;
        let mut whole = true;
        for n in found {
            if u64::from(step.retried) >= jobs {
                whole = false;
                break;
            }
            let Some(mut row) = Row::load_n(self.sql, n)? else { continue };
            match self.reopen(&mut row)? {
                Reopened::Open => step.retried += 1,
                Reopened::Refused(problem) if matches!(problem.kind(), Some(Kind::QueueFull | Kind::TenantFull)) => {
                    (step.blocked, whole) = (true, false);
                    break;
                }
                Reopened::Refused(_) | Reopened::NotEnded => retry.skipped += 1,
            }
            cursor.done = n;
        }
        retry.retried += u64::from(step.retried);
        step.ended = whole && all || retry.retried >= retry.limit;
        self.save_retry(tenant, &retry, if whole { cursor.looked_at } else { cursor.done }, step.ended)?;
        Ok(step)
    }

    /// The jobs after the cursor that are selected, and whether no job lies behind those that were looked at.
    fn candidates(
        &mut self,
        tenant: i64,
        filter: &RetryFilter,
        after: i64,
    ) -> Result<(Vec<i64>, Cursor, bool), StorageError> {
        let mut found = Vec::new();
        let mut cursor = Cursor { done: after, looked_at: after };
        let mut looked_at = 0;
        each_ended(self.sql, tenant, filter, after, LOOKED_AT_MAX, |n, selected| {
            (cursor.looked_at, looked_at) = (n, looked_at + 1);
            if selected {
                found.push(n);
            }
        })?;
        Ok((found, cursor, looked_at < LOOKED_AT_MAX))
    }

    fn save_retry(&mut self, tenant: i64, retry: &BulkRetry, cursor: i64, ended: bool) -> Result<(), StorageError> {
        let query =
            "UPDATE retries SET cursor = ?, retried = ?, skipped = ?, ended_at = ? WHERE tenant = ? AND retry = ?";
        let ended_at = ended.then_some(self.context.wall_ms);
        let id = retry.retry_id.0;
        self.sql.write(query, values![cursor, retry.retried, retry.skipped, ended_at, tenant, id])?;
        if ended { self.forget_ended_retries(tenant) } else { Ok(()) }
    }

    fn forget_ended_retries(&mut self, tenant: i64) -> Result<(), StorageError> {
        let query = "DELETE FROM retries WHERE tenant = ?1 AND retry IN
                         (SELECT retry FROM retries WHERE tenant = ?1 AND ended_at IS NOT NULL
                          ORDER BY ended_at DESC, retry DESC LIMIT ?2 OFFSET ?3)";
        let kept = i64::try_from(ENDED_KEPT).unwrap_or(i64::MAX);
        self.sql.write(query, values![tenant, i64::MAX, kept])
    }
}

/// By `n`: the last job that needs no second look, and the last one that was read.
#[derive(Clone, Copy)]
struct Cursor {
    done: i64,
    looked_at: i64,
}

/// There are few.
fn tenant_of(sql: &mut dyn Sql, retry_id: RetryId) -> Result<Option<i64>, StorageError> {
    sql.one("SELECT tenant FROM retries WHERE retry = ?", values![retry_id.0], |columns| columns.int())
}

fn cursor(sql: &mut dyn Sql, tenant: i64, retry_id: RetryId) -> Result<i64, StorageError> {
    let query = "SELECT cursor FROM retries WHERE tenant = ? AND retry = ?";
    sql.single(query, values![tenant, retry_id.0], |columns| columns.int())
}

fn load(sql: &mut dyn Sql, tenant: i64, retry_id: RetryId) -> Result<Option<BulkRetry>, StorageError> {
    let query = concat!("SELECT ", retry_columns!(), " FROM retries WHERE tenant = ? AND retry = ?");
    sql.one(query, values![tenant, retry_id.0], read)
}

/// All that are known of a tenant, newest first.
pub(super) fn load_all(sql: &mut dyn Sql, tenant: i64) -> Result<Vec<BulkRetry>, StorageError> {
    let query =
        concat!("SELECT ", retry_columns!(), " FROM retries WHERE tenant = ? ORDER BY created_at DESC, retry DESC");
    sql.all(query, values![tenant], read)
}

/// Those that run, whosever.
pub(super) fn load_running(sql: &mut dyn Sql) -> Result<Vec<BulkRetry>, StorageError> {
    let query = concat!(
        "SELECT ",
        retry_columns!(),
        " FROM retries WHERE ended_at IS NULL ORDER BY created_at DESC, retry DESC"
    );
    sql.all(query, &[], read)
}

fn read(columns: &mut dyn Columns) -> Result<BulkRetry, StorageError> {
    let retry_id = RetryId(columns.uuid()?);
    let filter = serde_json::from_str(columns.word()?)?;
    let (rate_per_second, limit) = (columns.small()?, columns.counter()?);
    let (retried, skipped) = (columns.counter()?, columns.counter()?);
    let created_at = Timestamp::from_unix_ms(columns.int()?);
    let ended_at = columns.maybe_int()?.map(Timestamp::from_unix_ms);
    let state = match (ended_at, columns.flag()?) {
        (None, _) => BulkState::Running,
        (Some(_), false) => BulkState::Done,
        (Some(_), true) => BulkState::Stopped,
    };
    Ok(BulkRetry { retry_id, state, filter, rate_per_second, limit, retried, skipped, created_at, ended_at })
}

/// Tells of each job that ended as the filter says, after a cursor, by age, whether it is selected. Repeats the condition of the index
/// `jobs_open`, so that SQLite uses it.
pub(super) fn each_ended(
    sql: &mut dyn Sql,
    tenant: i64,
    filter: &RetryFilter,
    after: i64,
    limit: usize,
    mut tell: impl FnMut(i64, bool),
) -> Result<(), StorageError> {
    let query = "SELECT n, queue, task, error_kind, finished_at FROM jobs
                 WHERE tenant = ? AND state = ? AND state <> 'succeeded' AND n > ? ORDER BY n LIMIT ?";
    let state = row::state_word(filter.status.state());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    sql.query(query, values![tenant, state, after, limit], &mut |columns| {
        let n = columns.int()?;
        let (queue, task) = (columns.text()?, columns.text()?);
        let error_kind = columns.maybe_word()?.map(row::error_kind).transpose()?;
        let finished_at = Timestamp::from_unix_ms(columns.maybe_int()?.unwrap_or_default());
        tell(n, filter.selects(Candidate { queue: &queue, task: &task, error_kind, finished_at }));
        Ok(ControlFlow::Continue(()))
    })
}

fn no_such_retry() -> Problem {
    Kind::NotFound.detail("There is no such retry; GET /jobs:retry lists them.")
}

fn too_many() -> Problem {
    let detail = format!("{RUNNING_MAX} retries run already; GET /jobs:retry lists them, and DELETE stops one.");
    Kind::RateLimited.detail(detail).retry_after_s(5)
}
