//! What the writer knows without asking the file, because nobody else writes it: counters, outstanding bells, live sessions. Read
//! again from the file after a transaction that failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::ids::{Epoch, InstanceId, Position, SessionId, Version};
use protocol::invalidation::grant::{HolderWatch, Holding};
use protocol::key::TaskPattern;
use rusqlite::{Connection, params};

use super::columns::Columns;
use super::{StorageError, TENANT};
use crate::storage::BellSeq;
use crate::storage::live::{Live, Session};

/// The highest number that can have been given out, also when its bell has been claimed since.
const HIGHEST_BELL: &str = "SELECT max(coalesce((SELECT max(seq) FROM bells), 0),
                                       coalesce((SELECT max(claimed_through) FROM queues), 0))";

#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) head: Position,
    pub(super) bells: BellSeq,
    pub(super) version: Version,
    pub(super) fenced_through: Position,
    /// The sequencer's lease, and how long we saw its holder silent.
    pub(super) holding: Holding,
    pub(super) holder_watch: HolderWatch,
    /// Renewals are written with whatever is written next: nobody else reads the file, and a restart counts anew anyway.
    pub(super) holding_unsaved: bool,
    pub(super) live: Arc<Live>,
    /// Whether others were told of these sessions.
    pub(super) live_told: bool,
    pub(super) queues: HashMap<String, Queue>,
    /// Queues with rows to ring or freed places since they were rung last.
    pub(super) restless: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) paused: bool,
    pub(super) outstanding: u64,
    /// The highest bell that a claim named, and whether the file knows.
    pub(super) claimed_through: BellSeq,
    pub(super) claimed_unsaved: bool,
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

impl Memory {
    /// Reads everything from the file.
    pub(super) fn load(sql: &Connection) -> Result<Self, StorageError> {
        let mut memory = Self {
            head: position(sql)?,
            bells: BellSeq(counter(sql, HIGHEST_BELL)?),
            version: Version(0),
            fenced_through: Position(0),
            holding: Holding::default(),
            holder_watch: HolderWatch::default(),
            holding_unsaved: false,
            live: Arc::new(Live::of(sessions(sql)?)),
            live_told: false,
            queues: HashMap::new(),
            restless: BTreeSet::new(),
        };
        memory.load_meta(sql)?;
        memory.load_queues(sql)?;
        Ok(memory)
    }

    fn load_meta(&mut self, sql: &Connection) -> Result<(), StorageError> {
        let query = "SELECT version, fenced_through, epoch, sequencer, sequencer_renewal FROM meta WHERE tenant = ?";
        let mut statement = sql.prepare_cached(query)?;
        let mut rows = statement.query([TENANT])?;
        let row = rows.next()?.ok_or_else(|| StorageError::Internal("the table meta is empty".to_owned()))?;
        let mut columns = Columns::of(row);
        self.version = Version(columns.counter()?);
        self.fenced_through = Position(columns.counter()?);
        let epoch = Epoch(columns.counter()?);
        let holder = columns.optional_uuid()?.map(InstanceId);
        self.holding = Holding { epoch, holder, renewal: columns.counter()? };
        Ok(())
    }

    fn load_queues(&mut self, sql: &Connection) -> Result<(), StorageError> {
        let mut statement = sql.prepare_cached("SELECT queue, paused, claimed_through FROM queues WHERE tenant = ?")?;
        let mut rows = statement.query([TENANT])?;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let queue = self.queue(columns.word()?);
            queue.paused = columns.take()?;
            queue.claimed_through = BellSeq(columns.counter()?);
        }
        let mut statement = sql.prepare_cached("SELECT queue, count(*) FROM bells WHERE tenant = ? GROUP BY queue")?;
        let mut rows = statement.query([TENANT])?;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let queue = self.queue(columns.word()?);
            queue.outstanding = columns.counter()?;
        }
        let consumed: Vec<String> = self.live.queues().map(ToOwned::to_owned).collect();
        for name in consumed {
            self.queue(&name);
            self.restless.insert(name);
        }
        Ok(())
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
pub(super) fn position(sql: &Connection) -> Result<Position, StorageError> {
    counter(sql, "SELECT coalesce(max(position), 0) FROM log").map(Position)
}

fn counter(sql: &Connection, query: &str) -> Result<u64, StorageError> {
    let number: i64 = sql.prepare_cached(query)?.query_row([], |row| row.get(0))?;
    Ok(number.cast_unsigned())
}

pub(super) fn sessions(sql: &Connection) -> Result<Vec<Session>, StorageError> {
    let mut statement =
        sql.prepare_cached("SELECT session, worker, queues, tasks, since FROM sessions WHERE tenant = ?")?;
    let mut rows = statement.query(params![TENANT])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let id = SessionId(columns.uuid()?);
        let worker = columns.take()?;
        let queues: BTreeMap<String, u64> = serde_json::from_str(columns.word()?)?;
        let tasks: BTreeSet<TaskPattern> = serde_json::from_str(columns.word()?)?;
        sessions.push(Session { id, worker, queues, tasks, since_ms: columns.take()? });
    }
    Ok(sessions)
}
