//! The reads, each in one snapshot, so that what is read and the log position belong to one instant.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use protocol::access::{KeyId, KeyRecord};
use protocol::api::{JobView, WorkerView, Workers};
use protocol::bulk_retry::{BulkRetry, RetryFilter, RetryPreview};
use protocol::explain::Explanation;
use protocol::ids::{Fence, JobId, Position, SessionId, Version};
use protocol::job::State;
use protocol::key::{MediaType, ScheduleName, WebhookName};
use protocol::lease::Held;
use protocol::queue::QueueView;
use protocol::schedule::ScheduleView;
use protocol::store_api::{DataView, JobFence};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use protocol::webhook::WebhookView;
use uuid::Uuid;

use super::expire::{ended_before, is_expired};
use super::logs::logs;
use super::view::{result, view};
use super::{audit, bulk_retry, deliveries, keys, memory, schedules, webhooks};
use crate::storage::row::Row;
use crate::storage::sql::{Columns, Sql, values};
use crate::storage::{
    At, AttemptsRead, AuditRead, BellSeq, DeliveriesPage, DeliveriesQuery, JobRead, JobsPage, JobsQuery, KeyCursor,
    KeysPage, Live, LogKinds, LogRead, OutstandingBells, PayloadRead, Reader, ResultRead, SchedulesPage, StorageError,
    TENANT, WebhooksPage,
};

mod explain;
mod pages;
mod queues;

/// Where snapshots can be taken.
pub(in crate::storage) trait Snapshots: Send {
    /// Runs reads of one instant. They may be run again when the connection broke under them.
    fn snapshot(&mut self, reads: Reads<'_>) -> Result<(), StorageError>;
}

pub(in crate::storage) type Reads<'r> = &'r mut dyn FnMut(&mut dyn Sql) -> Result<(), StorageError>;

/// The reads of any storage that takes snapshots.
pub(in crate::storage) struct Viewed<S>(pub(in crate::storage) S);

impl<S: Snapshots> Viewed<S> {
    fn of_one_instant<T>(&mut self, read: impl Fn(&mut dyn Sql) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut found = None;
        self.0.snapshot(&mut |sql| {
            found = Some(read(sql)?);
            Ok(())
        })?;
        found.ok_or_else(|| StorageError::Internal("a snapshot was not read".to_owned()))
    }

    fn at<T>(&mut self, read: impl Fn(&mut dyn Sql) -> Result<T, StorageError>) -> Result<At<T>, StorageError> {
        self.of_one_instant(|sql| Ok(At { position: memory::position(sql)?, read: read(sql)? }))
    }
}

/// Shows jobs as their clients see them. Who is alive matters only for queued ones, and is asked once.
#[derive(Default)]
struct Viewer {
    around: Option<(Live, HashSet<String>)>,
}

impl Viewer {
    fn view(&mut self, sql: &mut dyn Sql, row: &Row) -> Result<JobView, StorageError> {
        if row.job.state != State::Queued {
            return view(sql, row, &Live::default(), false);
        }
        if self.around.is_none() {
            self.around = Some((Live::of(memory::sessions(sql)?), paused_queues(sql)?));
        }
        let (live, paused) = self.around.as_ref().expect("it was just asked");
        view(sql, row, live, paused.contains(&row.queue))
    }
}

fn paused_queues(sql: &mut dyn Sql) -> Result<HashSet<String>, StorageError> {
    let query = "SELECT queue FROM queues WHERE tenant = ? AND paused_at IS NOT NULL";
    Ok(sql.all(query, values![TENANT], |columns| columns.text())?.into_iter().collect())
}

/// Running jobs by session.
fn busy_slots(sql: &mut dyn Sql) -> Result<BTreeMap<SessionId, u64>, StorageError> {
    let query = "SELECT session, count(*) FROM jobs
                 WHERE tenant = ? AND state = 'running' AND state <> 'succeeded' GROUP BY session";
    let busy = sql.all(query, values![TENANT], |columns| {
        let session = columns.maybe_uuid()?.map(SessionId);
        Ok((session, columns.counter()?))
    })?;
    Ok(busy.into_iter().filter_map(|(session, count)| Some((session?, count))).collect())
}

impl<S: Snapshots> Reader for Viewed<S> {
    fn job(&mut self, job_id: JobId) -> Result<At<JobRead>, StorageError> {
        self.at(|sql| {
            Ok(match Row::load(sql, job_id)? {
                None if is_expired(sql, job_id)? => JobRead::Expired,
                None => JobRead::Unknown,
                Some(row) => JobRead::Job(Box::new(Viewer::default().view(sql, &row)?), row.changed),
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

    fn payload(&mut self, job_id: JobId) -> Result<At<PayloadRead>, StorageError> {
        self.at(|sql| {
            Ok(match Row::load(sql, job_id)? {
                None if is_expired(sql, job_id)? => PayloadRead::Expired,
                None => PayloadRead::Unknown,
                Some(row) => {
                    let query = "SELECT payload FROM payloads WHERE n = ?";
                    PayloadRead::Payload(sql.one(query, values![row.n], |columns| columns.json())?)
                }
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
        let mut page = self.at(|sql| pages::log(sql, after, kinds, limit))?;
        // A cursor beyond the head has seen commits that were lost since: other entries will be given their numbers.
        if after > page.position {
            page.read = LogRead::Trimmed;
        }
        Ok(page)
    }

    fn data(&mut self, key: &str) -> Result<At<Option<DataView>>, StorageError> {
        self.at(|sql| {
            let query = "SELECT version, data, tags, media_type FROM data WHERE tenant = ? AND key = ?";
            sql.one(query, values![TENANT, key], |columns| {
                let (version, data) = (Version(columns.counter()?), columns.json()?);
                let tags = columns.maybe_word()?.map(serde_json::from_str).transpose()?.unwrap_or_default();
                let media_type = columns.maybe_text()?.map(MediaType::try_from).transpose();
                let media_type = media_type.map_err(|error| StorageError::Internal(error.to_string()))?;
                Ok(DataView { version, data, tags, media_type })
            })
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

    fn schedule(&mut self, name: &ScheduleName) -> Result<At<Option<ScheduleView>>, StorageError> {
        self.at(|sql| schedules::view_one(sql, name))
    }

    fn schedules(&mut self, after: &str, limit: u32) -> Result<At<SchedulesPage>, StorageError> {
        self.at(|sql| schedules::page(sql, after, limit))
    }

    fn webhook(&mut self, name: &WebhookName, now_ms: i64) -> Result<At<Option<WebhookView>>, StorageError> {
        self.at(|sql| webhooks::view_one(sql, name, now_ms))
    }

    fn webhooks(&mut self, after: &str, limit: u32, now_ms: i64) -> Result<At<WebhooksPage>, StorageError> {
        self.at(|sql| webhooks::page(sql, after, limit, now_ms))
    }

    fn deliveries(&mut self, query: &DeliveriesQuery) -> Result<At<Option<DeliveriesPage>>, StorageError> {
        let DeliveriesQuery { name, status, before, limit } = query;
        self.at(|sql| deliveries::page(sql, name, *status, *before, *limit))
    }

    fn deliveries_due(&mut self) -> Result<Vec<(Uuid, i64)>, StorageError> {
        self.of_one_instant(deliveries::due)
    }

    fn key(&mut self, key_id: &KeyId) -> Result<At<Option<KeyRecord>>, StorageError> {
        self.at(|sql| keys::load(sql, key_id))
    }

    fn keys(
        &mut self,
        of: Option<&Tenant>,
        after: Option<&KeyCursor>,
        limit: u32,
    ) -> Result<At<KeysPage>, StorageError> {
        self.at(|sql| keys::page(sql, of, after, limit))
    }

    fn audit(&mut self, of: Option<&Tenant>, before: Option<i64>, limit: u32) -> Result<At<AuditRead>, StorageError> {
        self.at(|sql| audit::page(sql, of, before, limit))
    }

    fn leases(&mut self) -> Result<Vec<Held<JobFence>>, StorageError> {
        let query = "SELECT job_id, fence, renewal, lease_ms FROM jobs
                     WHERE tenant = ? AND state = 'running' AND state <> 'succeeded'";
        self.of_one_instant(|sql| {
            sql.all(query, values![TENANT], |columns| {
                let key = job_fence(columns)?;
                Ok(Held { key, renewal: columns.counter()?, lease_ms: columns.counter()? })
            })
        })
    }

    fn sessions(&mut self) -> Result<Vec<(SessionId, u64)>, StorageError> {
        let query = "SELECT session, renewal FROM sessions WHERE tenant = ?";
        self.of_one_instant(|sql| {
            sql.all(query, values![TENANT], |columns| Ok((SessionId(columns.uuid()?), columns.counter()?)))
        })
    }

    fn cancelled_of(&mut self, session: SessionId) -> Result<Vec<JobFence>, StorageError> {
        let query = "SELECT job_id, fence FROM jobs WHERE tenant = ? AND state = 'running' AND state <> 'succeeded'
                         AND session = ? AND cancel_requested_at IS NOT NULL";
        self.of_one_instant(|sql| sql.all(query, values![TENANT, session.0], job_fence))
    }

    fn ended_before(&mut self, kept: u64) -> Result<Option<i64>, StorageError> {
        self.of_one_instant(|sql| ended_before(sql, kept))
    }

    fn next_due_ms(&mut self) -> Result<Option<i64>, StorageError> {
        let scheduled = "SELECT min(due_at) FROM jobs WHERE tenant = ? AND state = 'scheduled'";
        let deferred = "SELECT min(ring_at) FROM jobs WHERE tenant = ? AND ring = 'deferred'";
        let to_start = "SELECT min(start_by) FROM jobs WHERE tenant = ? AND start_by IS NOT NULL";
        let tick = "SELECT min(next_tick) FROM schedules WHERE tenant = ? AND next_tick IS NOT NULL";
        self.of_one_instant(|sql| {
            let mut earliest: Option<i64> = None;
            for query in [scheduled, deferred, to_start, tick] {
                let due = sql.single(query, values![TENANT], |columns| columns.maybe_int())?;
                earliest = [earliest, due].into_iter().flatten().min();
            }
            Ok(earliest)
        })
    }

    fn outstanding(&mut self) -> Result<Vec<OutstandingBells>, StorageError> {
        let query =
            "SELECT bells.queue, count(*), min(seq), CAST(sum(unsent) AS BIGINT), coalesce(max(claimed_through), 0)
                     FROM bells LEFT JOIN queues ON queues.tenant = bells.tenant AND queues.queue = bells.queue
                     WHERE bells.tenant = ? GROUP BY bells.queue";
        self.of_one_instant(|sql| {
            sql.all(query, values![TENANT], |columns| {
                let queue = columns.text()?;
                let count = columns.counter()?;
                let lowest = BellSeq(columns.counter()?);
                let unsent = columns.counter()?;
                let claimed_through = BellSeq(columns.counter()?);
                Ok(OutstandingBells { queue, count, lowest, claimed_through, unsent })
            })
        })
    }
}

fn job_fence(columns: &mut dyn Columns) -> Result<JobFence, StorageError> {
    let job_id = JobId(columns.uuid()?);
    Ok(JobFence { job_id, fence: Fence(columns.counter()?) })
}
