//! Whose jobs they are: tenants by name and number, what they have in all queues together, and what their limits allow now.

use std::collections::{BTreeMap, HashMap};

use protocol::dispatch::Rate;
use protocol::problem::{Kind, Problem};
use protocol::queue::Depth;
use protocol::store_api::Reply;
use protocol::tenant::{FULL_RETRY_AFTER_S, Limits, TENANTS_MAX, Tenant, TenantView, Tenants};
use protocol::time::Timestamp;
use uuid::Uuid;

use super::line::PRIORITIES;
use super::memory::Queue;
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
const DEPTH: &str = "SELECT CAST(coalesce(sum(scheduled), 0) AS BIGINT), CAST(coalesce(sum(queued), 0) AS BIGINT),
                         CAST(coalesce(sum(running), 0) AS BIGINT) FROM queues WHERE tenant = ?";

const DEPTHS: &str =
    "SELECT tenant, CAST(sum(scheduled) AS BIGINT), CAST(sum(queued) AS BIGINT), CAST(sum(running) AS BIGINT)
                      FROM queues GROUP BY tenant";

/// Of the rows that wait for a place, and of those that nobody who consumes bells knows.
const FIRST_TASKS: [&str; 2] = [
    "SELECT task FROM jobs WHERE queue = ? AND ring = 'ready' AND priority = ? AND tenant = ? ORDER BY n LIMIT 1",
    "SELECT task FROM jobs WHERE queue = ? AND ring = 'no_match' AND priority = ? AND tenant = ? ORDER BY n LIMIT 1",
];

/// What the writer knows of a tenant.
#[derive(Clone, Debug)]
pub(super) struct KnownTenant {
    pub(super) number: i64,
    pub(super) name: Tenant,
    pub(super) limits: Limits,
    /// When its rate lets the next one start, as [`Rate`] counts, Unix µs.
    pub(super) next_start_us: i64,
    /// Unix ms.
    created_at: i64,
    /// What the ids of the jobs of its schedules are made of. Whoever knew it could take them before.
    pub(super) salt: Uuid,
    /// Its jobs in all queues.
    pub(super) depth: Depth,
    /// Its bells that are out.
    pub(super) offered: u64,
    /// The table has an older `next_start_us`.
    unsaved: bool,
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
        let (next_start_us, created_at, salt) = (columns.int()?, columns.int()?, columns.uuid()?);
        let (depth, offered) = (Depth::default(), 0);
        Ok(Self { number, name, limits, next_start_us, created_at, salt, depth, offered, unsaved: false })
    }

    /// Why nothing more of it may be started or offered now.
    pub(super) fn held_back(&self, wall_ms: i64) -> Option<HeldBack> {
        if self.limits.running_max.is_some_and(|most| self.depth.running + self.offered >= most) {
            return Some(HeldBack::Running);
        }
        let rate = Rate(self.limits.rate_per_second?);
        // What is offered while all slots are busy would be started together.
        if self.offered >= u64::from(rate.burst()) {
            return Some(HeldBack::Running);
        }
        self.starts_at(wall_ms).map(HeldBack::Until)
    }

    /// When its rate lets the next one start, Unix ms; `None`: now.
    fn starts_at(&self, wall_ms: i64) -> Option<i64> {
        let now_us = wall_ms.saturating_mul(1_000);
        let at_us = Rate(self.limits.rate_per_second?).earliest_us(self.next_start_us, now_us);
        (at_us > now_us).then(|| at_us.div_euclid(1_000) + 1)
    }

    pub(super) fn view(&self) -> TenantView {
        TenantView {
            tenant: self.name.clone(),
            limits: self.limits,
            depth: self.depth,
            created_at: Timestamp::from_unix_ms(self.created_at),
        }
    }

    fn save(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "INSERT INTO tenants (tenant, name, share, running_max, rate, queued_max, next_start, created_at, salt)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (tenant) DO UPDATE SET share = ?3, running_max = ?4, rate = ?5, queued_max = ?6, next_start = ?7";
        let Limits { share, running_max, rate_per_second, queued_max } = self.limits;
        let rate = rate_per_second.map(i64::from);
        let values = values![
            self.number,
            self.name.as_str(),
            share,
            running_max,
            rate,
            queued_max,
            self.next_start_us,
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
    let depths = sql.all(DEPTHS, &[], |columns| Ok((columns.int()?, columns.depth()?)))?;
    let depths: HashMap<i64, Depth> = depths.into_iter().collect();
    for tenant in &mut tenants {
        tenant.depth = depths.get(&tenant.number).copied().unwrap_or_default();
    }
    Ok(Tenants { tenants: tenants.iter().map(KnownTenant::view).collect() })
}

/// A tenant that has limits which hold back what waits, with what these count.
pub(super) fn limited(sql: &mut dyn Sql, number: i64) -> Result<Option<KnownTenant>, StorageError> {
    let known = sql.one(BY_NUMBER, values![number], KnownTenant::read)?;
    let Some(mut tenant) = known.filter(|known| known.limits.holds_back()) else { return Ok(None) };
    tenant.depth = sql.single(DEPTH, values![number], |columns| columns.depth())?;
    let query = "SELECT count(*) FROM bells WHERE tenant = ?";
    tenant.offered = sql.single(query, values![number], |columns| columns.counter())?;
    Ok(Some(tenant))
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// As many run, or are offered, as may.
    Running,
    /// Its rate is used up until then, Unix ms.
    Until(i64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct KnownTenants {
    numbers: HashMap<Tenant, i64>,
    all: BTreeMap<i64, KnownTenant>,
    /// Whether any has a limit that holds back what waits.
    any_limited: bool,
}

impl KnownTenants {
    pub(super) fn load(sql: &mut dyn Sql) -> Result<Self, StorageError> {
        let mut known = Self::default();
        for tenant in sql.all(ALL, &[], KnownTenant::read)? {
            known.put(tenant);
        }
        Ok(known)
    }

    fn put(&mut self, tenant: KnownTenant) {
        self.numbers.insert(tenant.name.clone(), tenant.number);
        self.all.insert(tenant.number, tenant);
        self.any_limited = self.all.values().any(|tenant| tenant.limits.holds_back());
    }

    pub(super) fn number(&self, name: &Tenant) -> Option<i64> {
        if name.is_default() { Some(SYSTEM) } else { self.numbers.get(name).copied() }
    }

    pub(super) fn get(&self, number: i64) -> Option<&KnownTenant> {
        self.all.get(&number)
    }

    pub(super) fn counts(&mut self, number: i64, count: impl FnOnce(&mut KnownTenant)) {
        if let Some(known) = self.all.get_mut(&number) {
            count(known);
        }
    }

    pub(super) fn share(&self, number: i64) -> u32 {
        self.all.get(&number).map_or(1, |known| known.limits.share)
    }

    fn has_limits(&self, number: i64) -> bool {
        self.any_limited && self.all.get(&number).is_some_and(|known| known.limits.holds_back())
    }

    /// Why nothing more of the tenant may be offered now.
    pub(super) fn held_back(&self, number: i64, wall_ms: i64) -> Option<HeldBack> {
        if self.any_limited { self.all.get(&number)?.held_back(wall_ms) } else { None }
    }

    /// When the tenant's rate lets the next one start, Unix ms; `None`: now.
    pub(super) fn starts_at(&self, number: i64, wall_ms: i64) -> Option<i64> {
        if self.any_limited { self.all.get(&number)?.starts_at(wall_ms) } else { None }
    }

    /// Whether one more of it may run: bells that are out are as they are.
    pub(super) fn may_run(&self, number: i64) -> bool {
        let known = if self.any_limited { self.all.get(&number) } else { None };
        known.is_none_or(|known| known.limits.running_max.is_none_or(|most| known.depth.running < most))
    }

    /// Writes what has changed.
    pub(super) fn save(&mut self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        if self.any_limited {
            for tenant in self.all.values_mut().filter(|tenant| tenant.unsaved) {
                tenant.save(sql)?;
                tenant.unsaved = false;
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
        let (created_at, depth) = (self.context.wall_ms, Depth::default());
        let name = name.clone();
        let tenant =
            KnownTenant { number, name, limits, next_start_us: 0, created_at, salt, depth, offered: 0, unsaved: false };
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
                if tenant.limits.rate_per_second != limits.rate_per_second {
                    tenant.next_start_us = 0;
                }
                tenant.limits = limits;
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
        let most = known.limits.queued_max?;
        if known.depth.queued + known.depth.scheduled < most {
            return None;
        }
        let detail = format!("{most} jobs of the tenant {} wait, which is its limit; try again later.", known.name);
        self.count("tenant_full");
        Some(Kind::TenantFull.detail(detail).retry_after_s(FULL_RETRY_AFTER_S))
    }

    /// A job of the tenant is offered to workers, or taken without having been.
    pub(super) fn uses_rate(&mut self, tenant: i64) {
        self.counts_rate(tenant, |rate, next_us, now_us| rate.started(next_us, now_us));
    }

    /// What was offered did not start.
    pub(super) fn gives_rate_back(&mut self, tenant: i64) {
        self.counts_rate(tenant, |rate, next_us, _| rate.given_back(next_us));
    }

    fn counts_rate(&mut self, tenant: i64, count: impl FnOnce(Rate, i64, i64) -> i64) {
        let now_us = self.context.wall_ms.saturating_mul(1_000);
        self.memory.tenants.counts(tenant, |known| {
            if let Some(rate) = known.limits.rate_per_second {
                known.next_start_us = count(Rate(rate), known.next_start_us, now_us);
                known.unsaved = true;
            }
        });
    }

    /// Whether something else of the tenant may be offered or taken now. When its rate forbids it, the queue is looked at again in time.
    pub(super) fn may_offer(&mut self, queue: &str, tenant: i64) -> bool {
        match self.memory.tenants.held_back(tenant, self.context.wall_ms) {
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

    /// Something of a tenant that was held back may be started now.
    pub(super) fn wake_if_limited(&mut self, tenant: i64) -> Result<(), StorageError> {
        if !self.memory.tenants.has_limits(tenant) {
            return Ok(());
        }
        for queue in self.queues_where_it_waits(tenant) {
            self.memory.agitate(&queue);
            self.offer_one(&queue, tenant)?;
        }
        Ok(())
    }

    /// Whatever waits of the tenant may be started now.
    fn wake(&mut self, tenant: i64) {
        for queue in self.queues_where_it_waits(tenant) {
            self.memory.agitate(&queue);
            self.signals.resumed.push(queue);
        }
    }

    fn queues_where_it_waits(&self, tenant: i64) -> Vec<String> {
        let waits = |queue: &Queue| queue.parts.get(&tenant).is_some_and(|part| part.depth.queued > 0);
        self.memory.queues.iter().filter(|(_, queue)| waits(queue)).map(|(name, _)| name.clone()).collect()
    }

    /// Tells one of the workers that pull, if there are any, that the tenant's first row waits.
    fn offer_one(&mut self, queue: &str, tenant: i64) -> Result<(), StorageError> {
        if !self.memory.live.is_pulled_from(queue) {
            return Ok(());
        }
        let mut others = false;
        for priority in PRIORITIES {
            for query in FIRST_TASKS {
                let first = self.sql.one(query, values![queue, priority, tenant], |columns| columns.text())?;
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
                    due.push((name.clone(), waits.map(|(tenant, _)| *tenant).collect::<Vec<i64>>()));
                }
                Some(at_ms) => later = Some(later.map_or(at_ms, |known: i64| known.min(at_ms))),
                None => {}
            }
        }
        for (queue, tenants) in due {
            self.memory.agitate(&queue);
            for tenant in tenants {
                if self.memory.tenants.has_limits(tenant) && self.may_offer(&queue, tenant) {
                    self.offer_one(&queue, tenant)?;
                }
            }
        }
        later.into_iter().for_each(|at_ms| self.due(at_ms));
        Ok(())
    }
}
