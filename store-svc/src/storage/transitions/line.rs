//! The line of a queue's waiting rows: by priority, then the tenants' shares, then age. It is read as far as somebody looks, so that it costs the
//! same whatever waits in it: an index step for each tenant that waits, and a few rows of whose turn it is.
//!
//! Rows whose task nobody knows lie apart (`no_match`), so they cost nothing. When a task becomes known, they are looked through again in the
//! order of the line, a bounded stretch at a time; nothing behind the place that was reached is rung before.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use protocol::dispatch::Standing;
use protocol::ids::{Dispatch, JobId};
use protocol::store_api::BellId;

use super::Transaction;
use super::memory::{Offered, Place, Queue};
use crate::storage::StorageError;
use crate::storage::row::{Ring, Row};
use crate::storage::sql::{Columns, values};

/// How many rows are read first.
pub(super) const STRETCH: usize = 16;
/// The most rows that are read at once.
pub(super) const STRETCH_MAX: usize = 1_024;

/// From high to low, as in the rows.
pub(super) const PRIORITIES: std::ops::RangeInclusive<i64> = 0..=2;

/// The tenants that have ready rows of one priority: a step from each to the next, however many rows they have.
const TENANTS: &str = "WITH RECURSIVE found(tenant) AS (
         SELECT min(tenant) FROM jobs WHERE queue = ?1 AND ring = 'ready' AND priority = ?2
         UNION ALL
         SELECT (SELECT min(tenant) FROM jobs WHERE queue = ?1 AND ring = 'ready' AND priority = ?2 AND tenant > found.tenant)
         FROM found WHERE found.tenant IS NOT NULL
     ) SELECT tenant FROM found WHERE tenant IS NOT NULL";
const READY: &str = "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs
                     WHERE queue = ? AND ring = 'ready' AND priority = ? AND tenant = ? AND n > ? ORDER BY n LIMIT ?";
const NO_MATCH: &str = "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs
                        WHERE queue = ? AND ring = 'no_match' AND priority = ? AND tenant = ? AND n > ? ORDER BY n LIMIT ?";
const RUNG: &str = "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs WHERE n = ? AND ring = 'rung'";

/// A waiting row, as far as ringing needs it.
pub(super) struct Waiting {
    pub(super) tenant: i64,
    pub(super) place: Place,
    pub(super) task: String,
    pub(super) ring: Ring,
    pub(super) bell: BellId,
    pub(super) created_at: i64,
    pub(super) trace: Option<String>,
}

/// What the line is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Rows that have no bell are to be rung.
    Ring,
    /// One is to be started by a slot that is free, without its bell.
    Start,
}

/// How far a line was read.
pub(super) struct Line<'q> {
    queue: &'q str,
    purpose: Purpose,
    /// Of the lanes; below the first: none was looked at.
    priority: i64,
    lanes: BTreeMap<i64, Lane>,
    /// How many rows are read of a lane at first.
    stretch: usize,
    /// Whose delivery it is, and that row: the line ends where that one is due.
    named: Option<(i64, Place)>,
}

/// What one tenant has waiting of the priority that is looked at.
#[derive(Default)]
struct Lane {
    rows: VecDeque<Waiting>,
    /// Rows up to here were read.
    read_through: i64,
    stretch: usize,
    /// Nothing lies behind what was read.
    read_all: bool,
    /// Its ready rows may not be started: a limit is reached.
    only_rung: bool,
}

impl<'q> Line<'q> {
    pub(super) fn new(queue: &'q str, purpose: Purpose, stretch: usize) -> Self {
        let stretch = stretch.clamp(1, STRETCH);
        Self { queue, purpose, priority: -1, lanes: BTreeMap::new(), stretch, named: None }
    }

    pub(super) fn up_to(self, tenant: i64, place: Place) -> Self {
        Self { named: Some((tenant, place)), ..self }
    }

    /// Whether the next rows are those before the named one.
    fn is_named(&self, tenant: i64) -> bool {
        self.named.is_some_and(|(named, place)| named == tenant && place.priority == self.priority)
    }
}

impl Transaction<'_> {
    /// The next row of the line; `None`: there is none, or the named one is due.
    pub(super) fn next_in(&mut self, line: &mut Line<'_>) -> Result<Option<Waiting>, StorageError> {
        loop {
            let Some(tenant) = self.turn(line) else {
                if !self.next_priority(line)? {
                    return Ok(None);
                }
                continue;
            };
            if line.is_named(tenant) {
                return Ok(None);
            }
            let Some(mut lane) = line.lanes.remove(&tenant) else { continue };
            if lane.rows.is_empty() && !lane.read_all {
                self.read_on(line, tenant, &mut lane)?;
            }
            if let Some(row) = lane.rows.pop_front() {
                line.lanes.insert(tenant, lane);
                return Ok(Some(row));
            }
            if line.purpose == Purpose::Ring {
                self.looked_through(line.queue, tenant, line.priority);
            }
        }
    }

    fn turn(&mut self, line: &Line<'_>) -> Option<i64> {
        let mut standing = Vec::with_capacity(line.lanes.len());
        for tenant in line.lanes.keys().copied() {
            if line.purpose == Purpose::Ring && !self.may_offer(line.queue, tenant) {
                continue;
            }
            let share = self.memory.tenants.share(tenant);
            let offered = match line.purpose {
                Purpose::Ring => self.memory.queue(line.queue).part(tenant).offered,
                Purpose::Start => 0,
            };
            standing.push(Standing { tenant, share, offered });
        }
        self.memory.queue(line.queue).shares.turn(standing)
    }

    /// Opens the lanes of the next priority that somebody may have rows of; `false`: there is none.
    fn next_priority(&mut self, line: &mut Line<'_>) -> Result<bool, StorageError> {
        loop {
            line.priority += 1;
            line.lanes.clear();
            if !PRIORITIES.contains(&line.priority) {
                return Ok(false);
            }
            if line.named.is_some_and(|(_, place)| place.priority < line.priority) {
                return Ok(false);
            }
            for tenant in self.tenants_in(line)? {
                let only_rung = !line.is_named(tenant) && !self.may_offer(line.queue, tenant);
                let may_start = line.purpose == Purpose::Start && self.memory.tenants.may_run(tenant);
                if !only_rung || may_start {
                    line.lanes.insert(tenant, Lane { stretch: line.stretch, only_rung, ..Lane::default() });
                }
            }
            if !line.lanes.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The tenants that may have rows of the line's priority.
    fn tenants_in(&mut self, line: &Line<'_>) -> Result<Vec<i64>, StorageError> {
        let queue = self.memory.queue(line.queue);
        let is_looked_at = |place: Place| place.priority <= line.priority;
        let mut tenants: Vec<i64> = queue
            .parts
            .iter()
            .filter(|(_, part)| part.depth.queued > 0 || part.looked_through.is_some_and(is_looked_at))
            .map(|(tenant, _)| *tenant)
            .collect();
        if tenants.len() < 2 {
            return Ok(tenants);
        }
        let mut found: Vec<i64> = Vec::new();
        for tenant in &tenants {
            let looks = queue.part(*tenant).looked_through.is_some_and(is_looked_at);
            if looks || line.is_named(*tenant) {
                found.push(*tenant);
            }
        }
        if line.purpose == Purpose::Start {
            found.extend(of_priority(queue, line.priority).map(|(offered, _)| offered.tenant));
        }
        self.sql.query(TENANTS, values![line.queue, line.priority], &mut |columns| {
            found.push(columns.int()?);
            Ok(ControlFlow::Continue(()))
        })?;
        tenants.retain(|tenant| found.contains(tenant));
        Ok(tenants)
    }

    /// Reads the next rows of a lane.
    fn read_on(&mut self, line: &Line<'_>, tenant: i64, lane: &mut Lane) -> Result<(), StorageError> {
        let (queue, priority) = (line.queue, line.priority);
        if !lane.only_rung {
            let after = lane.read_through;
            let ready = self.rows_at(queue, Ring::Ready, tenant, Place { priority, n: after }, lane.stretch)?;
            let reached = self.memory.queue(queue).part(tenant).looked_through;
            let unmatched = match reached {
                Some(reached) if reached.priority <= priority => {
                    let reached = if reached.priority == priority { reached.n.max(after) } else { after };
                    self.rows_at(queue, Ring::NoMatch, tenant, Place { priority, n: reached }, lane.stretch)?
                }
                _ => Vec::new(),
            };
            // What lies behind the end of a full stretch of either kind must wait for the next one, or it would overtake.
            let end =
                |rows: &[Waiting]| if rows.len() == lane.stretch { rows.last().map(|row| row.place) } else { None };
            let bound = [end(&ready), end(&unmatched)].into_iter().flatten().min();
            let mut rows: Vec<Waiting> = ready.into_iter().chain(unmatched).collect();
            rows.sort_by_key(|row| row.place);
            if let Some(bound) = bound {
                rows.retain(|row| row.place <= bound);
            }
            lane.read_through = rows.last().map_or(after, |row| row.place.n);
            lane.read_all = bound.is_none();
            lane.stretch = (lane.stretch * 4).min(STRETCH_MAX);
            lane.rows = rows.into();
        }
        lane.read_all |= lane.only_rung;
        // Where others wait too, a bell may lie behind all of theirs: a tenant that has nothing else is not left to it.
        if lane.rows.is_empty() && lane.read_all && line.purpose == Purpose::Start && self.is_shared(queue) {
            lane.rows.extend(self.first_rung(queue, priority, tenant)?);
        }
        Ok(())
    }

    fn rows_at(
        &mut self,
        queue: &str,
        ring: Ring,
        tenant: i64,
        after: Place,
        limit: usize,
    ) -> Result<Vec<Waiting>, StorageError> {
        let query = if ring == Ring::Ready { READY } else { NO_MATCH };
        let Place { priority, n } = after;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.sql.take_all(query, values![queue, priority, tenant, n, limit], |columns| {
            waiting(columns, tenant, priority, ring)
        })
    }

    /// The tenant's row whose bell is out for the longest time.
    fn first_rung(&mut self, queue: &str, priority: i64, tenant: i64) -> Result<Option<Waiting>, StorageError> {
        let own = |offered: &Offered| offered.tenant == tenant;
        let of_tenant = of_priority(self.memory.queue(queue), priority).filter(|(offered, _)| own(offered));
        let places: Vec<i64> = of_tenant.map(|(_, n)| n).collect();
        for n in places {
            let found = self.sql.one(RUNG, values![n], |columns| waiting(columns, tenant, priority, Ring::Rung))?;
            if found.is_some() {
                return Ok(found);
            }
            // It was taken before; its bell still lies in the broker.
            for offered in self.memory.queue(queue).bells.values_mut() {
                if offered.row.is_some_and(|place| place.n == n) {
                    offered.row = None;
                }
            }
        }
        Ok(None)
    }

    /// Whether several tenants have rows that wait in the queue.
    pub(super) fn is_shared(&mut self, queue: &str) -> bool {
        let parts = &self.memory.queue(queue).parts;
        parts.len() > 1 && parts.values().filter(|part| part.depth.queued > 0).nth(1).is_some()
    }

    /// Whether it is the row's tenant's turn, whatever priority others' rows have: mostly it is, because bells are rung in turn, and then nothing is
    /// read.
    pub(super) fn is_turn_of(&mut self, row: &Row) -> bool {
        let parts = self.memory.queue(&row.queue).parts.iter();
        let waits = parts.filter(|(_, part)| part.depth.queued > 0);
        let waits: Vec<(i64, bool)> = waits.map(|(tenant, part)| (*tenant, part.offered > 0)).collect();
        let (tenants, now_ms) = (&self.memory.tenants, self.context.wall_ms);
        let may_start = |tenant: i64, is_rung: bool| {
            tenant == row.tenant || tenants.may_run(tenant) && (is_rung || tenants.held_back(tenant, now_ms).is_none())
        };
        let waits = waits.into_iter().filter(|(tenant, is_rung)| may_start(*tenant, *is_rung));
        let standing: Vec<Standing> =
            waits.map(|(tenant, _)| Standing { tenant, share: tenants.share(tenant), offered: 0 }).collect();
        self.memory.queue(&row.queue).shares.turn(standing) == Some(row.tenant)
    }

    /// The tenant has no further row of this priority, or of a higher one, that is to be looked at.
    fn looked_through(&mut self, queue: &str, tenant: i64, priority: i64) {
        let looked_through = &mut self.memory.queue(queue).part(tenant).looked_through;
        if let Some(reached) = looked_through {
            let next = (*reached).max(Place { priority: priority + 1, n: 0 });
            *looked_through = PRIORITIES.contains(&next.priority).then_some(next);
        }
    }

    /// Whether only this tenant has something that may start now.
    pub(super) fn is_alone(&mut self, row: &Row) -> bool {
        if self.memory.queue(&row.queue).parts.len() < 2 {
            return true;
        }
        let parts = self.memory.queue(&row.queue).parts.iter();
        let waits: Vec<i64> = parts.filter(|(_, part)| part.depth.queued > 0).map(|(tenant, _)| *tenant).collect();
        !waits
            .into_iter()
            .any(|tenant| tenant != row.tenant && self.memory.tenants.held_back(tenant, self.context.wall_ms).is_none())
    }
}

/// The bells of rows of one priority, with the number of the row.
fn of_priority(queue: &Queue, priority: i64) -> impl Iterator<Item = (&Offered, i64)> {
    queue.bells.values().filter_map(move |offered| {
        let place = offered.row.filter(|place| place.priority == priority)?;
        Some((offered, place.n))
    })
}

fn waiting(columns: &mut dyn Columns, tenant: i64, priority: i64, ring: Ring) -> Result<Waiting, StorageError> {
    let place = Place { priority, n: columns.int()? };
    let task = columns.text()?;
    let job_id = JobId(columns.uuid()?);
    let bell = BellId { job_id, dispatch: Dispatch(columns.counter()?) };
    let (created_at, trace) = (columns.int()?, columns.maybe_text()?);
    Ok(Waiting { tenant, place, task, ring, bell, created_at, trace })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::plan_of;

    #[test]
    fn a_line_is_read_by_steps_of_an_index() {
        let by_tenant = "SEARCH jobs USING INDEX jobs_ready (queue=? AND priority=? AND tenant=? AND n>?)";
        assert_eq!(plan_of(READY), [by_tenant]);
        let plan = plan_of(NO_MATCH);
        assert!(
            plan.iter().all(|step| step.contains("jobs_no_match (queue=? AND priority=? AND tenant=? AND n>?)")),
            "{plan:?}"
        );
        assert_eq!(plan_of(RUNG), ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"]);
        let plan = plan_of(TENANTS);
        let of_jobs: Vec<&String> = plan.iter().filter(|step| step.contains(" jobs ")).collect();
        let by_step =
            |step: &&String| step.contains("SEARCH jobs USING COVERING INDEX jobs_ready (queue=? AND priority=?");
        assert_eq!(of_jobs.len(), 2, "{plan:?}");
        assert!(of_jobs.iter().all(by_step), "{plan:?}");
    }
}
