//! The line of a queue's waiting rows: by priority, then the tenants' shares, then those of a tenant's lanes, then age. It is read as far as
//! somebody looks, so that it costs the same whatever waits in it: an index step for each lane in which something waits, and a few rows of
//! that whose turn it is.
//!
//! Rows whose task nobody knows lie apart (`no_match`), so they cost nothing. When a task becomes known, they are looked through again in the
//! order of the line, a bounded stretch at a time; nothing behind the place that was reached is rung before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use protocol::dispatch::{Alone, Lane, Standing};
use protocol::ids::{Dispatch, JobId};
use protocol::store_api::BellId;

use super::Transaction;
use super::memory::{Offered, Place, Queue, of_tenant};
use crate::storage::StorageError;
use crate::storage::row::{Ring, Row};
use crate::storage::sql::{Columns, values};

/// How many rows are read first.
pub(super) const STRETCH: usize = 16;
/// The most rows that are read at once.
pub(super) const STRETCH_MAX: usize = 1_024;

/// From high to low, as in the rows.
pub(super) const PRIORITIES: std::ops::RangeInclusive<i64> = 0..=2;

/// The lanes that have ready rows of one priority: a step from each to the next, however many rows they have.
const LANES: &str = "WITH RECURSIVE found(lane) AS (
         SELECT min(lane) FROM jobs WHERE queue = ?1 AND ring = 'ready' AND priority = ?2
         UNION ALL
         SELECT (SELECT min(lane) FROM jobs WHERE queue = ?1 AND ring = 'ready' AND priority = ?2 AND lane > found.lane)
         FROM found WHERE found.lane IS NOT NULL
     ) SELECT lane FROM found WHERE lane IS NOT NULL";
const READY: &str = "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs
                     WHERE queue = ? AND ring = 'ready' AND priority = ? AND lane = ? AND n > ? ORDER BY n LIMIT ?";
const NO_MATCH: &str = "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs
                        WHERE queue = ? AND ring = 'no_match' AND priority = ? AND lane = ? AND n > ? ORDER BY n LIMIT ?";
const RUNG: &str = "SELECT n, task, job_id, dispatch, created_at, trace FROM jobs WHERE n = ? AND ring = 'rung'";

/// A waiting row, as far as ringing needs it.
pub(super) struct Waiting {
    pub(super) lane: Lane,
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
    lanes: BTreeMap<Lane, Found>,
    /// How many rows are read of a lane at first.
    stretch: usize,
    /// Whose delivery it is, and that row: the line ends where that one is due.
    named: Option<(Lane, Place)>,
}

/// What was found waiting in a lane, of the priority that is looked at.
#[derive(Default)]
struct Found {
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

    pub(super) fn up_to(self, lane: Lane, place: Place) -> Self {
        Self { named: Some((lane, place)), ..self }
    }

    /// Whether the next rows are those before the named one.
    fn is_named(&self, lane: Lane) -> bool {
        self.named.is_some_and(|(named, place)| named == lane && place.priority == self.priority)
    }
}

impl Transaction<'_> {
    /// The next row of the line; `None`: there is none, or the named one is due.
    pub(super) fn next_in(&mut self, line: &mut Line<'_>) -> Result<Option<Waiting>, StorageError> {
        loop {
            let Some(lane) = self.turn(line) else {
                if !self.next_priority(line)? {
                    return Ok(None);
                }
                continue;
            };
            if line.is_named(lane) {
                return Ok(None);
            }
            let Some(mut found) = line.lanes.remove(&lane) else { continue };
            if found.rows.is_empty() && !found.read_all {
                self.read_on(line, lane, &mut found)?;
            }
            if let Some(row) = found.rows.pop_front() {
                line.lanes.insert(lane, found);
                return Ok(Some(row));
            }
            if line.purpose == Purpose::Ring {
                self.looked_through(line.queue, lane, line.priority);
            }
        }
    }

    fn turn(&mut self, line: &Line<'_>) -> Option<Lane> {
        let lanes = line.lanes.keys().copied();
        if line.purpose == Purpose::Start {
            let standing: Vec<Standing> = lanes.map(|lane| self.memory.tenants.standing(lane)).collect();
            return self.memory.queue(line.queue).shares.turn(&standing, |_| 0);
        }
        let mut standing = Vec::with_capacity(line.lanes.len());
        for lane in lanes {
            if self.may_offer(line.queue, lane) {
                let offered = self.memory.queue(line.queue).part(lane).offered;
                standing.push(Standing { offered, ..self.memory.tenants.standing(lane) });
            }
        }
        let Queue { shares, parts, .. } = self.memory.queue(line.queue);
        shares.turn(&standing, |tenant| of_tenant(parts, tenant).map(|(_, part)| part.offered).sum())
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
            for lane in self.lanes_in(line)? {
                let only_rung = !line.is_named(lane) && !self.may_offer(line.queue, lane);
                let may_start = line.purpose == Purpose::Start && self.memory.tenants.may_run(lane);
                if !only_rung || may_start {
                    line.lanes.insert(lane, Found { stretch: line.stretch, only_rung, ..Found::default() });
                }
            }
            if !line.lanes.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The lanes that may have rows of the line's priority.
    fn lanes_in(&mut self, line: &Line<'_>) -> Result<Vec<Lane>, StorageError> {
        let queue = self.memory.queue(line.queue);
        let is_looked_at = |place: Place| place.priority <= line.priority;
        let mut lanes: Vec<Lane> = queue
            .parts
            .iter()
            .filter(|(_, part)| part.depth.queued > 0 || part.looked_through.is_some_and(is_looked_at))
            .map(|(lane, _)| *lane)
            .collect();
        if lanes.len() < 2 {
            return Ok(lanes);
        }
        let mut found: BTreeSet<Lane> = BTreeSet::new();
        for lane in &lanes {
            let looks = queue.part(*lane).looked_through.is_some_and(is_looked_at);
            if looks || line.is_named(*lane) {
                found.insert(*lane);
            }
        }
        if line.purpose == Purpose::Start {
            found.extend(of_priority(queue, line.priority).map(|(offered, _)| offered.lane));
        }
        self.sql.query(LANES, values![line.queue, line.priority], &mut |columns| {
            found.insert(Lane::numbered(columns.int()?));
            Ok(ControlFlow::Continue(()))
        })?;
        lanes.retain(|lane| found.contains(lane));
        Ok(lanes)
    }

    /// Reads the next rows of a lane.
    fn read_on(&mut self, line: &Line<'_>, lane: Lane, found: &mut Found) -> Result<(), StorageError> {
        let (queue, priority) = (line.queue, line.priority);
        if !found.only_rung {
            let after = found.read_through;
            let ready = self.rows_at(queue, Ring::Ready, lane, Place { priority, n: after }, found.stretch)?;
            let reached = self.memory.queue(queue).part(lane).looked_through;
            let unmatched = match reached {
                Some(reached) if reached.priority <= priority => {
                    let reached = if reached.priority == priority { reached.n.max(after) } else { after };
                    self.rows_at(queue, Ring::NoMatch, lane, Place { priority, n: reached }, found.stretch)?
                }
                _ => Vec::new(),
            };
            // What lies behind the end of a full stretch of either kind must wait for the next one, or it would overtake.
            let end =
                |rows: &[Waiting]| if rows.len() == found.stretch { rows.last().map(|row| row.place) } else { None };
            let bound = [end(&ready), end(&unmatched)].into_iter().flatten().min();
            let mut rows: Vec<Waiting> = ready.into_iter().chain(unmatched).collect();
            rows.sort_by_key(|row| row.place);
            if let Some(bound) = bound {
                rows.retain(|row| row.place <= bound);
            }
            found.read_through = rows.last().map_or(after, |row| row.place.n);
            found.read_all = bound.is_none();
            found.stretch = (found.stretch * 4).min(STRETCH_MAX);
            found.rows = rows.into();
        }
        found.read_all |= found.only_rung;
        // Where others wait too, a bell may lie behind all of theirs: a lane that has nothing else is not left to it.
        if found.rows.is_empty() && found.read_all && line.purpose == Purpose::Start && self.is_shared(queue) {
            found.rows.extend(self.first_rung(queue, priority, lane)?);
        }
        Ok(())
    }

    fn rows_at(
        &mut self,
        queue: &str,
        ring: Ring,
        lane: Lane,
        after: Place,
        limit: usize,
    ) -> Result<Vec<Waiting>, StorageError> {
        let query = if ring == Ring::Ready { READY } else { NO_MATCH };
        let Place { priority, n } = after;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.sql.take_all(query, values![queue, priority, lane.number(), n, limit], |columns| {
            waiting(columns, lane, priority, ring)
        })
    }

    /// The lane's row whose bell is out for the longest time.
    fn first_rung(&mut self, queue: &str, priority: i64, lane: Lane) -> Result<Option<Waiting>, StorageError> {
        let own = |offered: &Offered| offered.lane == lane;
        let of_lane = of_priority(self.memory.queue(queue), priority).filter(|(offered, _)| own(offered));
        let places: Vec<i64> = of_lane.map(|(_, n)| n).collect();
        for n in places {
            let found = self.sql.one(RUNG, values![n], |columns| waiting(columns, lane, priority, Ring::Rung))?;
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

    /// Whether rows wait in several lanes of the queue.
    pub(super) fn is_shared(&mut self, queue: &str) -> bool {
        let parts = &self.memory.queue(queue).parts;
        parts.len() > 1 && parts.values().filter(|part| part.depth.queued > 0).nth(1).is_some()
    }

    /// Whether it is the turn of the row's lane, whatever priority others' rows have: mostly it is, because bells are rung in turn, and then nothing is
    /// read.
    pub(super) fn is_turn_of(&mut self, row: &Row) -> bool {
        let parts = self.memory.queue(&row.queue).parts.iter();
        let waits = parts.filter(|(_, part)| part.depth.queued > 0);
        let waits: Vec<(Lane, bool)> = waits.map(|(lane, part)| (*lane, part.offered > 0)).collect();
        let (tenants, now_ms) = (&self.memory.tenants, self.context.wall_ms);
        let may_start = |lane: Lane, is_rung: bool| {
            lane == row.lane || tenants.may_run(lane) && (is_rung || tenants.held_back(lane, now_ms).is_none())
        };
        let waits = waits.into_iter().filter(|(lane, is_rung)| may_start(*lane, *is_rung));
        let standing: Vec<Standing> = waits.map(|(lane, _)| tenants.standing(lane)).collect();
        self.memory.queue(&row.queue).shares.turn(&standing, |_| 0) == Some(row.lane)
    }

    /// The lane has no further row of this priority, or of a higher one, that is to be looked at.
    fn looked_through(&mut self, queue: &str, lane: Lane, priority: i64) {
        let looked_through = &mut self.memory.queue(queue).part(lane).looked_through;
        if let Some(reached) = looked_through {
            let next = (*reached).max(Place { priority: priority + 1, n: 0 });
            *looked_through = PRIORITIES.contains(&next.priority).then_some(next);
        }
    }

    /// Whether only this row's tenant, and only its lane there, has something that may start now.
    pub(super) fn is_alone(&mut self, row: &Row) -> Alone {
        let (parts, now_ms) = (self.memory.queue(&row.queue).parts.iter(), self.context.wall_ms);
        let waits: Vec<Lane> = parts.filter(|(_, part)| part.depth.queued > 0).map(|(lane, _)| *lane).collect();
        let others = waits.into_iter().filter(|lane| *lane != row.lane);
        let others = others.filter(|lane| self.memory.tenants.held_back(*lane, now_ms).is_none());
        Alone::beside(row.lane, others)
    }
}

/// The bells of rows of one priority, with the number of the row.
fn of_priority(queue: &Queue, priority: i64) -> impl Iterator<Item = (&Offered, i64)> {
    queue.bells.values().filter_map(move |offered| {
        let place = offered.row.filter(|place| place.priority == priority)?;
        Some((offered, place.n))
    })
}

fn waiting(columns: &mut dyn Columns, lane: Lane, priority: i64, ring: Ring) -> Result<Waiting, StorageError> {
    let place = Place { priority, n: columns.int()? };
    let task = columns.text()?;
    let job_id = JobId(columns.uuid()?);
    let bell = BellId { job_id, dispatch: Dispatch(columns.counter()?) };
    let (created_at, trace) = (columns.int()?, columns.maybe_text()?);
    Ok(Waiting { lane, place, task, ring, bell, created_at, trace })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::plan_of;

    #[test]
    fn a_line_is_read_by_steps_of_an_index() {
        let by_lane = "SEARCH jobs USING INDEX jobs_ready (queue=? AND priority=? AND lane=? AND n>?)";
        assert_eq!(plan_of(READY), [by_lane]);
        let plan = plan_of(NO_MATCH);
        assert!(
            plan.iter().all(|step| step.contains("jobs_no_match (queue=? AND priority=? AND lane=? AND n>?)")),
            "{plan:?}"
        );
        assert_eq!(plan_of(RUNG), ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"]);
        let plan = plan_of(LANES);
        let of_jobs: Vec<&String> = plan.iter().filter(|step| step.contains(" jobs ")).collect();
        let by_step =
            |step: &&String| step.contains("SEARCH jobs USING COVERING INDEX jobs_ready (queue=? AND priority=?");
        assert_eq!(of_jobs.len(), 2, "{plan:?}");
        assert!(of_jobs.iter().all(by_step), "{plan:?}");
    }
}
