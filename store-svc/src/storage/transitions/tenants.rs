//! Whose jobs they are: tenants by name and number, what they and their API keys have in all queues together, and what their limits allow now.

use std::collections::{BTreeMap, HashMap};

use protocol::access::KeyId;
use protocol::api::WaitingFor;
use protocol::dispatch::{Lane, Rate, Standing};
use protocol::problem::{Kind, Problem};
use protocol::queue::Depth;
use protocol::store_api::Reply;
use protocol::tenant::{FULL_RETRY_AFTER_S, Limits, TENANTS_MAX, Tenant, TenantView, Tenants};
use protocol::time::Timestamp;
use uuid::Uuid;

use super::allowance::{Allowance, HeldBack};
use super::key_lanes::{self, KnownKey};
use super::line::PRIORITIES;
use super::memory::{Queue, of_tenant};
use super::{Decided, Transaction};
use crate::storage::sql::{Columns, Sql, values};
use crate::storage::{Offer, SYSTEM, StorageError};

macro_rules! tenant_columns {
    () => {
        "tenant, name, share, running_max, rate, queued_max, next_start, created_at, salt"
    };
}

pub(super) const ALL: &str = concat!("SELECT ", tenant_columns!(), " FROM tenants");

pub(super) const NUMBER: &str = "SELECT tenant FROM tenants WHERE name = ?";
const BY_NAME: &str = concat!("SELECT ", tenant_columns!(), " FROM tenants ORDER BY name");
const BY_NUMBER: &str = concat!("SELECT ", tenant_columns!(), " FROM tenants WHERE tenant = ?");
const DEPTHS: &str =
    "SELECT lane, CAST(sum(scheduled) AS BIGINT), CAST(sum(queued) AS BIGINT), CAST(sum(running) AS BIGINT)
                      FROM queues GROUP BY lane";
const OFFERED: &str = "SELECT lane, count(*) FROM bells GROUP BY lane";

/// Of the rows that wait for a place, and of those that nobody who consumes bells knows.
const FIRST_TASKS: [&str; 2] = [
    "SELECT task FROM jobs WHERE queue = ? AND ring = 'ready' AND priority = ? AND lane = ? ORDER BY n LIMIT 1",
    "SELECT task FROM jobs WHERE queue = ? AND ring = 'no_match' AND priority = ? AND lane = ? ORDER BY n LIMIT 1",
];

/// What the writer knows of a tenant.
#[derive(Clone, Debug)]
pub(super) struct KnownTenant {
    pub(super) number: i64,
    pub(super) name: Tenant,
    pub(super) allowance: Allowance,
    /// Unix ms.
    created_at: i64,
    /// What the ids of the jobs of its schedules are made of. Whoever knew it could take them before.
    pub(super) salt: Uuid,
}

impl KnownTenant {
    pub(super) fn read(columns: &mut dyn Columns) -> Result<Self, StorageError> {
        let number = columns.int()?;
        let name = Tenant::try_from(columns.text()?).map_err(|error| StorageError::Internal(error.to_string()))?;
        let limits = Limits {
            share: columns.small()?,
            running_max: columns.maybe_int()?.map(i64::cast_unsigned),
            rate_per_second: columns.maybe_int()?.and_then(|rate| u32::try_from(rate).ok()),
            queued_max: columns.maybe_int()?.map(i64::cast_unsigned),
        };
        let allowance = Allowance { limits, next_start_us: columns.int()?, ..Allowance::default() };
        Ok(Self { number, name, allowance, created_at: columns.int()?, salt: columns.uuid()? })
    }

    pub(super) fn view(&self) -> TenantView {
        TenantView {
            tenant: self.name.clone(),
            limits: self.allowance.limits,
            depth: self.allowance.depth,
            created_at: Timestamp::from_unix_ms(self.created_at),
        }
    }

    fn save(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "INSERT INTO tenants (tenant, name, share, running_max, rate, queued_max, next_start, created_at, salt)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (tenant) DO UPDATE SET share = ?3, running_max = ?4, rate = ?5, queued_max = ?6, next_start = ?7";
        let Limits { share, running_max, rate_per_second, queued_max } = self.allowance.limits;
        let rate = rate_per_second.map(i64::from);
        let values = values![
            self.number,
            self.name.as_str(),
            share,
            running_max,
            rate,
            queued_max,
            self.allowance.next_start_us,
            self.created_at,
            self.salt
        ];
        sql.write(query, values)
    }
}

/// The number under which a tenant's rows stand; `None`: it has none.
pub(super) fn number_of(sql: &mut dyn Sql, name: &Tenant) -> Result<Option<i64>, StorageError> {
    sql.one(NUMBER, values![name.as_str()], |columns| columns.int())
}

/// All of them, by name.
pub(super) fn views(sql: &mut dyn Sql) -> Result<Tenants, StorageError> {
    let mut tenants = sql.all(BY_NAME, &[], KnownTenant::read)?;
    let mut of_tenants: HashMap<i64, Depth> = HashMap::new();
    for (lane, depth) in depths(sql)? {
        of_tenants.entry(lane.tenant).or_default().add(depth);
    }
    for tenant in &mut tenants {
        tenant.allowance.depth = of_tenants.get(&tenant.number).copied().unwrap_or_default();
    }
    Ok(Tenants { tenants: tenants.iter().map(KnownTenant::view).collect() })
}

fn depths(sql: &mut dyn Sql) -> Result<Vec<(Lane, Depth)>, StorageError> {
    sql.all(DEPTHS, &[], |columns| Ok((Lane::numbered(columns.int()?), columns.depth()?)))
}

/// Whose limit is reached.
pub(super) enum Reached<'k> {
    Tenant(&'k KnownTenant, HeldBack),
    Key(&'k KnownKey, HeldBack),
}

impl Reached<'_> {
    /// What a job that it holds back shows.
    pub(super) fn waiting_for(&self) -> WaitingFor {
        match self {
            Self::Tenant(..) => WaitingFor::TenantLimit,
            Self::Key(..) => WaitingFor::KeyLimit,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct KnownTenants {
    numbers: HashMap<Tenant, i64>,
    all: BTreeMap<i64, KnownTenant>,
    /// API keys that have limits, or had, by their lanes.
    keys: BTreeMap<Lane, KnownKey>,
    lanes: HashMap<KeyId, Lane>,
    /// Whether anybody has a limit that holds back what waits.
    any_limited: bool,
}

impl KnownTenants {
    pub(super) fn load(sql: &mut dyn Sql) -> Result<Self, StorageError> {
        let mut known = Self::default();
        for tenant in sql.all(ALL, &[], KnownTenant::read)? {
            known.put(tenant);
        }
        for key in sql.all(key_lanes::ALL, &[], KnownKey::read)? {
            known.put_key(key);
        }
        Ok(known)
    }

    /// Those whose limits count for the lane, with what these count, and nobody else; nobody, where nothing can be held back.
    pub(super) fn limiting(sql: &mut dyn Sql, lane: Lane) -> Result<Self, StorageError> {
        let mut known = Self::default();
        if let Some(tenant) = sql.one(BY_NUMBER, values![lane.tenant], KnownTenant::read)? {
            known.put(tenant);
        }
        if lane.is_of_a_key()
            && let Some(key) = key_lanes::load(sql, lane)?
        {
            known.put_key(key);
        }
        if known.any_limited {
            for (of, depth) in depths(sql)? {
                known.counts(of, |allowance| allowance.depth.add(depth));
            }
            let offered = |columns: &mut dyn Columns| Ok((Lane::numbered(columns.int()?), columns.counter()?));
            for (of, bells) in sql.all(OFFERED, &[], offered)? {
                known.counts(of, |allowance| allowance.offered += bells);
            }
        }
        Ok(known)
    }

    fn put(&mut self, tenant: KnownTenant) {
        self.numbers.insert(tenant.name.clone(), tenant.number);
        self.all.insert(tenant.number, tenant);
        self.look_for_limits();
    }

    pub(super) fn put_key(&mut self, key: KnownKey) {
        self.lanes.insert(key.key_id.clone(), key.lane);
        self.keys.insert(key.lane, key);
        self.look_for_limits();
    }

    fn look_for_limits(&mut self) {
        let mut allowances =
            self.all.values().map(|known| &known.allowance).chain(self.keys.values().map(|known| &known.allowance));
        self.any_limited = allowances.any(|allowance| allowance.limits.holds_back());
    }

    pub(super) fn number(&self, name: &Tenant) -> Option<i64> {
        if name.is_default() { Some(SYSTEM) } else { self.numbers.get(name).copied() }
    }

    pub(super) fn get(&self, number: i64) -> Option<&KnownTenant> {
        self.all.get(&number)
    }

    /// What is known of a key that has limits, or had.
    pub(super) fn key(&self, key_id: &KeyId) -> Option<&KnownKey> {
        self.keys.get(self.lanes.get(key_id)?)
    }

    /// Where what the tenant submits with the key waits.
    pub(super) fn lane(&self, tenant: i64, key_id: Option<&KeyId>) -> Lane {
        let key = key_id.and_then(|key_id| self.key(key_id));
        let key = key.filter(|key| key.lane.tenant == tenant && key.allowance.limits.holds_back());
        key.map_or(Lane::of(tenant), |key| key.lane)
    }

    /// The tenant's next lane for a key.
    pub(super) fn free_lane(&self, tenant: i64) -> Lane {
        let last = self.keys.range(..Lane::of(tenant + 1)).next_back().filter(|(lane, _)| lane.tenant == tenant);
        Lane { tenant, key: last.map_or(1, |(lane, _)| lane.key + 1) }
    }

    /// For the tenant, and for the key if the lane is of one.
    pub(super) fn counts(&mut self, lane: Lane, count: impl Fn(&mut Allowance)) {
        if let Some(known) = self.all.get_mut(&lane.tenant) {
            count(&mut known.allowance);
        }
        if lane.is_of_a_key()
            && let Some(known) = self.keys.get_mut(&lane)
        {
            count(&mut known.allowance);
        }
    }

    /// Whose limits count for the lane.
    fn limited(&self, lane: Lane) -> (Option<&KnownTenant>, Option<&KnownKey>) {
        let tenant = if self.any_limited { self.all.get(&lane.tenant) } else { None };
        let key = if self.any_limited && lane.is_of_a_key() { self.keys.get(&lane) } else { None };
        (tenant, key)
    }

    fn allowances(&self, lane: Lane) -> impl Iterator<Item = &Allowance> {
        let (tenant, key) = self.limited(lane);
        tenant.map(|known| &known.allowance).into_iter().chain(key.map(|known| &known.allowance))
    }

    pub(super) fn share(&self, number: i64) -> u32 {
        self.all.get(&number).map_or(1, |known| known.allowance.limits.share)
    }

    /// Its claim to the next start, if nothing is offered.
    pub(super) fn standing(&self, lane: Lane) -> Standing {
        Standing { lane, share: self.share(lane.tenant), offered: 0 }
    }

    fn has_limits(&self, lane: Lane) -> bool {
        self.allowances(lane).any(|allowance| allowance.limits.holds_back())
    }

    /// Why nothing more of the lane may be offered now.
    pub(super) fn held_back(&self, lane: Lane, wall_ms: i64) -> Option<HeldBack> {
        self.allowances(lane).filter_map(|allowance| allowance.held_back(wall_ms)).max()
    }

    /// Whose limit that is: the tenant's before the key's.
    pub(super) fn reached(&self, lane: Lane, wall_ms: i64) -> Option<Reached<'_>> {
        let (tenant, key) = self.limited(lane);
        let of_tenant = tenant.and_then(|known| Some(Reached::Tenant(known, known.allowance.held_back(wall_ms)?)));
        of_tenant.or_else(|| key.and_then(|known| Some(Reached::Key(known, known.allowance.held_back(wall_ms)?))))
    }

    /// When the rates let the next one start, Unix ms; `None`: now.
    pub(super) fn starts_at(&self, lane: Lane, wall_ms: i64) -> Option<i64> {
        self.allowances(lane).filter_map(|allowance| allowance.starts_at(wall_ms)).max()
    }

    /// Whether one more may run: bells that are out are as they are.
    pub(super) fn may_run(&self, lane: Lane) -> bool {
        self.allowances(lane).all(Allowance::may_run)
    }

    /// Writes what has changed.
    pub(super) fn save(&mut self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        if self.any_limited {
            for tenant in self.all.values_mut().filter(|tenant| tenant.allowance.unsaved) {
                tenant.save(sql)?;
                tenant.allowance.unsaved = false;
            }
            for key in self.keys.values_mut().filter(|key| key.allowance.unsaved) {
                key.save(sql)?;
                key.allowance.unsaved = false;
            }
        }
        Ok(())
    }
}

impl Transaction<'_> {
    /// The number of the tenant that creates something: one that is not known is known from now on.
    pub(super) fn tenant_that_creates(&mut self, name: &Tenant) -> Result<Result<i64, Problem>, StorageError> {
        if let Some(number) = self.memory.tenants.number(name) {
            return Ok(Ok(number));
        }
        self.add_tenant(name, Limits::default())
    }

    fn add_tenant(&mut self, name: &Tenant, limits: Limits) -> Result<Result<i64, Problem>, StorageError> {
        let salt = Uuid::from_u64_pair(self.random(), self.random());
        let known = &mut self.memory.tenants;
        if known.all.len() >= TENANTS_MAX {
            let detail = format!("There are {TENANTS_MAX} tenants, which is the limit.");
            return Ok(Err(Kind::Conflict.detail(detail)));
        }
        let number = known.all.keys().next_back().map_or(1, |last| last + 1);
        let allowance = Allowance { limits, ..Allowance::default() };
        let tenant = KnownTenant { number, name: name.clone(), allowance, created_at: self.context.wall_ms, salt };
        tenant.save(self.sql)?;
        known.put(tenant);
        self.count("tenant_added");
        Ok(Ok(number))
    }

    pub(super) fn set_tenant(&mut self, name: &Tenant, limits: Limits) -> Result<Decided, StorageError> {
        let limits = match limits.check() {
            Ok(limits) => limits,
            Err(problem) => return Ok(Err(problem)),
        };
        let known = self.memory.tenants.number(name).and_then(|number| self.memory.tenants.get(number).cloned());
        let created = known.is_none();
        let number = match known {
            None => match self.add_tenant(name, limits)? {
                Ok(number) => number,
                Err(problem) => return Ok(Err(problem)),
            },
            Some(mut tenant) => {
                tenant.allowance.set(limits);
                tenant.save(self.sql)?;
                let number = tenant.number;
                self.memory.tenants.put(tenant);
                number
            }
        };
        self.count("tenant_set");
        self.wake(number);
        let tenant = self.memory.tenants.get(number).map(KnownTenant::view);
        let tenant = tenant.ok_or_else(|| StorageError::Internal(format!("the tenant {name} was not kept")))?;
        Ok(Ok(Reply::Tenant { created, tenant: Box::new(tenant) }))
    }

    /// Why the tenant may not have one more job that waits.
    pub(super) fn tenant_full(&mut self, tenant: i64) -> Option<Problem> {
        let known = self.memory.tenants.get(tenant)?;
        let (most, depth) = (known.allowance.limits.queued_max?, known.allowance.depth);
        if depth.queued + depth.scheduled < most {
            return None;
        }
        let detail = format!("{most} jobs of the tenant {} wait, which is its limit; try again later.", known.name);
        self.count("tenant_full");
        Some(Kind::TenantFull.detail(detail).retry_after_s(FULL_RETRY_AFTER_S))
    }

    /// A job of the lane is offered to workers, or taken without having been.
    pub(super) fn uses_rate(&mut self, lane: Lane) {
        self.counts_rate(lane, |rate, next_us, now_us| rate.started(next_us, now_us));
    }

    /// What was offered did not start.
    pub(super) fn gives_rate_back(&mut self, lane: Lane) {
        self.counts_rate(lane, |rate, next_us, _| rate.given_back(next_us));
    }

    fn counts_rate(&mut self, lane: Lane, count: impl Fn(Rate, i64, i64) -> i64) {
        let now_us = self.context.wall_ms.saturating_mul(1_000);
        self.memory.tenants.counts(lane, |allowance| {
            if let Some(rate) = allowance.limits.rate_per_second {
                allowance.next_start_us = count(Rate(rate), allowance.next_start_us, now_us);
                allowance.unsaved = true;
            }
        });
    }

    /// Whether something else of the lane may be offered or taken now. When a rate forbids it, the queue is looked at again in time.
    pub(super) fn may_offer(&mut self, queue: &str, lane: Lane) -> bool {
        match self.memory.tenants.held_back(lane, self.context.wall_ms) {
            None => true,
            // Whatever ends, or is taken, wakes it.
            Some(HeldBack::Running) => false,
            Some(HeldBack::Until(at_ms)) => {
                self.look_again(queue, at_ms);
                false
            }
        }
    }

    /// The queue is looked at again then, Unix ms.
    pub(super) fn look_again(&mut self, queue: &str, at_ms: i64) {
        let more_at = &mut self.memory.queue(queue).more_at;
        *more_at = Some(more_at.map_or(at_ms, |known| known.min(at_ms)));
        self.due(at_ms);
    }

    /// Something that a limit held back may be started now: of the lane, or of another one of its tenant.
    pub(super) fn wake_if_limited(&mut self, lane: Lane) -> Result<(), StorageError> {
        if !self.memory.tenants.has_limits(lane) {
            return Ok(());
        }
        for (queue, lanes) in self.lanes_that_wait(lane.tenant) {
            self.memory.agitate(&queue);
            let free = lanes.iter().copied().find(|other| self.may_offer(&queue, *other));
            if let Some(free) = free.or(lanes.first().copied()) {
                self.offer_one(&queue, free)?;
            }
        }
        Ok(())
    }

    /// Whatever waits of the tenant may be started now.
    pub(super) fn wake(&mut self, tenant: i64) {
        for (queue, _) in self.lanes_that_wait(tenant) {
            self.memory.agitate(&queue);
            self.signals.resumed.push(queue);
        }
    }

    /// In which queues jobs of the tenant wait, and in which of its lanes there.
    fn lanes_that_wait(&self, tenant: i64) -> Vec<(String, Vec<Lane>)> {
        let waiting = |queue: &Queue| -> Vec<Lane> {
            of_tenant(&queue.parts, tenant).filter(|(_, part)| part.depth.queued > 0).map(|(lane, _)| *lane).collect()
        };
        let queues = self.memory.queues.iter().map(|(name, queue)| (name.clone(), waiting(queue)));
        queues.filter(|(_, lanes)| !lanes.is_empty()).collect()
    }

    /// Tells one of the workers that pull, if there are any, that the lane's first row waits.
    fn offer_one(&mut self, queue: &str, lane: Lane) -> Result<(), StorageError> {
        if !self.memory.live.is_pulled_from(queue) {
            return Ok(());
        }
        let mut others = false;
        for priority in PRIORITIES {
            for query in FIRST_TASKS {
                let first = self.sql.one(query, values![queue, priority, lane.number()], |columns| columns.text())?;
                match first {
                    Some(task) if self.memory.live.pulls(queue, &task) => {
                        self.signals.offers.push(Offer { queue: queue.to_owned(), task });
                        return Ok(());
                    }
                    first => others |= first.is_some(),
                }
            }
        }
        // Its first rows are for nobody who is there: something that lies behind them may be.
        if others {
            self.signals.resumed.push(queue.to_owned());
        }
        Ok(())
    }

    /// Queues whose tenants' rates allow more now are rung again; of the others it is said when.
    pub(super) fn wake_by_rate(&mut self) -> Result<(), StorageError> {
        let now = self.context.wall_ms;
        let (mut due, mut later) = (Vec::new(), None);
        for (name, queue) in &mut self.memory.queues {
            match queue.more_at {
                Some(at_ms) if at_ms <= now => {
                    queue.more_at = None;
                    let waits = queue.parts.iter().filter(|(_, part)| part.depth.queued > 0);
                    due.push((name.clone(), waits.map(|(lane, _)| *lane).collect::<Vec<Lane>>()));
                }
                Some(at_ms) => later = Some(later.map_or(at_ms, |known: i64| known.min(at_ms))),
                None => {}
            }
        }
        for (queue, lanes) in due {
            self.memory.agitate(&queue);
            for lane in lanes {
                if self.memory.tenants.has_limits(lane) && self.may_offer(&queue, lane) {
                    self.offer_one(&queue, lane)?;
                }
            }
        }
        later.into_iter().for_each(|at_ms| self.due(at_ms));
        Ok(())
    }
}
