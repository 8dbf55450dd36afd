//! The reads, each in one read transaction, so that what is read and the log position belong to one instant.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use protocol::api::{JobView, WorkerView, Workers};
use protocol::bulk_retry::{BulkRetry, RetryFilter, RetryPreview};
use protocol::explain::Explanation;
use protocol::ids::{Fence, JobId, Position, SessionId, Version};
use protocol::job::State;
use protocol::lease::Held;
use protocol::queue::QueueView;
use protocol::store_api::{DataView, JobFence};
use protocol::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::value::RawValue;

use super::columns::Columns;
use super::expire::{ended_before, is_expired};
use super::logs::logs;
use super::row::Row;
use super::view::{result, view};
use super::{StorageError, TENANT, bulk_retry, memory};
use crate::storage::{
    At, AttemptsRead, BellSeq, JobRead, JobsPage, JobsQuery, Live, LogKinds, LogRead, OutstandingBells, Reader,
    ResultRead,
};

mod explain;
mod pages;
mod queues;

pub(super) struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    fn at<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T, StorageError>) -> Result<At<T>, StorageError> {
        let snapshot = self.connection.transaction()?;
        let position = memory::position(&snapshot)?;
        Ok(At { position, read: read(&snapshot)? })
    }
}

/// Shows jobs as their clients see them. Who is alive matters only for queued ones, and is asked once.
struct Viewer<'c> {
    sql: &'c Connection,
    around: Option<(Live, HashSet<String>)>,
}

impl<'c> Viewer<'c> {
    fn new(sql: &'c Connection) -> Self {
        Self { sql, around: None }
    }

    fn view(&mut self, row: &Row) -> Result<JobView, StorageError> {
        if row.job.state != State::Queued {
            return view(self.sql, row, &Live::default(), false);
        }
        if self.around.is_none() {
            self.around = Some((Live::of(memory::sessions(self.sql)?), paused_queues(self.sql)?));
        }
        let (live, paused) = self.around.as_ref().expect("it was just asked");
        view(self.sql, row, live, paused.contains(&row.queue))
    }
}

fn paused_queues(sql: &Connection) -> Result<HashSet<String>, StorageError> {
    let mut statement = sql.prepare_cached("SELECT queue FROM queues WHERE tenant = ? AND paused_at IS NOT NULL")?;
    let paused = statement.query_map([TENANT], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(paused)
}

/// Running jobs by session.
fn busy_slots(sql: &Connection) -> Result<BTreeMap<SessionId, u64>, StorageError> {
    let query = "SELECT session, count(*) FROM jobs
                 WHERE tenant = ? AND state = 'running' AND state <> 'succeeded' GROUP BY session";
    let mut statement = sql.prepare_cached(query)?;
    let mut rows = statement.query([TENANT])?;
    let mut busy = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        if let Some(session) = columns.optional_uuid()? {
            busy.insert(SessionId(session), columns.counter()?);
        }
    }
    Ok(busy)
}

impl Reader for SqliteReader {
    fn job(&mut self, job_id: JobId) -> Result<At<JobRead>, StorageError> {
        self.at(|sql| {
            Ok(match Row::load(sql, job_id)? {
                None if is_expired(sql, job_id)? => JobRead::Expired,
                None => JobRead::Unknown,
                Some(row) => JobRead::Job(Box::new(Viewer::new(sql).view(&row)?), row.changed),
            })
        })
    }

    fn explain(&mut self, job_id: JobId) -> Result<At<Option<Explanation>>, StorageError> {
        self.at(|sql| explain::explain(sql, job_id))
    }

    fn result(&mut self, job_id: JobId) -> Result<At<ResultRead>, StorageError> {
        self.at(|sql| {
            Ok(match Row::load(sql, job_id)? {
                None if is_expired(sql, job_id)? => ResultRead::Expired,
                None => ResultRead::Unknown,
                Some(row) => match row.job.state {
                    State::Succeeded => ResultRead::Result(result(sql, row.n)?),
                    State::Failed | State::Cancelled => ResultRead::NoResult,
                    State::Scheduled | State::Queued | State::Running | State::Finishing => ResultRead::NotFinished,
                },
            })
        })
    }

    fn logs(&mut self, job_id: JobId) -> Result<At<AttemptsRead>, StorageError> {
        self.at(|sql| {
            Ok(match Row::load(sql, job_id)? {
                None if is_expired(sql, job_id)? => AttemptsRead::Expired,
                None => AttemptsRead::Unknown,
                Some(row) => AttemptsRead::Logs(logs(sql, row.n)?),
            })
        })
    }

    fn jobs(&mut self, query: &JobsQuery) -> Result<At<JobsPage>, StorageError> {
        self.at(|sql| pages::jobs(sql, query))
    }

    fn log(&mut self, after: Position, kinds: LogKinds, limit: u32) -> Result<At<LogRead>, StorageError> {
        self.at(|sql| pages::log(sql, after, kinds, limit))
    }

    fn data(&mut self, key: &str) -> Result<At<Option<DataView>>, StorageError> {
        self.at(|sql| {
            let mut statement = sql.prepare_cached("SELECT version, data FROM data WHERE tenant = ? AND key = ?")?;
            let found: Option<(i64, String)> =
                statement.query_row(params![TENANT, key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((version, data)) = found else { return Ok(None) };
            Ok(Some(DataView { version: Version(version.cast_unsigned()), data: RawValue::from_string(data)? }))
        })
    }

    fn workers(&mut self) -> Result<At<Workers>, StorageError> {
        self.at(|sql| {
            let busy = busy_slots(sql)?;
            let workers = memory::sessions(sql)?.into_iter().map(|session| WorkerView {
                busy: busy.get(&session.id).copied().unwrap_or(0),
                session_id: session.id,
                worker: session.worker,
                slots: session.queues.values().sum(),
                queues: session.queues,
                tasks: session.tasks.iter().map(ToString::to_string).collect(),
                since: Timestamp::from_unix_ms(session.since_ms),
            });
            Ok(Workers { workers: workers.collect() })
        })
    }

    fn queues(&mut self, always: &BTreeSet<String>) -> Result<At<Vec<QueueView>>, StorageError> {
        self.at(|sql| queues::queues(sql, always))
    }

    fn bulk_retries(&mut self) -> Result<At<Vec<BulkRetry>>, StorageError> {
        self.at(bulk_retry::load_all)
    }

    fn preview_retry(&mut self, filter: &RetryFilter) -> Result<At<RetryPreview>, StorageError> {
        self.at(|sql| pages::preview_retry(sql, filter))
    }

    fn leases(&mut self) -> Result<Vec<Held<JobFence>>, StorageError> {
        let query = "SELECT job_id, fence, renewal, lease_ms FROM jobs
                     WHERE tenant = ? AND state = 'running' AND state <> 'succeeded'";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query([TENANT])?;
        let mut leases = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let job_id = JobId(columns.uuid()?);
            let key = JobFence { job_id, fence: Fence(columns.counter()?) };
            leases.push(Held { key, renewal: columns.counter()?, lease_ms: columns.counter()? });
        }
        Ok(leases)
    }

    fn sessions(&mut self) -> Result<Vec<(SessionId, u64)>, StorageError> {
        let mut statement = self.connection.prepare_cached("SELECT session, renewal FROM sessions WHERE tenant = ?")?;
        let mut rows = statement.query([TENANT])?;
        let mut sessions = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            sessions.push((SessionId(columns.uuid()?), columns.counter()?));
        }
        Ok(sessions)
    }

    fn cancelled_of(&mut self, session: SessionId) -> Result<Vec<JobFence>, StorageError> {
        let query = "SELECT job_id, fence FROM jobs WHERE tenant = ? AND state = 'running' AND state <> 'succeeded'
                         AND session = ? AND cancel_requested_at IS NOT NULL";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params![TENANT, session.0.as_bytes()])?;
        let mut cancelled = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let job_id = JobId(columns.uuid()?);
            cancelled.push(JobFence { job_id, fence: Fence(columns.counter()?) });
        }
        Ok(cancelled)
    }

    fn ended_before(&mut self, kept: u64) -> Result<Option<i64>, StorageError> {
        ended_before(&self.connection, kept)
    }

    fn next_due_ms(&mut self) -> Result<Option<i64>, StorageError> {
        let scheduled = "SELECT min(due_at) FROM jobs WHERE tenant = ? AND state = 'scheduled'";
        let deferred = "SELECT min(ring_at) FROM jobs WHERE tenant = ? AND ring = 'deferred'";
        let mut earliest: Option<i64> = None;
        let to_start = "SELECT min(start_by) FROM jobs WHERE tenant = ? AND start_by IS NOT NULL";
        for query in [scheduled, deferred, to_start] {
            let due: Option<i64> = self.connection.prepare_cached(query)?.query_row([TENANT], |row| row.get(0))?;
            earliest = [earliest, due].into_iter().flatten().min();
        }
        Ok(earliest)
    }

    fn outstanding(&mut self) -> Result<Vec<OutstandingBells>, StorageError> {
        let query = "SELECT bells.queue, count(*), min(seq), sum(unsent), coalesce(max(claimed_through), 0)
                     FROM bells LEFT JOIN queues ON queues.tenant = bells.tenant AND queues.queue = bells.queue
                     WHERE bells.tenant = ? GROUP BY bells.queue";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query([TENANT])?;
        let mut outstanding = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let queue = columns.take()?;
            let count = columns.counter()?;
            let lowest = BellSeq(columns.counter()?);
            let unsent = columns.counter()?;
            let claimed_through = BellSeq(columns.counter()?);
            outstanding.push(OutstandingBells { queue, count, lowest, claimed_through, unsent });
        }
        Ok(outstanding)
    }
}
