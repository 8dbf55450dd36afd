//! The reads, each in one snapshot, so that what is read and the log position belong to one instant.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use protocol::access::{KeyId, KeyRecord};
use protocol::api::{JobView, WaitingFor, WorkerView, Workers};
use protocol::bulk_retry::{BulkRetry, RetryFilter, RetryPreview};
use protocol::dispatch::Lane;
use protocol::explain::Explanation;
use protocol::ids::{Fence, JobId, Position, SessionId, Version};
use protocol::job::State;
use protocol::key::{MediaType, ScheduleName, WebhookName};
use protocol::lease::Held;
use protocol::queue::QueueView;
use protocol::schedule::ScheduleView;
use protocol::store_api::{DataView, JobFence};
use protocol::tenant::{Tenant, Tenants};
use protocol::time::Timestamp;
use protocol::webhook::WebhookView;
use uuid::Uuid;

use super::expire::{ended_before, expired_of};
use super::logs::logs;
use super::tenants::{self, KnownTenants, Reached};
use super::view::{Around, result, view};
use super::{audit, bulk_retry, deliveries, keys, memory, schedules, webhooks};
use crate::storage::row::Row;
use crate::storage::sql::{Columns, Sql, values};
use crate::storage::{
    At, AttemptsRead, AuditRead, BellSeq, DeliveriesPage, DeliveriesQuery, JobRead, JobsPage, JobsQuery, KeyCursor,
    KeysPage, Live, LogKinds, LogRead, OutstandingBells, PayloadRead, Reader, ResultRead, SYSTEM, SchedulesPage,
    StorageError, WebhooksPage,
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
pub(in crate::storage) struct Viewed<S> {
    snapshots: S,
}

impl<S: Snapshots> Viewed<S> {
    pub(in crate::storage) fn of(snapshots: S) -> Self {
        Self { snapshots }
    }

    /// Reads what belongs to a tenant, or `nothing` if there is no such tenant. Its number is asked for each time, in the same snapshot: where commits
    /// were lost, or the tables restored, one that is remembered could be another tenant's.
    fn at_of<T>(
        &mut self,
        tenant: &Tenant,
        nothing: impl Fn() -> T,
        read: impl Fn(&mut dyn Sql, i64) -> Result<T, StorageError>,
    ) -> Result<At<T>, StorageError> {
        self.of_one_instant(|sql| {
            let (position, number) = memory::position_and_number(sql, tenant)?;
            let read = number.map_or_else(|| Ok(nothing()), |number| read(sql, number))?;
            Ok(At { position, read })
        })
    }

    fn of_one_instant<T>(&mut self, read: impl Fn(&mut dyn Sql) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut found = None;
        self.snapshots.snapshot(&mut |sql| {
            found = Some(read(sql)?);
            Ok(())
        })?;
        found.ok_or_else(|| StorageError::Internal("a snapshot was not read".to_owned()))
    }

    fn at<T>(&mut self, read: impl Fn(&mut dyn Sql) -> Result<T, StorageError>) -> Result<At<T>, StorageError> {
        self.of_one_instant(|sql| Ok(At { position: memory::position(sql)?, read: read(sql)? }))
    }
}

/// A job's row as its tenant may see it.
enum Found {
    Row(Box<Row>),
    Expired,
    Unknown,
}

fn find(sql: &mut dyn Sql, tenant: i64, job_id: JobId) -> Result<Found, StorageError> {
    Ok(match Row::load(sql, job_id)? {
        Some(row) if row.tenant == tenant => Found::Row(Box::new(row)),
        None if expired_of(sql, job_id)? == Some(tenant) => Found::Expired,
        Some(_) | None => Found::Unknown,
    })
}

/// Shows jobs as their clients see them. Who is alive matters only for queued ones, and is asked once.
#[derive(Default)]
struct Viewer {
    around: Option<(Live, HashSet<String>)>,
    held_back: HashMap<Lane, Option<WaitingFor>>,
}

impl Viewer {
    fn view(&mut self, sql: &mut dyn Sql, row: &Row) -> Result<JobView, StorageError> {
        if row.job.state != State::Queued {
            return view(sql, row, &Live::default(), Around::default());
        }
        if self.around.is_none() {
            self.around = Some((Live::of(memory::sessions(sql)?), paused_queues(sql)?));
        }
        let held_back = match self.held_back.get(&row.lane) {
            Some(known) => *known,
            None => {
                let now_ms = chassis::clock::wall_ms();
                let limiting = KnownTenants::limiting(sql, row.lane)?;
                let held_back = limiting.reached(row.lane, now_ms).as_ref().map(Reached::waiting_for);
                self.held_back.insert(row.lane, held_back);
                held_back
            }
        };
        let (live, paused) = self.around.as_ref().expect("it was just asked");
        view(sql, row, live, Around { paused: paused.contains(&row.queue), held_back })
    }
}

fn paused_queues(sql: &mut dyn Sql) -> Result<HashSet<String>, StorageError> {
    let query = "SELECT queue FROM queues WHERE lane = ? AND paused_at IS NOT NULL";
    Ok(sql.all(query, values![SYSTEM], |columns| columns.text())?.into_iter().collect())
}

// The index of states is by tenant, so that the lists of clients are: what is asked of all goes through the tenants, of which there are few.
const BUSY: &str = "SELECT session, count(*) FROM tenants CROSS JOIN jobs
                    WHERE jobs.tenant = tenants.tenant AND state = 'running' AND state <> 'succeeded' GROUP BY session";
const LEASES: &str = "SELECT job_id, fence, renewal, lease_ms FROM tenants CROSS JOIN jobs
                      WHERE jobs.tenant = tenants.tenant AND state = 'running' AND state <> 'succeeded'";
const CANCELLED: &str = "SELECT job_id, fence FROM tenants CROSS JOIN jobs
                         WHERE jobs.tenant = tenants.tenant AND state = 'running' AND state <> 'succeeded'
                             AND session = ? AND cancel_requested_at IS NOT NULL";

/// Running jobs by session.
fn busy_slots(sql: &mut dyn Sql) -> Result<BTreeMap<SessionId, u64>, StorageError> {
    let busy = sql.all(BUSY, &[], |columns| {
        let session = columns.maybe_uuid()?.map(SessionId);
        Ok((session, columns.counter()?))
    })?;
    Ok(busy.into_iter().filter_map(|(session, count)| Some((session?, count))).collect())
}

impl<S: Snapshots> Reader for Viewed<S> {
    fn job(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<JobRead>, StorageError> {
        let nothing = || JobRead::Unknown;
        self.at_of(tenant, nothing, |sql, tenant| {
            Ok(match find(sql, tenant, job_id)? {
                Found::Unknown => nothing(),
                Found::Expired => JobRead::Expired,
                Found::Row(row) => JobRead::Job(Box::new(Viewer::default().view(sql, &row)?), row.changed),
            })
        })
    }

    fn explain(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<Option<Explanation>>, StorageError> {
        self.at_of(tenant, || None, |sql, tenant| explain::explain(sql, tenant, job_id))
    }

    fn result(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<ResultRead>, StorageError> {
        let nothing = || ResultRead::Unknown;
        self.at_of(tenant, nothing, |sql, tenant| {
            Ok(match find(sql, tenant, job_id)? {
                Found::Unknown => nothing(),
                Found::Expired => ResultRead::Expired,
                Found::Row(row) => match row.job.state {
                    State::Succeeded => ResultRead::Result(result(sql, row.n)?),
                    State::Failed | State::Cancelled => ResultRead::NoResult,
                    State::Scheduled | State::Queued | State::Running | State::Finishing => ResultRead::NotFinished,
                },
            })
        })
    }

    fn payload(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<PayloadRead>, StorageError> {
        let nothing = || PayloadRead::Unknown;
        self.at_of(tenant, nothing, |sql, tenant| {
            Ok(match find(sql, tenant, job_id)? {
                Found::Unknown => nothing(),
                Found::Expired => PayloadRead::Expired,
                Found::Row(row) => {
                    let query = "SELECT payload FROM payloads WHERE n = ?";
                    PayloadRead::Payload(sql.one(query, values![row.n], |columns| columns.json())?)
                }
            })
        })
    }

    fn logs(&mut self, tenant: &Tenant, job_id: JobId) -> Result<At<AttemptsRead>, StorageError> {
        let nothing = || AttemptsRead::Unknown;
        self.at_of(tenant, nothing, |sql, tenant| {
            Ok(match find(sql, tenant, job_id)? {
                Found::Unknown => nothing(),
                Found::Expired => AttemptsRead::Expired,
                Found::Row(row) => AttemptsRead::Logs(logs(sql, &row)?),
            })
        })
    }

    fn jobs(&mut self, tenant: &Tenant, query: &JobsQuery) -> Result<At<JobsPage>, StorageError> {
        let nothing = || JobsPage { jobs: Vec::new(), before: None };
        self.at_of(tenant, nothing, |sql, tenant| pages::jobs(sql, tenant, query))
    }

    fn tenants(&mut self) -> Result<At<Tenants>, StorageError> {
        self.at(tenants::views)
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
            sql.one(query, values![SYSTEM, key], |columns| {
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

    fn bulk_retries(&mut self, tenant: &Tenant) -> Result<At<Vec<BulkRetry>>, StorageError> {
        self.at_of(tenant, Vec::new, bulk_retry::load_all)
    }

    fn running_retries(&mut self) -> Result<Vec<BulkRetry>, StorageError> {
        self.of_one_instant(bulk_retry::load_running)
    }

    fn preview_retry(&mut self, tenant: &Tenant, filter: &RetryFilter) -> Result<At<RetryPreview>, StorageError> {
        let nothing = || RetryPreview { matching: 0, exact: true, sample: Vec::new() };
        self.at_of(tenant, nothing, |sql, tenant| pages::preview_retry(sql, tenant, filter))
    }

    fn schedule(&mut self, tenant: &Tenant, name: &ScheduleName) -> Result<At<Option<ScheduleView>>, StorageError> {
        self.at_of(tenant, || None, |sql, tenant| schedules::view_one(sql, tenant, name))
    }

    fn schedules(&mut self, tenant: &Tenant, after: &str, limit: u32) -> Result<At<SchedulesPage>, StorageError> {
        let nothing = || SchedulesPage { schedules: Vec::new(), after: None };
        self.at_of(tenant, nothing, |sql, tenant| schedules::page(sql, tenant, after, limit))
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
        self.of_one_instant(|sql| {
            sql.all(LEASES, &[], |columns| {
                let key = job_fence(columns)?;
                Ok(Held { key, renewal: columns.counter()?, lease_ms: columns.counter()? })
            })
        })
    }

    fn sessions(&mut self) -> Result<Vec<(SessionId, u64)>, StorageError> {
        let query = "SELECT session, renewal FROM sessions WHERE tenant = ?";
        self.of_one_instant(|sql| {
            sql.all(query, values![SYSTEM], |columns| Ok((SessionId(columns.uuid()?), columns.counter()?)))
        })
    }

    fn cancelled_of(&mut self, session: SessionId) -> Result<Vec<JobFence>, StorageError> {
        self.of_one_instant(|sql| sql.all(CANCELLED, values![session.0], job_fence))
    }

    fn ended_before(&mut self, kept: u64) -> Result<Option<i64>, StorageError> {
        self.of_one_instant(|sql| ended_before(sql, kept))
    }

    fn next_due_ms(&mut self) -> Result<Option<i64>, StorageError> {
        let scheduled = "SELECT min(due_at) FROM jobs WHERE state = 'scheduled'";
        let deferred = "SELECT min(ring_at) FROM jobs WHERE ring = 'deferred'";
        let to_start = "SELECT min(start_by) FROM jobs WHERE start_by IS NOT NULL";
        let tick = "SELECT min(next_tick) FROM schedules WHERE next_tick IS NOT NULL";
        self.of_one_instant(|sql| {
            let mut earliest: Option<i64> = None;
            for query in [scheduled, deferred, to_start, tick] {
                let due = sql.single(query, &[], |columns| columns.maybe_int())?;
                earliest = [earliest, due].into_iter().flatten().min();
            }
            Ok(earliest)
        })
    }

    fn outstanding(&mut self) -> Result<Vec<OutstandingBells>, StorageError> {
        let query =
            "SELECT bells.queue, count(*), min(seq), CAST(sum(unsent) AS BIGINT), coalesce(max(claimed_through), 0)
                     FROM bells LEFT JOIN queues ON queues.lane = ? AND queues.queue = bells.queue
                     GROUP BY bells.queue";
        self.of_one_instant(|sql| {
            sql.all(query, values![SYSTEM], |columns| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::plan_of;

    #[test]
    fn what_runs_is_found_by_its_state() {
        for query in [BUSY, LEASES, CANCELLED] {
            let plan = plan_of(query);
            assert!(plan.contains(&"SEARCH jobs USING INDEX jobs_open (tenant=? AND state=?)".to_owned()), "{plan:?}");
        }
    }
}
