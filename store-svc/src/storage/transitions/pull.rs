//! Workers that pull: they take rows in the order of the line, whether these were rung, wait for a place, or are known to nobody else.
//!
//! A bell that is out keeps its place until a delivery names it: it lies in the broker, though its row is gone. Nothing is rung for a
//! session that pulls, so what it alone knows never waits in the broker for nobody.

use std::collections::{BTreeMap, BTreeSet};

use protocol::dispatch::{Alone, Lane, Shares, Standing};
use protocol::ids::{ClaimId, SessionId};
use protocol::key::TaskPattern;
use protocol::lease_api::{LEASE_MS, LIMIT_MAX, PAYLOAD_BYTES_MAX, QUEUES_MAX, SESSIONS_MAX, TASKS_MAX};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Pull, PulledJob, Reply};

use super::memory::Place;
use super::{Decided, Transaction};
use crate::storage::StorageError;
use crate::storage::live::Session;
use crate::storage::row::{Ring, Row, job_columns};
use crate::storage::sql::values;

/// Names of tasks that one look at a pattern goes through; the next look goes on behind them.
const NAMES_MAX: usize = 256;
/// Patterns of a queue whose next look is remembered.
const TURNS_MAX: usize = 64;
/// Rows with bells that one pull looks at, the oldest bells first. Those behind them wait for workers that do consume.
const RUNG_MAX: i64 = 1_024;

/// What of a queue a worker may take, by lane.
type Found = BTreeMap<Lane, BTreeSet<Place>>;

impl Transaction<'_> {
    pub(super) fn pull(&mut self, pull: &Pull) -> Result<Decided, StorageError> {
        if let Err(problem) = checked(pull) {
            return Ok(Err(problem));
        }
        let known = self.memory.live.session(pull.session);
        if known.is_none() && self.memory.live.sessions().count() >= SESSIONS_MAX {
            return Ok(Err(Kind::RateLimited.detail("Too many workers are there; try again later.")));
        }
        let session = Session {
            id: pull.session,
            worker: pull.worker.as_str().to_owned(),
            queues: pull.queues.iter().map(|queue| (queue.as_str().to_owned(), 0)).collect(),
            tasks: pull.tasks.iter().cloned().collect(),
            since_ms: known.map_or(self.context.wall_ms, |known| known.since_ms),
        };
        self.keep_session(session)?;
        let mut jobs = self.pulled_before(pull.claim_id)?;
        if jobs.is_empty() {
            jobs = self.take(pull)?;
        }
        Ok(Ok(Reply::Pulled { jobs }))
    }

    /// What this very pull took, renewed: its answer was lost.
    pub(super) fn pulled_before(&mut self, claim_id: ClaimId) -> Result<Vec<PulledJob>, StorageError> {
        let query = concat!("SELECT ", job_columns!(), " FROM jobs WHERE claim = ? AND pulled = 1");
        let held = self.sql.all(query, values![claim_id.0], Row::read)?;
        let mut jobs = Vec::new();
        for mut row in held {
            if row.job.pull(claim_id).is_ok() {
                self.save_renewal(&row)?;
                jobs.push(PulledJob { job_id: row.job_id, claimed: self.claimed(&row)? });
            }
        }
        Ok(jobs)
    }

    fn take(&mut self, pull: &Pull) -> Result<Vec<PulledJob>, StorageError> {
        let mut jobs = Vec::new();
        let mut payload_bytes = 0;
        for n in self.claimable(pull)? {
            let Some(row) = Row::load_n(self.sql, n)? else { continue };
            if payload_bytes >= PAYLOAD_BYTES_MAX || !self.may_take(&row.queue, row.lane, row.ring == Some(Ring::Rung))
            {
                continue;
            }
            let Some(pulled) = self.pull_row(row, pull.claim_id, pull.session, pull.lease_ms)? else { continue };
            self.count("pulled");
            payload_bytes += pulled.claimed.payload.as_ref().map_or(0, |payload| payload.get().len());
            jobs.push(pulled);
        }
        Ok(jobs)
    }

    /// Begins the row's attempt without its bell; `None`: it does not wait any more.
    pub(super) fn pull_row(
        &mut self,
        mut row: Row,
        claim_id: ClaimId,
        session: SessionId,
        lease_ms: u64,
    ) -> Result<Option<PulledJob>, StorageError> {
        // The loop that ends it may be late, the deadline is not.
        self.miss_start(&mut row)?;
        let before = row.job.clone();
        if row.job.pull(claim_id).is_err() {
            return Ok(None);
        }
        row.pulled = true;
        if row.ring != Some(Ring::Rung) {
            self.uses_rate(row.lane);
        }
        self.begin_attempt(&mut row, &before, session, lease_ms)?;
        Ok(Some(PulledJob { job_id: row.job_id, claimed: self.claimed(&row)? }))
    }

    /// The waiting rows that come first for this worker: of each queue by priority, the tenants' shares, and age; of several queues by priority and age.
    fn claimable(&mut self, pull: &Pull) -> Result<Vec<i64>, StorageError> {
        let mut found: Vec<(&str, Found)> = Vec::new();
        for queue in &pull.queues {
            let queue = queue.as_str();
            if self.memory.queue(queue).is_paused() {
                continue;
            }
            let mut of_queue = Found::new();
            let parts = self.memory.queue(queue).parts.iter();
            let waits: Vec<Lane> = parts.filter(|(_, part)| part.depth.queued > 0).map(|(lane, _)| *lane).collect();
            for lane in waits {
                if self.may_take(queue, lane, false) {
                    of_queue.insert(lane, BTreeSet::new());
                }
            }
            for pattern in &pull.tasks {
                match pattern {
                    TaskPattern::Exact(task) => self.waiting_of(queue, task, pull.limit, &mut of_queue)?,
                    TaskPattern::Prefix(prefix) => {
                        for task in self.names(queue, prefix)? {
                            self.waiting_of(queue, &task, pull.limit, &mut of_queue)?;
                        }
                    }
                }
            }
            self.rung_of(queue, &pull.tasks, &mut of_queue)?;
            found.push((queue, of_queue));
        }
        Ok(self.in_turn(found, pull.limit))
    }

    /// So many of the rows that were found, in the order in which they are due.
    fn in_turn(&mut self, mut found: Vec<(&str, Found)>, limit: u32) -> Vec<i64> {
        let mut shares: Vec<Shares> = found.iter().map(|(queue, _)| self.memory.queue(queue).shares.clone()).collect();
        let mut rows = Vec::new();
        while rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            let mut first: Option<(Place, usize, Lane)> = None;
            for (index, (_, of_queue)) in found.iter().enumerate() {
                let Some(priority) =
                    of_queue.values().filter_map(|places| places.first()).map(|place| place.priority).min()
                else {
                    continue;
                };
                let heads = of_queue.iter().filter_map(|(lane, places)| Some((*lane, *places.first()?)));
                let heads: BTreeMap<Lane, Place> = heads.filter(|(_, place)| place.priority == priority).collect();
                let standing: Vec<Standing> = heads.keys().map(|lane| self.memory.tenants.standing(*lane)).collect();
                let Some(lane) = shares[index].turn(&standing, |_| 0) else { continue };
                let head = (heads[&lane], index, lane);
                first = Some(first.map_or(head, |known| known.min(head)));
            }
            let Some((place, index, lane)) = first else { break };
            rows.push(place.n);
            let of_queue = &mut found[index].1;
            of_queue.entry(lane).or_default().remove(&place);
            let others = of_queue.iter().filter(|(other, places)| **other != lane && !places.is_empty());
            let alone = Alone::beside(lane, others.map(|(other, _)| *other));
            shares[index].started(lane, self.memory.tenants.share(lane.tenant), alone);
        }
        rows
    }

    /// Whether a job of the lane may be taken. The rate counted one that was rung when it was, so what is offered by now does not matter.
    fn may_take(&mut self, queue: &str, lane: Lane, is_rung: bool) -> bool {
        if !self.memory.tenants.may_run(lane) {
            return false;
        }
        let starts_at_ms = self.memory.tenants.starts_at(lane, self.context.wall_ms).filter(|_| !is_rung);
        starts_at_ms.is_none_or(|at_ms| {
            self.look_again(queue, at_ms);
            false
        })
    }

    fn waiting_of(&mut self, queue: &str, task: &str, limit: u32, found: &mut Found) -> Result<(), StorageError> {
        let query = "SELECT priority, n FROM jobs INDEXED BY jobs_by_task
                     WHERE queue = ? AND task = ? AND lane = ? AND ring <> 'rung' ORDER BY priority, n LIMIT ?";
        for (lane, places) in found {
            places.extend(self.sql.take_all(query, values![queue, task, lane.number(), limit], |columns| {
                Ok(Place { priority: columns.int()?, n: columns.int()? })
            })?);
        }
        Ok(())
    }

    /// The names of waiting tasks that begin so. When they are too many for one look, each look goes on where the last one ended, around
    /// and around: then names have turns, and priority and age count among those of one look.
    fn names(&mut self, queue: &str, prefix: &str) -> Result<Vec<String>, StorageError> {
        let turn = self.memory.queue(queue).turns.get(prefix).cloned();
        let mut names = self.names_after(queue, prefix, turn.as_deref(), NAMES_MAX)?;
        if let Some(turn) = &turn
            && names.len() < NAMES_MAX
        {
            let mut first = self.names_after(queue, prefix, None, NAMES_MAX - names.len())?;
            first.retain(|name| name <= turn);
            names.extend(first);
        }
        let turns = &mut self.memory.queue(queue).turns;
        match names.last() {
            Some(last) if names.len() == NAMES_MAX => {
                if turns.len() >= TURNS_MAX {
                    turns.clear();
                }
                turns.insert(prefix.to_owned(), last.clone());
            }
            _ => drop(turns.remove(prefix)),
        }
        Ok(names)
    }

    /// At most so many names that begin so, in order; each is one step of the index, however many rows it has.
    fn names_after(
        &mut self,
        queue: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let first = "SELECT task FROM jobs INDEXED BY jobs_by_task
                     WHERE queue = ? AND task >= ? AND ring <> 'rung' ORDER BY task LIMIT 1";
        let next = "SELECT task FROM jobs INDEXED BY jobs_by_task
                    WHERE queue = ? AND task > ? AND ring <> 'rung' ORDER BY task LIMIT 1";
        let mut names: Vec<String> = Vec::new();
        while names.len() < limit {
            let (query, from) = match names.last().map(String::as_str).or(after) {
                Some(last) => (next, last),
                None => (first, prefix),
            };
            match self.sql.one(query, values![queue, from], |columns| columns.text())? {
                Some(name) if name.starts_with(prefix) => names.push(name),
                _ => break,
            }
        }
        Ok(names)
    }

    /// Rows whose bells are out. A bell may lie behind busy slots, or in a queue that nobody consumes any more.
    fn rung_of(&mut self, queue: &str, tasks: &[TaskPattern], found: &mut Found) -> Result<(), StorageError> {
        if self.memory.queue(queue).outstanding() == 0 {
            return Ok(());
        }
        let query = "SELECT jobs.lane, priority, n, task FROM bells JOIN jobs ON jobs.job_id = bells.job_id
                     WHERE bells.queue = ? AND jobs.ring = 'rung' AND jobs.dispatch = bells.dispatch
                     ORDER BY bells.seq LIMIT ?";
        let known = self.sql.all(query, values![queue, RUNG_MAX], |columns| {
            let lane = Lane::numbered(columns.int()?);
            let place = Place { priority: columns.int()?, n: columns.int()? };
            let task = columns.word()?;
            Ok(tasks.iter().any(|pattern| pattern.matches(task)).then_some((lane, place)))
        })?;
        for (lane, place) in known.into_iter().flatten() {
            if self.may_take(queue, lane, true) {
                found.entry(lane).or_default().insert(place);
            }
        }
        Ok(())
    }
}

fn checked(pull: &Pull) -> Result<(), Problem> {
    if !LEASE_MS.contains(&pull.lease_ms) {
        return Err(Problem::invalid("/lease_ms", "must be between 1000 and 3600000"));
    }
    if !(1..=LIMIT_MAX).contains(&pull.limit) {
        return Err(Problem::invalid("/limit", format!("must be from 1 to {LIMIT_MAX}")));
    }
    let within = |count: usize, max: usize| (1..=max).contains(&count);
    if !within(pull.queues.len(), QUEUES_MAX) || !within(pull.tasks.len(), TASKS_MAX) {
        let detail = format!("must name 1 to {QUEUES_MAX} queues and 1 to {TASKS_MAX} tasks");
        return Err(Problem::invalid("", detail));
    }
    Ok(())
}
