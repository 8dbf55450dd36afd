//! One transaction: the rows, the memory as it will be if it commits, and what those who wait will be told.

use std::sync::Arc;

use protocol::dispatch::Lane;
use protocol::ids::{Position, RetryId, SessionId};
use protocol::job::{Job, State};
use protocol::problem::Problem;
use protocol::store_api::{Answer, BellId, Change, Command, JobFence, Reply};
use protocol::tenant::Tenant;

pub(super) use memory::Memory;
pub(super) use read::{Reads, Snapshots, Viewed};

use super::row::{Ring, Row};
use super::sql::{Sql, values};
use super::{
    BellSeq, Context, NewsItem, Offer, QueueNow, RetryStep, Room, Rung, RungBell, SYSTEM, Sending, Sent,
    SequencerRenewal, Signals, StorageError, Transitions,
};
use foreseen::Foreseen;
use memory::{Part, Queue};

mod allowance;
mod audit;
mod bells;
mod bulk_retry;
mod claim;
mod create;
mod data;
mod deliveries;
mod expire;
mod foreseen;
mod key_lanes;
mod keys;
mod line;
mod logs;
pub(super) mod memory;
mod missing;
mod next;
mod pull;
mod queue;
mod read;
mod ring;
mod schedules;
mod sequencer;
mod session;
mod settle;
mod tenants;
mod ticks;
mod trim;
mod view;
mod webhooks;

pub(super) struct Transaction<'t> {
    pub(super) sql: &'t mut dyn Sql,
    pub(super) context: &'t Context,
    pub(super) memory: Memory,
    pub(super) signals: Signals,
    foreseen: Foreseen,
    /// Whose command is applied, by number; `None`: of a tenant that nobody knows.
    caller: Option<i64>,
    draws: u64,
}

/// What belongs to the queue as a whole stands in the row of the system, which is also that of the tenant `default`.
fn save_queue(sql: &mut dyn Sql, name: &str, queue: &mut Queue) -> Result<(), StorageError> {
    let system = Lane::of(SYSTEM);
    queue.part(system);
    for (lane, part) in &mut queue.parts {
        if part.unsaved || *lane == system {
            let of_the_queue =
                if *lane == system { (queue.paused_at, queue.claimed_through) } else { (None, BellSeq(0)) };
            save_part(sql, name, *lane, part, of_the_queue)?;
            part.unsaved = false;
        }
    }
    Ok(())
}

fn save_part(
    sql: &mut dyn Sql,
    name: &str,
    lane: Lane,
    part: &Part,
    (paused_at, claimed_through): (Option<i64>, BellSeq),
) -> Result<(), StorageError> {
    let query = "INSERT INTO queues (lane, queue, paused_at, claimed_through, scheduled, queued, running)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (lane, queue) DO UPDATE SET paused_at = ?3, claimed_through = ?4, scheduled = ?5,
                     queued = ?6, running = ?7";
    let depth = part.depth;
    let (lane, claimed_through) = (lane.number(), claimed_through.0);
    sql.write(query, values![lane, name, paused_at, claimed_through, depth.scheduled, depth.queued, depth.running])
}

/// The answer to a command, or why it is refused.
pub(super) type Decided = Result<Reply, Problem>;

impl<'t> Transaction<'t> {
    pub(super) fn new(sql: &'t mut dyn Sql, context: &'t Context, mut memory: Memory) -> Self {
        memory.holder_watch.look(context.now_ms, &memory.holding);
        Self {
            sql,
            context,
            memory,
            signals: Signals::default(),
            foreseen: Foreseen::default(),
            caller: None,
            draws: 0,
        }
    }

    /// Writes what was kept back until the end.
    pub(super) fn finish(mut self) -> Result<(Memory, Signals), StorageError> {
        for (name, queue) in &mut self.memory.queues {
            if queue.unsaved || !queue.told {
                let (depth, paused) = (queue.depth, queue.is_paused());
                self.signals.queues.push(QueueNow { queue: name.clone(), depth, paused });
                queue.told = true;
            }
            if queue.unsaved {
                save_queue(self.sql, name, queue)?;
                queue.unsaved = false;
            }
        }
        self.memory.tenants.save(self.sql)?;
        if self.memory.holding_unsaved && (self.sql.is_remote() || self.sql.has_written()) {
            self.save_holding()?;
        }
        if !self.memory.live_told {
            self.signals.live = Some(Arc::clone(&self.memory.live));
            self.memory.live_told = true;
        }
        self.signals.wrote = self.sql.has_written();
        self.signals.head = self.memory.head;
        self.signals.fenced_through = self.memory.fenced_through;
        self.signals.bells = self.memory.bells;
        self.signals.restless = self.memory.restless.iter().cloned().collect();
        Ok((self.memory, self.signals))
    }

    /// A random number of this transaction: its seed and a counter, mixed by `SplitMix64` (Steele, Lea, Flood 2014).
    pub(super) fn random(&mut self) -> u64 {
        self.draws += 1;
        let mut z = self.context.seed.wrapping_add(self.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.signals.counts.entry(what).or_default() += 1;
    }

    pub(super) fn tell(&mut self, session: Option<SessionId>, item: NewsItem) {
        if let Some(session) = session {
            self.signals.news.push((session, item));
        }
    }

    pub(super) fn due(&mut self, at_ms: i64) {
        self.signals.due_ms = Some(self.signals.due_ms.map_or(at_ms, |due| due.min(at_ms)));
    }

    /// Appends to the log.
    pub(super) fn log(&mut self, change: &Change) -> Result<Position, StorageError> {
        let position = self.memory.head.next();
        let query = "INSERT INTO log (position, tenant, at, kind, change) VALUES (?, ?, ?, ?, ?)";
        let kind = i64::from(change.is_invalidation());
        let text = serde_json::to_string(change)?;
        self.sql.write(query, values![position.0, SYSTEM, self.context.wall_ms, kind, &text])?;
        self.memory.head = position;
        if change.is_invalidation() {
            self.signals.invalidation = Some(position);
        }
        Ok(position)
    }

    /// Writes a decided step of a job and everything that it asks for.
    pub(super) fn record(&mut self, row: &mut Row, before: &Job) -> Result<(), StorageError> {
        let effects = row.job.effects_since(before);
        row.pulled &= row.job.state == State::Running;
        if row.job.state != State::Queued {
            (row.ring, row.ring_at) = (None, None);
        } else if effects.bell {
            self.place(row);
        }
        self.moved(row, Some(before.state))?;
        if row.job.state.is_terminal() && !before.state.is_terminal() {
            row.finished_at = Some(self.context.wall_ms);
        }
        if row.job.started || row.job.state.is_terminal() {
            row.start_by = None;
        }
        if effects.visible {
            let status = row.job.state.into();
            row.changed = self.log(&Change::Job { job_id: row.job_id, run: row.job.run, status })?;
        }
        if row.job.state.is_terminal() && !before.state.is_terminal() {
            self.announce(row)?;
        }
        if effects.invalidation {
            let keys = serde_json::from_str(row.invalidates.as_deref().unwrap_or("[]"))?;
            let position = self.log(&Change::Invalidates { job_id: row.job_id, keys })?;
            row.invalidation = (row.job.state == State::Finishing).then_some(position.0.cast_signed());
        }
        self.save(row)
    }

    /// Counts a step of a job in its queue; `before` is `None` when it was created.
    pub(super) fn moved(&mut self, row: &Row, before: Option<State>) -> Result<(), StorageError> {
        let (queue, lane, after) = (row.queue.as_str(), row.lane, row.job.state);
        if before == Some(after) {
            return Ok(());
        }
        let known = self.memory.queue(queue);
        known.depth.moved(before, after);
        known.unsaved = true;
        let part = known.part(lane);
        part.depth.moved(before, after);
        part.unsaved = true;
        self.memory.tenants.counts(lane, |allowance| allowance.depth.moved(before, after));
        if matches!(before, Some(State::Running | State::Finishing)) {
            self.wake_if_limited(lane)?;
        }
        match self.signals.flows.get_mut(queue) {
            Some(flow) => flow.moved(before, after),
            None => self.signals.flows.entry(queue.to_owned()).or_default().moved(before, after),
        }
        Ok(())
    }

    /// What becomes of a command of this tenant.
    fn decide(&mut self, tenant: &Tenant, command: &Command) -> Result<Decided, StorageError> {
        match command {
            Command::Create(create) => self.create_for(tenant, create),
            Command::Claim(claim) => self.claim(claim),
            Command::Complete(complete) => self.complete(complete),
            Command::Release(release) => self.release(release),
            Command::Heartbeat(heartbeat) => self.heartbeat(heartbeat),
            Command::Pull(pull) => self.pull(pull),
            Command::Renew(held) => self.renew_pulled(held),
            Command::HandOver(lease) => self.hand_over(*lease),
            Command::EndSession { session } => self.end_session(*session),
            Command::Cancel { job_id } => self.cancel(*job_id),
            Command::Retry { job_id } => self.retry(*job_id),
            Command::RetryJobs(asked) => self.begin_retry(tenant, asked),
            Command::StopRetry { retry_id } => self.stop_retry(*retry_id),
            Command::Schedule(command) => self.command_schedule(tenant, command),
            Command::SetTenant { tenant, limits } => self.set_tenant(tenant, *limits),
            Command::Webhook(command) => self.command_webhook(command),
            Command::Key(command) => self.command_key(command),
            Command::Audited(audited) => self.audited(tenant, audited),
            Command::Audit(noted) => self.audit(noted),
            Command::PauseQueue { queue } => self.set_paused(queue, true),
            Command::ResumeQueue { queue } => self.set_paused(queue, false),
            Command::Purge { job_id } => self.purge(*job_id),
            Command::Bells(fates) => self.bell_fates(fates),
            Command::PutData(put) => self.put_data(put),
            Command::DeleteData(delete) => self.delete_data(delete),
            Command::SequencerAcquire { instance } => self.acquire_sequencer(*instance),
            Command::SequencerYield { instance, epoch } => self.yield_sequencer(*instance, *epoch),
            Command::Fenced { epoch, through } => self.fenced(*epoch, *through),
        }
    }

    /// Puts a queued row where the dispatcher finds it, or where it waits for a session that knows its task.
    pub(super) fn place(&mut self, row: &mut Row) {
        let matched = self.memory.live.matches(&row.queue, &row.task);
        row.ring = Some(if matched { Ring::Ready } else { Ring::NoMatch });
        row.ring_at = None;
        if matched {
            self.memory.agitate(&row.queue);
        }
        self.offer(row);
    }

    /// Tells the workers that pull of a row that waits.
    pub(super) fn offer(&mut self, row: &Row) {
        if self.memory.live.pulls(&row.queue, &row.task) && !self.memory.queue(&row.queue).is_paused() {
            self.signals.offers.push(Offer { queue: row.queue.clone(), task: row.task.clone() });
        }
    }
}

impl Transitions for Transaction<'_> {
    fn foresee(&mut self, commands: &[(&Tenant, &Command)]) -> Result<(), StorageError> {
        if self.sql.is_remote() { self.look_ahead(commands) } else { Ok(()) }
    }

    fn apply(&mut self, tenant: &Tenant, command: &Command) -> Result<Answer, StorageError> {
        self.caller = self.memory.tenants.number(tenant);
        let decided = self.decide(tenant, command)?;
        Ok(match decided {
            Ok(reply) => Answer::Ok(Box::new(reply)),
            Err(problem) => Answer::Error(Box::new(problem)),
        })
    }

    fn restless(&self) -> Vec<String> {
        self.memory.restless.iter().cloned().collect()
    }

    fn ring(&mut self, queue: &str) -> Result<Rung, StorageError> {
        self.ring_queue(queue)
    }

    fn unring(&mut self, bells: &[BellId]) -> Result<(), StorageError> {
        bells.iter().try_for_each(|bell| self.unring_one(*bell))
    }

    fn take_over(&mut self, through: BellSeq) -> Result<Vec<RungBell>, StorageError> {
        self.take_over_unsent(through)
    }

    fn lose_bells(&mut self, queue: &str, aged: BellSeq, queue_empty: bool) -> Result<u64, StorageError> {
        self.lose_aged(queue, aged, queue_empty)
    }

    fn forget_bells(&mut self) -> Result<(), StorageError> {
        self.forget_all_bells()
    }

    fn due(&mut self, limit: u32) -> Result<bool, StorageError> {
        self.wake_by_rate()?;
        let more_ticks = self.run_due_ticks(limit)?;
        Ok(self.queue_due(limit)? || more_ticks)
    }

    fn recount_ticks(&mut self) -> Result<(), StorageError> {
        self.recount_all_ticks()
    }

    fn retry_some(&mut self, retry: RetryId, jobs: u32) -> Result<RetryStep, StorageError> {
        self.retry_matching(retry, jobs)
    }

    fn take_deliveries(&mut self, rooms: &[Room], lease_ms: u64) -> Result<Vec<Sending>, StorageError> {
        self.take_due_deliveries(rooms, lease_ms)
    }

    fn sent(&mut self, sent: &Sent) -> Result<(), StorageError> {
        self.settle_delivery(sent)
    }

    fn trim_deliveries(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        self.trim_all_deliveries(before_wall_ms, limit)
    }

    fn reap(&mut self, lease: JobFence, renewal: u64) -> Result<bool, StorageError> {
        self.reap_lease(lease, renewal)
    }

    fn expire_session(&mut self, session: SessionId, renewal: u64) -> Result<bool, StorageError> {
        self.expire_silent_session(session, renewal)
    }

    fn renew_sequencer(&mut self, renewal: SequencerRenewal) -> Result<bool, StorageError> {
        self.renew_sequencer_lease(renewal)
    }

    fn expire(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        self.expire_jobs(before_wall_ms, limit)
    }

    fn trim_tombstones(&mut self, before_wall_ms: i64, kept: u64, limit: u32) -> Result<bool, StorageError> {
        self.trim_oldest_tombstones(before_wall_ms, kept, limit)
    }

    fn trim_log(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        self.trim_log_entries(before_wall_ms, limit)
    }

    fn trim_keys(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        self.trim_idempotency_keys(before_wall_ms, limit)
    }
}
