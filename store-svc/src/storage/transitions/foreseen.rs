//! The rows of a transaction, through one place: where each query is a round trip, what a batch of commands will ask for is loaded at
//! once before it runs, and kept as it is written.

use std::collections::{HashMap, HashSet};

use protocol::dispatch::Lane;
use protocol::ids::{Dispatch, JobId};
use protocol::key::UniqueKey;
use protocol::store_api::{BellId, Command, IDEMPOTENCY_KEY_MS};
use protocol::tenant::Tenant;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Transaction;
use super::expire::expired_of;
use super::tenants::KnownTenants;
use crate::storage::row::{Ring, Row, job_columns, priority_number, ring_word};
use crate::storage::sql::{Columns, Value, values};
use crate::storage::{BellSeq, StorageError};

const ROWS: &str = concat!("SELECT ", job_columns!(), " FROM jobs WHERE job_id = ANY (?)");
const BELLS: &str = "SELECT job_id, dispatch, queue, seq FROM bells WHERE job_id = ANY (?)";
const PAYLOADS: &str =
    "SELECT jobs.n, payload FROM jobs LEFT JOIN payloads ON payloads.n = jobs.n WHERE job_id = ANY (?)";
/// Of all tenants named, so perhaps more than was asked for; so are [`HOLDERS`].
const KEYS: &str = "SELECT tenant, key, job_id, fingerprint FROM idempotency_keys
                    WHERE tenant = ANY (?) AND key = ANY (?) AND created_at > ?";
const TOMBSTONES: &str = "SELECT job_id, tenant FROM tombstones WHERE job_id = ANY (?)";
/// Repeats the conditions of the index `jobs_unique`, so that a database uses it; so does [`HOLDER`].
const HOLDERS: &str =
    "SELECT tenant, unique_key, job_id FROM jobs WHERE tenant = ANY (?) AND unique_key = ANY (?) AND unique_key IS NOT NULL
                           AND state NOT IN ('succeeded', 'failed', 'cancelled')";
const HOLDER: &str = "SELECT job_id FROM jobs WHERE tenant = ? AND unique_key = ? AND unique_key IS NOT NULL
                          AND state NOT IN ('succeeded', 'failed', 'cancelled')";

/// What is known of the tables without asking. What is not in here is asked for.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    /// `None`: there is no such job.
    rows: HashMap<JobId, Option<Row>>,
    /// All bells of the jobs in `bells_of`.
    bells: HashMap<BellId, (String, BellSeq)>,
    bells_of: HashSet<JobId>,
    payloads: HashMap<i64, Option<Box<RawValue>>>,
    keys: HashMap<OfTenant, Option<KeyedJob>>,
    /// Of the jobs in `rows` those that have expired, and whose they were.
    expired: HashMap<JobId, i64>,
    /// By unique key the job that has it and has not ended.
    holders: HashMap<OfTenant, Option<JobId>>,
    /// The first priority among the ready rows of a queue.
    ready: HashMap<String, Option<i64>>,
}

/// A tenant's key.
type OfTenant = (i64, String);

/// A job by its idempotency key, with the fingerprint of what the client sent.
pub(super) type KeyedJob = (JobId, String);

impl Foreseen {
    /// Rows were changed together.
    pub(super) fn forget_rows(&mut self) {
        self.rows.clear();
        self.ready.clear();
    }

    /// A job is no longer kept.
    pub(super) fn bury(&mut self, job_id: JobId, tenant: i64) {
        if let Some(known) = self.rows.get_mut(&job_id) {
            *known = None;
            self.expired.insert(job_id, tenant);
        }
    }

    pub(super) fn hold(&mut self, bell: BellId, queue: &str, seq: BellSeq) {
        if self.bells_of.contains(&bell.job_id) {
            self.bells.insert(bell, (queue.to_owned(), seq));
        }
    }

    fn saved(&mut self, row: &Row) {
        if let Some(known) = self.rows.get_mut(&row.job_id) {
            *known = Some(row.clone());
        }
        let Some(key) = row.unique_key.as_ref().filter(|_| !self.holders.is_empty()) else { return };
        if let Some(holder) = self.holders.get_mut(&(row.tenant, key.clone())) {
            match row.job.state.is_terminal() {
                false => *holder = Some(row.job_id),
                true if *holder == Some(row.job_id) => *holder = None,
                true => {}
            }
        }
    }
}

/// What commands name.
#[derive(Default)]
struct Named<'c> {
    jobs: Vec<Uuid>,
    claimed: Vec<Uuid>,
    /// Those that have keys.
    tenants: Vec<i64>,
    keys: Vec<(i64, &'c str)>,
    unique_keys: Vec<(i64, &'c str)>,
}

impl<'c> Named<'c> {
    fn by(commands: &[(&Tenant, &'c Command)], tenants: &KnownTenants) -> Self {
        let mut named = Self::default();
        for (tenant, command) in commands {
            // Who is not known has no keys.
            named.add(tenants.number(tenant), command);
        }
        named.tenants.sort_unstable();
        named.tenants.dedup();
        named
    }

    fn add(&mut self, tenant: Option<i64>, command: &'c Command) {
        match command {
            Command::Create(create) => {
                self.jobs.push(create.job_id.0);
                let has_keys = create.idempotency_key.is_some() || create.unique_key.is_some();
                if let Some(tenant) = tenant.filter(|_| has_keys) {
                    self.tenants.push(tenant);
                    self.keys.extend(create.idempotency_key.as_deref().map(|key| (tenant, key)));
                    self.unique_keys.extend(create.unique_key.as_ref().map(|key| (tenant, UniqueKey::as_str(key))));
                }
            }
            Command::Claim(claim) => {
                self.jobs.push(claim.job_id.0);
                self.claimed.push(claim.job_id.0);
            }
            Command::Complete(complete) => self.jobs.push(complete.job_id.0),
            Command::Release(release) => self.jobs.push(release.job_id.0),
            Command::Heartbeat(heartbeat) => self.jobs.extend(heartbeat.holds.iter().map(|held| held.job_id.0)),
            Command::HandOver(lease) => self.jobs.push(lease.job_id.0),
            Command::Renew(held) => self.jobs.push(held.job_id.0),
            Command::Cancel { job_id } | Command::Retry { job_id } | Command::Purge { job_id } => {
                self.jobs.push(job_id.0);
            }
            Command::Audited(audited) => self.add(tenant, &audited.command),
            Command::Bells(_)
            | Command::Pull(_)
            | Command::EndSession { .. }
            | Command::RetryJobs(_)
            | Command::StopRetry { .. }
            | Command::Schedule(_)
            | Command::SetTenant { .. }
            | Command::Webhook(_)
            | Command::Key(_)
            | Command::Audit(_)
            | Command::PauseQueue { .. }
            | Command::ResumeQueue { .. }
            | Command::PutData(_)
            | Command::DeleteData(_)
            | Command::SequencerAcquire { .. }
            | Command::SequencerYield { .. }
            | Command::Fenced { .. } => {}
        }
    }
}

fn texts<'k>(keys: &[(i64, &'k str)]) -> Vec<&'k str> {
    keys.iter().map(|(_, key)| *key).collect()
}

impl Transaction<'_> {
    pub(super) fn look_ahead(&mut self, commands: &[(&Tenant, &Command)]) -> Result<(), StorageError> {
        let named = Named::by(commands, &self.memory.tenants);
        if named.jobs.is_empty() {
            return Ok(());
        }
        let oldest = self.context.wall_ms - IDEMPOTENCY_KEY_MS;
        let (key_texts, unique_texts) = (texts(&named.keys), texts(&named.unique_keys));
        let tenants = named.tenants.as_slice();
        let jobs: &[Value<'_>] = values![named.jobs.as_slice()];
        let claimed: &[Value<'_>] = values![named.claimed.as_slice()];
        let keys: &[Value<'_>] = values![tenants, key_texts.as_slice(), oldest];
        let unique: &[Value<'_>] = values![tenants, unique_texts.as_slice()];
        self.sql.ahead(&[
            (ROWS, jobs),
            (BELLS, jobs),
            (PAYLOADS, claimed),
            (KEYS, keys),
            (TOMBSTONES, jobs),
            (HOLDERS, unique),
        ])?;
        let foreseen = &mut self.foreseen;
        foreseen.rows = named.jobs.iter().map(|id| (JobId(*id), None)).collect();
        foreseen.bells_of = named.jobs.iter().map(|id| JobId(*id)).collect();
        let of_tenant = |(tenant, key): &(i64, &str)| ((*tenant, (*key).to_owned()), None);
        foreseen.keys = named.keys.iter().map(of_tenant).collect();
        for row in self.sql.all(ROWS, jobs, Row::read)? {
            foreseen.rows.insert(row.job_id, Some(row));
        }
        foreseen.bells.extend(self.sql.all(BELLS, jobs, |columns| {
            let job_id = JobId(columns.uuid()?);
            let bell = BellId { job_id, dispatch: Dispatch(columns.counter()?) };
            Ok((bell, (columns.text()?, BellSeq(columns.counter()?))))
        })?);
        foreseen.payloads.extend(self.sql.all(PAYLOADS, claimed, |columns| {
            let n = columns.int()?;
            let text = columns.maybe_text()?;
            Ok((n, text.map(RawValue::from_string).transpose()?))
        })?);
        let keyed = |columns: &mut dyn Columns| Ok(((columns.int()?, columns.text()?), keyed_job(columns)?));
        for (key, job) in self.sql.all(KEYS, keys, keyed)? {
            foreseen.keys.insert(key, Some(job));
        }
        let expired = |columns: &mut dyn Columns| Ok((JobId(columns.uuid()?), columns.int()?));
        foreseen.expired.extend(self.sql.all(TOMBSTONES, jobs, expired)?);
        foreseen.holders = named.unique_keys.iter().map(|(tenant, key)| ((*tenant, (*key).to_owned()), None)).collect();
        let held = |columns: &mut dyn Columns| Ok(((columns.int()?, columns.text()?), JobId(columns.uuid()?)));
        for (key, holder) in self.sql.all(HOLDERS, unique, held)? {
            foreseen.holders.insert(key, Some(holder));
        }
        Ok(())
    }

    pub(super) fn load(&mut self, job_id: JobId) -> Result<Option<Row>, StorageError> {
        match self.foreseen.rows.get(&job_id) {
            Some(known) => Ok(known.clone()),
            None => Row::load(self.sql, job_id),
        }
    }

    /// Whose the job was that has ended and is no longer kept.
    pub(super) fn expired_of(&mut self, job_id: JobId) -> Result<Option<i64>, StorageError> {
        if self.foreseen.rows.contains_key(&job_id) {
            return Ok(self.foreseen.expired.get(&job_id).copied());
        }
        expired_of(self.sql, job_id)
    }

    /// The tenant's job with this unique key that has not ended.
    pub(super) fn holder_of(&mut self, tenant: i64, unique_key: &str) -> Result<Option<JobId>, StorageError> {
        if !self.foreseen.holders.is_empty()
            && let Some(known) = self.foreseen.holders.get(&(tenant, unique_key.to_owned()))
        {
            return Ok(*known);
        }
        self.sql.one(HOLDER, values![tenant, unique_key], |columns| columns.uuid().map(JobId))
    }

    pub(super) fn insert_row(&mut self, row: &Row) -> Result<(), StorageError> {
        self.foreseen.saved(row);
        if let (Some(Ring::Ready), Some(first)) = (row.ring, self.foreseen.ready.get_mut(&row.queue)) {
            let priority = priority_number(row.priority);
            *first = Some(first.map_or(priority, |first| first.min(priority)));
        }
        row.insert(self.sql)
    }

    pub(super) fn save(&mut self, row: &Row) -> Result<(), StorageError> {
        self.foreseen.saved(row);
        self.foreseen.ready.remove(&row.queue);
        row.save(self.sql)
    }

    pub(super) fn save_renewal(&mut self, row: &Row) -> Result<(), StorageError> {
        self.foreseen.saved(row);
        row.save_renewal(self.sql)
    }

    pub(super) fn set_ring(&mut self, n: i64, job_id: JobId, ring: Ring) -> Result<(), StorageError> {
        if let Some(Some(row)) = self.foreseen.rows.get_mut(&job_id) {
            (row.ring, row.ring_at) = (Some(ring), None);
        }
        self.foreseen.ready.clear();
        self.sql.write("UPDATE jobs SET ring = ?, ring_at = NULL WHERE n = ?", values![ring_word(ring), n])
    }

    /// The first priority among the ready rows of a queue; `None`: there are none.
    pub(super) fn first_ready(&mut self, queue: &str) -> Result<Option<i64>, StorageError> {
        if let Some(first) = self.foreseen.ready.get(queue) {
            return Ok(*first);
        }
        let query = "SELECT min(priority) FROM jobs WHERE queue = ? AND ring = 'ready'";
        let first = self.sql.single(query, values![queue], |columns| columns.maybe_int())?;
        self.foreseen.ready.insert(queue.to_owned(), first);
        Ok(first)
    }

    /// Whether a lane has ready rows of this priority in a queue.
    pub(super) fn has_ready(&mut self, queue: &str, priority: i64, lane: Lane) -> Result<bool, StorageError> {
        let query = "SELECT n FROM jobs WHERE queue = ? AND ring = 'ready' AND priority = ? AND lane = ? LIMIT 1";
        Ok(self.sql.one(query, values![queue, priority, lane.number()], |_| Ok(()))?.is_some())
    }

    /// Removes an outstanding bell and says where it was.
    pub(super) fn remove_bell(&mut self, bell: BellId) -> Result<Option<(String, BellSeq)>, StorageError> {
        if self.foreseen.bells_of.contains(&bell.job_id) {
            let held = self.foreseen.bells.remove(&bell);
            if let Some((_, seq)) = &held {
                self.sql.write("DELETE FROM bells WHERE seq = ?", values![seq.0])?;
            }
            return Ok(held);
        }
        let query = "DELETE FROM bells WHERE job_id = ? AND dispatch = ? RETURNING queue, seq";
        let read = |columns: &mut dyn Columns| Ok((columns.text()?, BellSeq(columns.counter()?)));
        self.sql.one(query, values![bell.job_id.0, bell.dispatch.0], read)
    }

    pub(super) fn payload(&mut self, n: i64) -> Result<Option<Box<RawValue>>, StorageError> {
        match self.foreseen.payloads.get(&n) {
            Some(known) => Ok(known.clone()),
            None => self.sql.one("SELECT payload FROM payloads WHERE n = ?", values![n], |columns| columns.json()),
        }
    }

    pub(super) fn keyed_job(&mut self, tenant: i64, key: &str) -> Result<Option<KeyedJob>, StorageError> {
        if !self.foreseen.keys.is_empty()
            && let Some(known) = self.foreseen.keys.get(&(tenant, key.to_owned()))
        {
            return Ok(known.clone());
        }
        let query = "SELECT job_id, fingerprint FROM idempotency_keys WHERE tenant = ? AND key = ? AND created_at > ?";
        self.sql.one(query, values![tenant, key, self.context.wall_ms - IDEMPOTENCY_KEY_MS], keyed_job)
    }

    pub(super) fn put_key(
        &mut self,
        tenant: i64,
        key: &str,
        job_id: JobId,
        fingerprint: &str,
    ) -> Result<(), StorageError> {
        if let Some(known) = self.foreseen.keys.get_mut(&(tenant, key.to_owned())) {
            *known = Some((job_id, fingerprint.to_owned()));
        }
        let query = "INSERT INTO idempotency_keys (tenant, key, job_id, fingerprint, created_at) VALUES (?, ?, ?, ?, ?)
                     ON CONFLICT (tenant, key) DO UPDATE SET job_id = excluded.job_id,
                         fingerprint = excluded.fingerprint, created_at = excluded.created_at";
        self.sql.write(query, values![tenant, key, job_id.0, fingerprint, self.context.wall_ms])
    }
}

fn keyed_job(columns: &mut dyn Columns) -> Result<KeyedJob, StorageError> {
    let job_id = JobId(columns.uuid()?);
    Ok((job_id, columns.text()?))
}
