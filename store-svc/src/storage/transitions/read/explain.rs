//! Why a job does not run: its row, its place among those that wait, and who could run it. Nothing here counts further than a bound.

use protocol::explain::{
    AHEAD_MAX, Able, AbleWorker, Explanation, KeyLimit, Lease, QueuePosition, TenantLimit, WORKERS_LISTED_MAX,
    WaitsForFence,
};
use protocol::ids::{JobId, Position};
use protocol::job::State;
use protocol::time::Timestamp;

use super::busy_slots;
use crate::storage::row::{Ring, Row, priority_number};
use crate::storage::sql::{Sql, values};
use crate::storage::transitions::line::PRIORITIES;
use crate::storage::transitions::memory;
use crate::storage::transitions::tenants::{KnownTenants, Reached};
use crate::storage::transitions::view::{Around, waiting_for};
use crate::storage::{Live, SYSTEM, StorageError};

pub(super) fn explain(sql: &mut dyn Sql, tenant: i64, job_id: JobId) -> Result<Option<Explanation>, StorageError> {
    let Some(row) = Row::load(sql, job_id)?.filter(|row| row.tenant == tenant) else { return Ok(None) };
    let live = Live::of(memory::sessions(sql)?);
    let state = row.job.state;
    let is_queued = state == State::Queued;
    let now_ms = chassis::clock::wall_ms();
    let limiting = if is_queued { KnownTenants::limiting(sql, row.lane)? } else { KnownTenants::default() };
    let reached = limiting.reached(row.lane, now_ms);
    let held_back = reached.as_ref().map(Reached::waiting_for);
    let (tenant_limit, key_limit) = match reached {
        Some(Reached::Tenant(known, by)) => {
            (Some(TenantLimit { tenant: known.name.clone(), reached: known.allowance.reached(by) }), None)
        }
        Some(Reached::Key(known, by)) => {
            (None, Some(KeyLimit { key_id: known.key_id.clone(), reached: known.allowance.reached(by) }))
        }
        None => (None, None),
    };
    let paused_at = if is_queued { paused_at(sql, &row.queue)? } else { None };
    let due_at = match state {
        State::Scheduled => row.due_at,
        State::Queued => row.ring_at,
        _ => None,
    };
    Ok(Some(Explanation {
        job_id,
        status: state.into(),
        waiting_for: waiting_for(&row, &live, Around { paused: paused_at.is_some(), held_back }),
        tenant_limit,
        key_limit,
        reason: String::new(),
        paused_at: paused_at.map(Timestamp::from_unix_ms),
        due_at: due_at.map(Timestamp::from_unix_ms),
        start_by: row.start_by.map(Timestamp::from_unix_ms),
        position: if is_queued { position(sql, &row)? } else { None },
        workers: if is_queued { Some(able(sql, &row, &live)?) } else { None },
        lease: (state == State::Running).then(|| lease(&row, &live)),
        fence: if state == State::Finishing { Some(fence(sql, &row)?) } else { None },
        task: row.task,
        queue: row.queue,
    }))
}

fn paused_at(sql: &mut dyn Sql, queue: &str) -> Result<Option<i64>, StorageError> {
    let query = "SELECT paused_at FROM queues WHERE lane = ? AND queue = ?";
    Ok(sql.one(query, values![SYSTEM, queue], |columns| columns.maybe_int())?.flatten())
}

/// Among the jobs of its lane: how many other tenants have is nobody's business, and shares leave each lane its own. Bells are taken in the
/// order in which they were rung; what has none yet comes after all of them, by priority, then age.
fn position(sql: &mut dyn Sql, row: &Row) -> Result<Option<QueuePosition>, StorageError> {
    let offered = row.ring == Some(Ring::Rung);
    let ahead = match row.ring {
        None | Some(Ring::NoMatch) => return Ok(None),
        Some(Ring::Rung) => {
            let query = "SELECT count(*) FROM bells WHERE queue = ? AND lane = ? AND seq <
                             (SELECT seq FROM bells WHERE job_id = ? AND dispatch = ?)";
            let values = values![&row.queue, row.lane.number(), row.job_id.0, row.job.dispatch.0];
            sql.single(query, values, |columns| columns.int())?
        }
        Some(Ring::Ready | Ring::Deferred) => {
            let query = "SELECT count(*) FROM bells WHERE queue = ? AND lane = ?";
            let bells = sql.single(query, values![&row.queue, row.lane.number()], |columns| columns.int())?;
            bells + ready_before(sql, row, AHEAD_MAX.cast_signed() + 1 - bells)?
        }
    };
    let ahead = ahead.cast_unsigned();
    Ok(Some(QueuePosition { ahead: ahead.min(AHEAD_MAX), exact: ahead <= AHEAD_MAX, offered }))
}

/// At most `limit` of the rows that get the next free places before this one. Each priority by itself, as `ring` does.
fn ready_before(sql: &mut dyn Sql, row: &Row, limit: i64) -> Result<i64, StorageError> {
    let own = priority_number(row.priority);
    let query = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue = ? AND ring = 'ready' AND priority = ?
                     AND lane = ? AND n < ? LIMIT ?) AS before";
    let mut before = 0;
    for priority in PRIORITIES.filter(|priority| *priority <= own) {
        let n = if priority == own { row.n } else { i64::MAX };
        let room = (limit - before).max(0);
        let values = values![&row.queue, priority, row.lane.number(), n, room];
        before += sql.single(query, values, |columns| columns.int())?;
    }
    Ok(before)
}

fn able(sql: &mut dyn Sql, row: &Row, live: &Live) -> Result<Able, StorageError> {
    let busy = busy_slots(sql)?;
    let mut able = Able::default();
    for session in live.consumers(&row.queue) {
        able.consumers += 1;
        if !session.knows(&row.task) {
            continue;
        }
        let slots = session.queues.get(&row.queue).copied().unwrap_or(0);
        let busy = busy.get(&session.id).copied().unwrap_or(0);
        able.sessions += 1;
        able.slots += slots;
        able.busy += busy.min(slots);
        able.listed.push(AbleWorker { session_id: session.id, worker: session.worker.clone(), slots, busy });
    }
    able.listed.sort_by(|one, other| (&one.worker, one.session_id).cmp(&(&other.worker, other.session_id)));
    able.listed.truncate(WORKERS_LISTED_MAX);
    Ok(able)
}

fn lease(row: &Row, live: &Live) -> Lease {
    Lease {
        fence: row.job.fence,
        lease_ms: row.lease_ms,
        session_id: row.session,
        worker: row.session.and_then(|session| live.session(session)).map(|session| session.worker.clone()),
        cancel_requested: row.job.cancel_requested,
    }
}

fn fence(sql: &mut dyn Sql, row: &Row) -> Result<WaitsForFence, StorageError> {
    let query = "SELECT fenced_through FROM meta WHERE tenant = ?";
    let fenced_through = sql.single(query, values![SYSTEM], |columns| columns.counter().map(Position))?;
    let position = Position(row.invalidation.unwrap_or_default().cast_unsigned());
    Ok(WaitsForFence { position, fenced_through })
}
