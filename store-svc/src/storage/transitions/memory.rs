//! What the writer knows without asking: counters, outstanding bells, live sessions. Read again after a transaction that failed, and after
//! one of another store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::dispatch::{Lane, Shares};
use protocol::ids::{Epoch, InstanceId, Position, SessionId, Version};
use protocol::invalidation::grant::{HolderWatch, Holding};
use protocol::key::TaskPattern;
use protocol::queue::Depth;
use protocol::tenant::Tenant;
use protocol::webhook::Filter;
use uuid::Uuid;

use super::key_lanes;
use super::tenants::{self, KnownTenants};
use crate::storage::live::{Live, Session};
use crate::storage::row::{Row, priority_number};
use crate::storage::sql::{Sql, Value, values};
use crate::storage::{BellSeq, SYSTEM, StorageError};

#[derive(Clone, Debug)]
pub(in crate::storage) struct Memory {
    pub(super) head: Position,
    /// The highest number that a row was given.
    pub(super) newest: i64,
    pub(super) bells: BellSeq,
    pub(super) version: Version,
    pub(super) fenced_through: Position,
    /// The sequencer's lease, and how long we saw its holder silent.
    pub(super) holding: Holding,
    pub(super) holder_watch: HolderWatch,
    /// Where nobody else reads them, renewals are written with whatever is written next: a restart counts anew anyway.
    pub(super) holding_unsaved: bool,
    pub(super) live: Arc<Live>,
    /// Whether others were told of these sessions.
    pub(super) live_told: bool,
    pub(super) queues: HashMap<String, Queue>,
    pub(super) tenants: KnownTenants,
    /// Queues with rows to ring or freed places since they were rung last.
    pub(super) restless: BTreeSet<String>,
    /// Webhooks that are enabled.
    pub(super) listeners: Arc<[Listener]>,
}

/// Who is told of which ends of jobs.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) id: Uuid,
    pub(super) filter: Filter,
}

impl Listener {
    pub(super) fn load(sql: &mut dyn Sql) -> Result<Vec<Self>, StorageError> {
        sql.all(asked::LISTENERS, values![SYSTEM], |columns| {
            Ok(Self { id: columns.uuid()?, filter: serde_json::from_str(columns.word()?)? })
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Unix ms.
    pub(super) paused_at: Option<i64>,
    /// Those that hold a place, in the order in which they were given out.
    pub(super) bells: BTreeMap<BellSeq, Offered>,
    /// The highest bell that a claim named.
    pub(super) claimed_through: BellSeq,
    /// Of all tenants together.
    pub(super) depth: Depth,
    /// What each lane has in it.
    pub(super) parts: BTreeMap<Lane, Part>,
    /// The line was read to its end since a task became known. Until then what begins to wait in a lane is looked at again, too.
    pub(super) looked_through: bool,
    /// Who got how much of it lately. Each store sees what it started itself.
    pub(super) shares: Shares,
    /// The table has older values of these.
    pub(super) unsaved: bool,
    /// Whether others were ever told of this queue.
    pub(super) told: bool,
    /// When somebody may start more who could not by a rate, Unix ms.
    pub(super) more_at: Option<i64>,
    /// Where the next look at the many names of a pattern goes on, by its prefix.
    pub(super) turns: BTreeMap<String, String>,
}

/// What a lane has in a queue.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) depth: Depth,
    /// Bells that are out.
    pub(super) offered: u64,
    /// Rows after this place that no session matched may be matched now: they are looked at again before anything behind them is
    /// rung. `None`: all rows are where they belong.
    pub(super) looked_through: Option<Place>,
    pub(super) unsaved: bool,
}

/// Of the parts of a queue those of a tenant's lanes.
pub(super) fn of_tenant(parts: &BTreeMap<Lane, Part>, tenant: i64) -> impl Iterator<Item = (&Lane, &Part)> {
    parts.range(Lane::of(tenant)..Lane::of(tenant + 1))
}

/// A bell that is out: whose, and for which row, unless that is known to wait no longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offered {
    pub(super) lane: Lane,
    pub(super) row: Option<Place>,
}

/// A place in the order of ringing within a lane: priority, then age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: i64,
    pub(super) n: i64,
}

impl Place {
    pub(super) const START: Self = Self { priority: -1, n: 0 };

    pub(super) fn of(row: &Row) -> Self {
        Self { priority: priority_number(row.priority), n: row.n }
    }
}

impl Queue {
    pub(super) fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.bells.len().try_into().unwrap_or(u64::MAX)
    }

    /// What the lane has in it: nothing, if the table has nothing.
    pub(super) fn part(&mut self, lane: Lane) -> &mut Part {
        let looked_through = (!self.looked_through).then_some(Place::START);
        self.parts.entry(lane).or_insert_with(|| Part {
            depth: Depth::default(),
            offered: 0,
            looked_through,
            unsaved: false,
        })
    }

    pub(super) fn offered(&mut self, seq: BellSeq, offered: Offered) {
        self.bells.insert(seq, offered);
        self.part(offered.lane).offered += 1;
    }

    /// A bell is not out any more; says whose it was.
    pub(super) fn taken(&mut self, seq: BellSeq) -> Option<Lane> {
        let Offered { lane, .. } = self.bells.remove(&seq)?;
        let part = self.part(lane);
        part.offered = part.offered.saturating_sub(1);
        Some(lane)
    }

    /// All rows are to be looked at again.
    pub(super) fn look_through_again(&mut self) {
        self.looked_through = false;
        self.parts.values_mut().for_each(|part| part.looked_through = Some(Place::START));
    }
}

/// What [`Memory::load`] asks.
mod asked {
    pub(super) const META: &str =
        "SELECT version, fenced_through, jobs_through, epoch, sequencer, sequencer_renewal FROM meta WHERE tenant = ?";
    pub(super) const QUEUES: &str =
        "SELECT queue, lane, paused_at, claimed_through, scheduled, queued, running FROM queues";
    pub(super) const OUTSTANDING: &str = "SELECT bells.queue, seq, bells.lane, priority, n
                                          FROM bells LEFT JOIN jobs ON jobs.job_id = bells.job_id";
    pub(super) const NEWEST: &str = "SELECT coalesce(max(n), 0) FROM jobs";
    pub(super) const HEAD: &str = "SELECT coalesce(max(position), 0) FROM log";
    /// The highest numbers that can have been given out, also when their bells have been claimed since.
    pub(super) const BELLS: &str = "SELECT coalesce(max(seq), 0) FROM bells";
    pub(super) const CLAIMED: &str = "SELECT coalesce(max(claimed_through), 0) FROM queues";
    pub(super) const LISTENERS: &str = "SELECT webhook, filter FROM webhooks WHERE tenant = ? AND disabled_at IS NULL AND name IS NOT NULL ORDER BY name";
    pub(super) const SESSIONS: &str =
        "SELECT session, worker, queues, tasks, since FROM sessions WHERE tenant = ? ORDER BY session";
}

impl Memory {
    /// Reads everything.
    pub(in crate::storage) fn load(sql: &mut dyn Sql) -> Result<Self, StorageError> {
        let tenant: &[Value<'_>] = values![SYSTEM];
        sql.ahead(&[
            (asked::META, tenant),
            (asked::HEAD, &[]),
            (asked::NEWEST, &[]),
            (asked::BELLS, &[]),
            (asked::CLAIMED, &[]),
            (asked::SESSIONS, tenant),
            (asked::LISTENERS, tenant),
            (tenants::ALL, &[]),
            (key_lanes::ALL, &[]),
            (asked::QUEUES, &[]),
            (asked::OUTSTANDING, &[]),
        ])?;
        let (version, fenced_through, dropped, holding) = sql.single(asked::META, tenant, |columns| {
            let (version, fenced_through) = (Version(columns.counter()?), Position(columns.counter()?));
            let dropped = columns.int()?;
            let epoch = Epoch(columns.counter()?);
            let holder = columns.maybe_uuid()?.map(InstanceId);
            Ok((version, fenced_through, dropped, Holding { epoch, holder, renewal: columns.counter()? }))
        })?;
        let mut memory = Self {
            head: position(sql)?,
            newest: sql.single(asked::NEWEST, &[], |columns| columns.int())?.max(dropped),
            bells: BellSeq(counter(sql, asked::BELLS)?.max(counter(sql, asked::CLAIMED)?)),
            version,
            fenced_through,
            holding,
            holder_watch: HolderWatch::default(),
            holding_unsaved: false,
            live: Arc::new(Live::of(sessions(sql)?)),
            live_told: false,
            tenants: KnownTenants::load(sql)?,
            queues: HashMap::new(),
            restless: BTreeSet::new(),
            listeners: Listener::load(sql)?.into(),
        };
        memory.load_queues(sql)?;
        Ok(memory)
    }

    /// Reads everything again, because another store wrote meanwhile. What this one has seen by its own clock and looked through itself goes on.
    pub(in crate::storage) fn reload(self, sql: &mut dyn Sql) -> Result<Self, StorageError> {
        let mut fresh = Self::load(sql)?;
        fresh.holder_watch = self.holder_watch;
        for (name, queue) in self.queues {
            let known = fresh.queues.entry(name).or_default();
            (known.turns, known.shares, known.more_at) = (queue.turns, queue.shares, queue.more_at);
            for (lane, part) in queue.parts {
                known.part(lane).looked_through = part.looked_through;
            }
            known.told = queue.told && (known.depth, known.paused_at) == (queue.depth, queue.paused_at);
        }
        // In whatever became known there, rows that wait may be matched now. The other store has said so of those that were deferred.
        for name in fresh.live.widened_since(&self.live) {
            fresh.queue(&name).look_through_again();
        }
        fresh.live_told = self.live_told && *fresh.live == *self.live;
        Ok(fresh)
    }

    fn load_queues(&mut self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let queues = sql.all(asked::QUEUES, &[], |columns| {
            let (name, lane, paused_at) = (columns.text()?, Lane::numbered(columns.int()?), columns.maybe_int()?);
            Ok((name, lane, paused_at, BellSeq(columns.counter()?), columns.depth()?))
        })?;
        for (name, lane, paused_at, claimed_through, depth) in queues {
            let queue = self.queue(&name);
            if lane == Lane::of(SYSTEM) {
                (queue.paused_at, queue.claimed_through) = (paused_at, claimed_through);
            }
            queue.depth.add(depth);
            let part = queue.part(lane);
            // Its rows were placed by whoever was here before.
            (part.depth, part.looked_through) = (depth, Some(Place::START));
            self.tenants.counts(lane, |allowance| allowance.depth.add(depth));
        }
        let out = sql.all(asked::OUTSTANDING, &[], |columns| {
            let (name, seq) = (columns.text()?, BellSeq(columns.counter()?));
            let lane = Lane::numbered(columns.int()?);
            let (priority, n) = (columns.maybe_int()?, columns.maybe_int()?);
            let row = priority.zip(n).map(|(priority, n)| Place { priority, n });
            Ok((name, seq, Offered { lane, row }))
        })?;
        for (name, seq, offered) in out {
            self.queue(&name).offered(seq, offered);
            self.tenants.counts(offered.lane, |allowance| allowance.offered += 1);
        }
        let consumed: Vec<String> = self.live.queues().map(ToOwned::to_owned).collect();
        for name in consumed {
            self.queue(&name);
            self.restless.insert(name);
        }
        Ok(())
    }

    /// The number of the next row.
    pub(super) fn next_row(&mut self) -> i64 {
        self.newest += 1;
        self.newest
    }

    pub(super) fn queue(&mut self, name: &str) -> &mut Queue {
        if !self.queues.contains_key(name) {
            self.queues.insert(name.to_owned(), Queue::default());
        }
        self.queues.get_mut(name).expect("it was just put there")
    }

    pub(super) fn agitate(&mut self, queue: &str) {
        if !self.restless.contains(queue) {
            self.restless.insert(queue.to_owned());
        }
    }
}

/// The log's head.
pub(in crate::storage) fn position(sql: &mut dyn Sql) -> Result<Position, StorageError> {
    counter(sql, asked::HEAD).map(Position)
}

/// The position, and the number under which a tenant's rows stand, in one round trip.
pub(super) fn position_and_number(sql: &mut dyn Sql, tenant: &Tenant) -> Result<(Position, Option<i64>), StorageError> {
    if tenant.is_default() {
        return Ok((position(sql)?, Some(SYSTEM)));
    }
    sql.ahead(&[(asked::HEAD, &[]), (tenants::NUMBER, values![tenant.as_str()])])?;
    Ok((position(sql)?, tenants::number_of(sql, tenant)?))
}

fn counter(sql: &mut dyn Sql, query: &'static str) -> Result<u64, StorageError> {
    sql.single(query, &[], |columns| columns.counter())
}

pub(in crate::storage) fn sessions(sql: &mut dyn Sql) -> Result<Vec<Session>, StorageError> {
    sql.all(asked::SESSIONS, values![SYSTEM], |columns| {
        let id = SessionId(columns.uuid()?);
        let worker = columns.text()?;
        let queues: BTreeMap<String, u64> = serde_json::from_str(columns.word()?)?;
        let tasks: BTreeSet<TaskPattern> = serde_json::from_str(columns.word()?)?;
        Ok(Session { id, worker, queues, tasks, since_ms: columns.int()? })
    })
}
