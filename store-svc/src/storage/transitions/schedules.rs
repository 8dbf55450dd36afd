//! Schedules: rows that say which jobs are made again and again, and when. What clients do about them; `ticks.rs` makes the jobs.

use protocol::ids::JobId;
use protocol::key::ScheduleName;
use protocol::problem::{Kind, Problem};
use protocol::schedule::{
    CatchUp, Cron, JobTemplate, LastTick, MadeBy, NextRun, SCHEDULES_MAX, Schedule, ScheduleCommand, ScheduleView,
    Ticks, Zone, unknown,
};
use protocol::store_api::Reply;
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::{Decided, Transaction};
use crate::storage::row::{catch_up, catch_up_word};
use crate::storage::sql::{Columns, Sql, values};
use crate::storage::{SchedulesPage, StorageError};

/// Once the jobs of a page reach this size, it ends, in bytes.
const PAGE_BYTES: usize = 4 << 20;

macro_rules! schedule_columns {
    () => {
        "tenant, name, cron, time_zone, job, catch_up, paused, next_tick, last, created_at, updated_at"
    };
}
pub(super) use schedule_columns;

/// A schedule's row. Times are Unix ms.
#[derive(Clone, Debug)]
pub(super) struct ScheduleRow {
    /// The number of the tenant whose it is, and whose its jobs are.
    pub(super) tenant: i64,
    pub(super) name: ScheduleName,
    pub(super) cron: Cron,
    pub(super) zone: Zone,
    /// JSON.
    job: String,
    pub(super) catch_up: CatchUp,
    pub(super) paused: bool,
    pub(super) next_tick: Option<i64>,
    last: Option<LastTick>,
    created_at: i64,
    updated_at: i64,
}

impl ScheduleRow {
    pub(super) fn read(columns: &mut dyn Columns) -> Result<Self, StorageError> {
        let odd = |error: &dyn std::fmt::Display| StorageError::Internal(format!("a schedule in a row {error}"));
        Ok(Self {
            tenant: columns.int()?,
            name: ScheduleName::try_from(columns.word()?).map_err(|error| odd(&error))?,
            cron: Cron::try_from(columns.word()?).map_err(|error| odd(&error))?,
            zone: Zone::try_from(columns.word()?).map_err(|error| odd(&error))?,
            job: columns.text()?,
            catch_up: catch_up(columns.word()?)?,
            paused: columns.flag()?,
            next_tick: columns.maybe_int()?,
            last: columns.maybe_word()?.map(serde_json::from_str).transpose()?,
            created_at: columns.int()?,
            updated_at: columns.int()?,
        })
    }

    pub(super) fn load(sql: &mut dyn Sql, tenant: i64, name: &ScheduleName) -> Result<Option<Self>, StorageError> {
        let query = concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE tenant = ? AND name = ?");
        sql.one(query, values![tenant, name.as_str()], Self::read)
    }

    fn save(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "INSERT INTO schedules (tenant, name, cron, time_zone, job, catch_up, paused, next_tick, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                     ON CONFLICT (tenant, name) DO UPDATE SET cron = ?3, time_zone = ?4, job = ?5, catch_up = ?6,
                         paused = ?7, next_tick = ?8, updated_at = ?10";
        let (tenant, name, paused, catch_up) =
            (self.tenant, self.name.as_str(), self.paused, catch_up_word(self.catch_up));
        let (cron, zone) = (self.cron.as_str(), self.zone.name());
        let (created_at, updated_at) = (self.created_at, self.updated_at);
        sql.write(
            query,
            values![tenant, name, cron, zone, &self.job, catch_up, paused, self.next_tick, created_at, updated_at],
        )
    }

    /// Writes how far it has come.
    pub(super) fn save_tick(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "UPDATE schedules SET next_tick = ?, last = ? WHERE tenant = ? AND name = ?";
        let last = self.last.as_ref().map(serde_json::to_string).transpose()?;
        sql.write(query, values![self.next_tick, &last, self.tenant, self.name.as_str()])
    }

    pub(super) fn template(&self) -> Result<JobTemplate, StorageError> {
        Ok(serde_json::from_str(&self.job)?)
    }

    pub(super) fn ticks(&self) -> Ticks<'_> {
        Ticks { cron: &self.cron, zone: &self.zone }
    }

    /// The first tick after now, unless it is paused.
    pub(super) fn next_after(&self, now_ms: i64) -> Option<i64> {
        let next = self.ticks().after(Timestamp::from_unix_ms(now_ms));
        next.map(Timestamp::unix_ms).filter(|_| !self.paused)
    }

    pub(super) fn ended(&mut self, last: LastTick) {
        self.last = Some(last);
    }

    pub(super) fn view(self) -> Result<ScheduleView, StorageError> {
        let first = self.next_tick.map(Timestamp::from_unix_ms);
        let mut job = self.template()?;
        job.invalidates.iter_mut().for_each(|key| *key = key.public());
        Ok(ScheduleView {
            job,
            next_runs: first.map(|first| NextRun::list(&self.cron, &self.zone, first)).unwrap_or_default(),
            name: self.name,
            cron: self.cron,
            time_zone: self.zone,
            catch_up: self.catch_up,
            paused: self.paused,
            last: self.last,
            created_at: Timestamp::from_unix_ms(self.created_at),
            updated_at: Timestamp::from_unix_ms(self.updated_at),
        })
    }
}

impl Transaction<'_> {
    pub(super) fn command_schedule(
        &mut self,
        tenant: &Tenant,
        command: &ScheduleCommand,
    ) -> Result<Decided, StorageError> {
        match command {
            ScheduleCommand::Put(schedule) => match self.tenant_that_creates(tenant)? {
                Ok(tenant) => self.put_schedule(tenant, schedule),
                Err(problem) => Ok(Err(problem)),
            },
            ScheduleCommand::Delete { name } => self.delete_schedule(name),
            ScheduleCommand::Pause { name } => self.pause_schedule(name, true),
            ScheduleCommand::Resume { name } => self.pause_schedule(name, false),
            ScheduleCommand::Run { name, job_id } => self.run_schedule(name, *job_id),
        }
    }

    fn schedule_of_caller(&mut self, name: &ScheduleName) -> Result<Option<ScheduleRow>, StorageError> {
        let Some(tenant) = self.caller else { return Ok(None) };
        ScheduleRow::load(self.sql, tenant, name)
    }

    /// A tick that is due already stays due, unless other times are asked for.
    fn put_schedule(&mut self, tenant: i64, asked: &Schedule) -> Result<Decided, StorageError> {
        let known = ScheduleRow::load(self.sql, tenant, &asked.name)?;
        if let Some(refused) = self.refuses_schedule(tenant, asked, known.is_none())? {
            return Ok(Err(refused));
        }
        let now = self.context.wall_ms;
        let mut row = ScheduleRow {
            tenant,
            name: asked.name.clone(),
            cron: asked.cron.clone(),
            zone: asked.time_zone.clone(),
            job: serde_json::to_string(&asked.job)?,
            catch_up: asked.catch_up,
            paused: asked.paused.unwrap_or_else(|| known.as_ref().is_some_and(|known| known.paused)),
            next_tick: None,
            last: known.as_ref().and_then(|known| known.last.clone()),
            created_at: known.as_ref().map_or(now, |known| known.created_at),
            updated_at: now,
        };
        let goes_on =
            |known: &&ScheduleRow| (&known.cron, &known.zone, known.paused) == (&row.cron, &row.zone, row.paused);
        row.next_tick = match known.as_ref().filter(goes_on) {
            Some(known) => known.next_tick,
            None => row.next_after(now),
        };
        self.keep_schedule(&row)?;
        let schedule = Box::new(row.view()?);
        Ok(Ok(Reply::Schedule { created: known.is_none(), schedule }))
    }

    fn refuses_schedule(
        &mut self,
        tenant: i64,
        asked: &Schedule,
        is_new: bool,
    ) -> Result<Option<Problem>, StorageError> {
        if let Some(mut unknown) = self.unknown_queue(asked.job.queue.as_str()) {
            for error in &mut unknown.errors {
                error.pointer.insert_str(0, "/job");
            }
            return Ok(Some(unknown));
        }
        let query = "SELECT count(*) FROM schedules WHERE tenant = ?";
        let full = is_new && self.sql.single(query, values![tenant], |columns| columns.small())? >= SCHEDULES_MAX;
        let detail = || format!("There are {SCHEDULES_MAX} schedules, which is the limit; delete one first.");
        Ok(full.then(|| Kind::Conflict.detail(detail())))
    }

    fn keep_schedule(&mut self, row: &ScheduleRow) -> Result<(), StorageError> {
        row.save(self.sql)?;
        if let Some(next_tick) = row.next_tick {
            self.due(next_tick);
        }
        Ok(())
    }

    fn delete_schedule(&mut self, name: &ScheduleName) -> Result<Decided, StorageError> {
        let known = self.schedule_of_caller(name)?;
        if let Some(row) = &known {
            let query = "DELETE FROM schedules WHERE tenant = ? AND name = ?";
            self.sql.write(query, values![row.tenant, name.as_str()])?;
        }
        Ok(Ok(Reply::ScheduleDeleted { deleted: known.is_some() }))
    }

    /// What is due while it is paused has passed when it is resumed.
    fn pause_schedule(&mut self, name: &ScheduleName, paused: bool) -> Result<Decided, StorageError> {
        let Some(mut row) = self.schedule_of_caller(name)? else { return Ok(Err(unknown(name))) };
        if row.paused != paused {
            row.paused = paused;
            row.next_tick = row.next_after(self.context.wall_ms);
            row.updated_at = self.context.wall_ms;
            self.keep_schedule(&row)?;
        }
        let schedule = Box::new(row.view()?);
        Ok(Ok(Reply::Schedule { created: false, schedule }))
    }

    fn run_schedule(&mut self, name: &ScheduleName, job_id: JobId) -> Result<Decided, StorageError> {
        let Some(row) = self.schedule_of_caller(name)? else { return Ok(Err(unknown(name))) };
        let made_by = MadeBy { name: name.to_string(), tick: None };
        if let Err(refused) = self.create_by(row.tenant, &row.template()?.create(job_id), Some(&made_by))? {
            return Ok(Err(refused));
        }
        let row = self.load(job_id)?.ok_or_else(|| StorageError::Internal(format!("the job {job_id} was not made")))?;
        let job = Box::new(self.view(&row)?);
        Ok(Ok(Reply::ScheduleRun { job }))
    }
}

pub(super) fn view_one(
    sql: &mut dyn Sql,
    tenant: i64,
    name: &ScheduleName,
) -> Result<Option<ScheduleView>, StorageError> {
    ScheduleRow::load(sql, tenant, name)?.map(ScheduleRow::view).transpose()
}

/// One page, by name.
pub(super) fn page(sql: &mut dyn Sql, tenant: i64, after: &str, limit: u32) -> Result<SchedulesPage, StorageError> {
    let query =
        concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?");
    // One more than fits says whether something follows.
    let rows = sql.all(query, values![tenant, after, limit.saturating_add(1)], ScheduleRow::read)?;
    let mut page = SchedulesPage { schedules: Vec::new(), after: None };
    let mut bytes = 0;
    for row in rows {
        if page.schedules.len() >= usize::try_from(limit).unwrap_or(usize::MAX) || bytes >= PAGE_BYTES {
            page.after = page.schedules.last().map(|last: &ScheduleView| last.name.to_string());
            break;
        }
        bytes += row.job.len();
        page.schedules.push(row.view()?);
    }
    Ok(page)
}
