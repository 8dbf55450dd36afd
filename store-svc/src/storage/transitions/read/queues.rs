//! Queues as their operators see them: at a cost that does not grow with what waits in them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::JobId;
use protocol::queue::{Oldest, QueueView};
use protocol::time::Timestamp;

use crate::storage::sql::{Sql, values};
use crate::storage::transitions::line::PRIORITIES;
use crate::storage::transitions::memory;
use crate::storage::{Live, StorageError};

pub(super) fn queues(sql: &mut dyn Sql, always: &BTreeSet<String>) -> Result<Vec<QueueView>, StorageError> {
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

fn known(sql: &mut dyn Sql) -> Result<BTreeMap<String, QueueView>, StorageError> {
    let query = "SELECT queue, max(paused_at), CAST(sum(scheduled) AS BIGINT), CAST(sum(queued) AS BIGINT),
                     CAST(sum(running) AS BIGINT) FROM queues GROUP BY queue";
    let known = sql.all(query, &[], |columns| {
        let queue = columns.text()?;
        let paused_at = columns.maybe_int()?.map(Timestamp::from_unix_ms);
        let depth = columns.depth()?;
        let view =
            QueueView { queue: queue.clone(), paused: paused_at.is_some(), paused_at, depth, ..QueueView::default() };
        Ok((queue, view))
    })?;
    Ok(known.into_iter().collect())
}

fn bells(sql: &mut dyn Sql) -> Result<BTreeMap<String, u64>, StorageError> {
    let query = "SELECT queue, count(*) FROM bells GROUP BY queue";
    let bells = sql.all(query, &[], |columns| Ok((columns.text()?, columns.counter()?)))?;
    Ok(bells.into_iter().collect())
}

/// The first of each kind of waiting row: those that wait for a place or a worker by their indexes, those whose bells are out by the bells,
/// which are as many as the window at most, and the few that were refused.
fn oldest(sql: &mut dyn Sql, queue: &str) -> Result<Option<Oldest>, StorageError> {
    let mut first: Option<i64> = None;
    let mut older = |found: Option<i64>| first = [first, found].into_iter().flatten().min();
    for query in [
        "SELECT min((SELECT min(n) FROM jobs WHERE queue = ?1 AND ring = 'ready' AND priority = ?2
             AND jobs.tenant = tenants.tenant)) FROM tenants",
        "SELECT min((SELECT min(n) FROM jobs WHERE queue = ?1 AND ring = 'no_match' AND priority = ?2
             AND jobs.tenant = tenants.tenant)) FROM tenants",
    ] {
        for priority in PRIORITIES {
            older(sql.single(query, values![queue, priority], |columns| columns.maybe_int())?);
        }
    }
    for query in [
        "SELECT min(jobs.n) FROM bells JOIN jobs ON jobs.job_id = bells.job_id WHERE bells.queue = ? AND jobs.ring = 'rung'",
        "SELECT min(n) FROM jobs WHERE queue = ? AND ring = 'deferred'",
    ] {
        older(sql.single(query, values![queue], |columns| columns.maybe_int())?);
    }
    let Some(n) = first else { return Ok(None) };
    sql.one("SELECT job_id, created_at FROM jobs WHERE n = ?", values![n], |columns| {
        let job_id = JobId(columns.uuid()?);
        Ok(Oldest { job_id, created_at: Timestamp::from_unix_ms(columns.int()?) })
    })
}
