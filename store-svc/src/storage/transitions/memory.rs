//! What the writer knows without asking: counters, outstanding bells, live sessions. Read again after a transaction that failed, and after
//! one of another store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::ids::{Epoch, InstanceId, Position, SessionId, Version};
use protocol::invalidation::grant::{HolderWatch, Holding};
use protocol::key::TaskPattern;
use protocol::queue::Depth;
use protocol::webhook::Filter;
use uuid::Uuid;

use crate::storage::live::{Live, Session};
use crate::storage::sql::{Sql, Value, values};
use crate::storage::{BellSeq, StorageError, TENANT};

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
        sql.all(asked::LISTENERS, values![TENANT], |columns| {
            Ok(Self { id: columns.uuid()?, filter: serde_json::from_str(columns.word()?)? })
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Unix ms.
    pub(super) paused_at: Option<i64>,
    pub(super) outstanding: u64,
    /// The highest bell that a claim named.
    pub(super) claimed_through: BellSeq,
    pub(super) depth: Depth,
    /// The table has older values of these.
    pub(super) unsaved: bool,
    /// Whether others were ever told of this queue.
    pub(super) told: bool,
    /// Rows after this place that no session matched may be matched now: they are looked at again before anything behind them is
    /// rung. `None`: all rows are where they belong.
    pub(super) looked_through: Option<Place>,
    /// Where the next look at the many names of a pattern goes on, by its prefix.
    pub(super) turns: BTreeMap<String, String>,
}

/// A place in the order of ringing: priority, then age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: i64,
    pub(super) n: i64,
}

impl Place {
    pub(super) const START: Self = Self { priority: -1, n: 0 };
}

impl Queue {
    pub(super) fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }
}

/// What [`Memory::load`] asks.
mod asked {
    pub(super) const META: &str =
        "SELECT version, fenced_through, jobs_through, epoch, sequencer, sequencer_renewal FROM meta WHERE tenant = ?";
    pub(super) const QUEUES: &str =
        "SELECT queue, paused_at, claimed_through, scheduled, queued, running FROM queues WHERE tenant = ?";
    pub(super) const OUTSTANDING: &str = "SELECT queue, count(*) FROM bells WHERE tenant = ? GROUP BY queue";
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
        let tenant: &[Value<'_>] = values![TENANT];
        sql.ahead(&[
            (asked::META, tenant),
            (asked::HEAD, &[]),
            (asked::NEWEST, &[]),
            (asked::BELLS, &[]),
            (asked::CLAIMED, &[]),
            (asked::SESSIONS, tenant),
            (asked::LISTENERS, tenant),
            (asked::QUEUES, tenant),
            (asked::OUTSTANDING, tenant),
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
            (known.looked_through, known.turns) = (queue.looked_through, queue.turns);
            known.told = queue.told && (known.depth, known.paused_at) == (queue.depth, queue.paused_at);
        }
        // In whatever became known there, rows that wait may be matched now. The other store has said so of those that were deferred.
        for name in fresh.live.widened_since(&self.live) {
            fresh.queue(&name).looked_through = Some(Place::START);
        }
        fresh.live_told = self.live_told && *fresh.live == *self.live;
        Ok(fresh)
    }

    fn load_queues(&mut self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let queues = sql.all(asked::QUEUES, values![TENANT], |columns| {
            Ok((columns.text()?, columns.maybe_int()?, BellSeq(columns.counter()?), columns.depth()?))
        })?;
        for (name, paused_at, claimed_through, depth) in queues {
            let queue = self.queue(&name);
            (queue.paused_at, queue.claimed_through, queue.depth) = (paused_at, claimed_through, depth);
        }
        let outstanding =
            sql.all(asked::OUTSTANDING, values![TENANT], |columns| Ok((columns.text()?, columns.counter()?)))?;
        for (name, outstanding) in outstanding {
            self.queue(&name).outstanding = outstanding;
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

    /// The queue's state. One that was not known is looked through from its start: its rows were placed by whoever was here before.
    pub(super) fn queue(&mut self, name: &str) -> &mut Queue {
        if !self.queues.contains_key(name) {
            let queue = Queue { looked_through: Some(Place::START), ..Queue::default() };
            self.queues.insert(name.to_owned(), queue);
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

fn counter(sql: &mut dyn Sql, query: &'static str) -> Result<u64, StorageError> {
    sql.single(query, &[], |columns| columns.counter())
}

pub(in crate::storage) fn sessions(sql: &mut dyn Sql) -> Result<Vec<Session>, StorageError> {
    sql.all(asked::SESSIONS, values![TENANT], |columns| {
        let id = SessionId(columns.uuid()?);
        let worker = columns.text()?;
        let queues: BTreeMap<String, u64> = serde_json::from_str(columns.word()?)?;
        let tasks: BTreeSet<TaskPattern> = serde_json::from_str(columns.word()?)?;
        Ok(Session { id, worker, queues, tasks, since_ms: columns.int()? })
    })
}
