//! Queues as their operators see them: at a cost that does not grow with what waits in them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::JobId;
use protocol::queue::{Depth, Oldest, QueueView};
use protocol::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::storage::sqlite::columns::Columns;
use crate::storage::sqlite::ring::PRIORITIES;
use crate::storage::sqlite::{TENANT, memory};
use crate::storage::{Live, StorageError};

pub(super) fn queues(sql: &Connection, always: &BTreeSet<String>) -> Result<Vec<QueueView>, StorageError> {
    let live = Live::of(memory::sessions(sql)?);
    let bells = bells(sql)?;
    let mut views = known(sql)?;
    for name in always.iter().map(String::as_str).chain(live.queues()) {
        views.entry(name.to_owned()).or_insert_with(|| QueueView { queue: name.to_owned(), ..QueueView::default() });
    }
    for (name, view) in &mut views {
        view.sessions = live.consumers(name).count().try_into().unwrap_or(u64::MAX);
        view.slots = live.slots(name);
        view.bells = bells.get(name).copied().unwrap_or(0);
        if view.depth.queued > 0 {
            view.oldest = oldest(sql, name)?;
        }
    }
    Ok(views.into_values().collect())
}

fn known(sql: &Connection) -> Result<BTreeMap<String, QueueView>, StorageError> {
    let query = "SELECT queue, paused_at, scheduled, queued, running FROM queues WHERE tenant = ?";
    let mut statement = sql.prepare_cached(query)?;
    let mut rows = statement.query([TENANT])?;
    let mut views = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let queue: String = columns.take()?;
        let paused_at = columns.take::<Option<i64>>()?.map(Timestamp::from_unix_ms);
        let (paused, depth): (bool, Depth) = (paused_at.is_some(), columns.depth()?);
        views.insert(queue.clone(), QueueView { queue, paused, paused_at, depth, ..QueueView::default() });
    }
    Ok(views)
}

fn bells(sql: &Connection) -> Result<BTreeMap<String, u64>, StorageError> {
    let mut statement = sql.prepare_cached("SELECT queue, count(*) FROM bells WHERE tenant = ? GROUP BY queue")?;
    let mut rows = statement.query([TENANT])?;
    let mut bells = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        bells.insert(columns.take()?, columns.counter()?);
    }
    Ok(bells)
}

/// The first of each kind of waiting row: those that wait for a place or a worker by their indexes, those whose bells are out by the bells,
/// which are as many as the window at most, and the few that were refused.
fn oldest(sql: &Connection, queue: &str) -> Result<Option<Oldest>, StorageError> {
    let mut first: Option<i64> = None;
    let mut older = |found: Option<i64>| first = [first, found].into_iter().flatten().min();
    for query in [
        "SELECT n FROM jobs WHERE tenant = ? AND queue = ? AND ring = 'ready' AND priority = ? ORDER BY n LIMIT 1",
        "SELECT n FROM jobs WHERE tenant = ? AND queue = ? AND ring = 'no_match' AND priority = ? ORDER BY n LIMIT 1",
    ] {
        let mut statement = sql.prepare_cached(query)?;
        for priority in PRIORITIES {
            older(statement.query_row(params![TENANT, queue, priority], |row| row.get(0)).optional()?);
        }
    }
    for query in [
        "SELECT min(jobs.n) FROM bells JOIN jobs ON jobs.tenant = bells.tenant AND jobs.job_id = bells.job_id
         WHERE bells.tenant = ? AND bells.queue = ? AND jobs.ring = 'rung'",
        "SELECT min(n) FROM jobs WHERE tenant = ? AND queue = ? AND ring = 'deferred'",
    ] {
        older(sql.prepare_cached(query)?.query_row(params![TENANT, queue], |row| row.get(0))?);
    }
    let Some(n) = first else { return Ok(None) };
    let mut statement = sql.prepare_cached("SELECT job_id, created_at FROM jobs WHERE n = ?")?;
    let mut rows = statement.query([n])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of(row);
    let job_id = JobId(columns.uuid()?);
    Ok(Some(Oldest { job_id, created_at: Timestamp::from_unix_ms(columns.take()?) }))
}
