//! Schedules: jobs that are made again and again, at times that a cron expression names in a time zone. What is said about them, and when
//! they are due. Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::{Priority, Submit};
use crate::ids::JobId;
use crate::key::{DataKey, QueueName, ScheduleName, TaskName, UniqueKey};
use crate::problem::{Kind, Problem};
use crate::store_api::Create;
use crate::time::Timestamp;

pub use cron::{CRON_BYTES_MAX, Cron, CronError};
pub use due::{CATCH_UP_MAX, CatchUp, ClockWatch, Due, MISSED_AFTER_MS, due, job_of};
pub use ticks::{Ticks, UnknownZone, Zone};

mod cron;
mod due;
mod ticks;

/// So many may be there; one more is refused.
pub const SCHEDULES_MAX: u32 = 1_000;
/// The largest job that one may hold, in bytes of JSON.
pub const JOB_BYTES_MAX: usize = 64 * 1024;
/// The ticks that are shown ahead.
pub const NEXT_RUNS: usize = 5;

/// `PUT /schedules/{name}`; `cron` and `job` are needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutSchedule {
    pub cron: Cron,
    /// UTC unless it says otherwise.
    #[serde(default)]
    pub time_zone: Zone,
    /// What each of its jobs is like. It may say neither when it is due nor what it is called.
    pub job: Submit,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Unless it is said, it stays as it is; a new one is not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A checked schedule, on its way to the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schedule {
    pub name: ScheduleName,
    pub cron: Cron,
    pub time_zone: Zone,
    pub job: JobTemplate,
    pub catch_up: CatchUp,
    pub paused: Option<bool>,
}

/// What may be done about one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleCommand {
    /// Creates it, or puts it in the place of what has its name.
    Put(Box<Schedule>),
    Delete {
        name: ScheduleName,
    },
    /// Its ticks pass without jobs until it is resumed.
    Pause {
        name: ScheduleName,
    },
    Resume {
        name: ScheduleName,
    },
    /// One job of it now, besides those of its ticks.
    Run {
        name: ScheduleName,
        job_id: JobId,
    },
}

/// What each of its jobs is like, with nothing left to defaults.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobTemplate {
    pub task: TaskName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub payload: Option<Box<RawValue>>,
    pub queue: QueueName,
    pub priority: Priority,
    pub max_attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalidates: Vec<DataKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<UniqueKey>,
}

impl JobTemplate {
    /// Of a job that was checked.
    #[must_use]
    pub fn of(create: Create) -> Self {
        Self {
            task: create.task,
            payload: create.payload,
            queue: create.queue,
            priority: create.priority,
            max_attempts: create.max_attempts,
            timeout_ms: create.timeout_ms,
            start_deadline_ms: create.start_deadline_ms,
            invalidates: create.invalidates,
            unique_key: create.unique_key,
        }
    }

    /// A job that is due now.
    #[must_use]
    pub fn create(&self, job_id: JobId) -> Create {
        Create {
            job_id,
            task: self.task.clone(),
            payload: self.payload.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            run_at: None,
            delay_ms: None,
            max_attempts: self.max_attempts,
            timeout_ms: self.timeout_ms,
            start_deadline_ms: self.start_deadline_ms,
            invalidates: self.invalidates.clone(),
            unique_key: self.unique_key.clone(),
            idempotency_key: None,
            fingerprint: String::new(),
            trace: None,
            key_id: None,
            wants_bell: false,
        }
    }
}

/// `GET /schedules/{name}`, and one of `GET /schedules`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleView {
    pub name: ScheduleName,
    pub cron: Cron,
    pub time_zone: Zone,
    pub job: JobTemplate,
    pub catch_up: CatchUp,
    pub paused: bool,
    /// None while it is paused.
    pub next_runs: Vec<NextRun>,
    /// What became of the last tick; absent: there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastTick>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A tick that is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextRun {
    pub at: Timestamp,
    /// The same instant on the clock of the time zone.
    pub local: String,
}

impl NextRun {
    /// From a tick on.
    #[must_use]
    pub fn list(cron: &Cron, zone: &Zone, first: Timestamp) -> Vec<Self> {
        let ticks = Ticks { cron, zone };
        let all = std::iter::once(first).chain(ticks.following(first)).take(NEXT_RUNS);
        all.map(|at| Self { at, local: zone.local(at) }).collect()
    }
}

/// What became of a tick: it has a job, or a reason why it has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastTick {
    pub tick: Timestamp,
    /// When it was dealt with.
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Skipped {
    /// The type of the problem that a submit would have been answered with, or `missed`.
    pub reason: String,
    pub detail: String,
}

impl Skipped {
    /// As a submit would have been refused.
    #[must_use]
    pub fn refused(problem: &Problem) -> Self {
        let reason = problem.kind().map_or_else(|| problem.type_uri.to_string(), |kind| kind.name().to_owned());
        let faults = problem.errors.iter().map(|error| error.detail.as_str());
        let detail = faults.chain([problem.detail.as_ref()]).next().unwrap_or_default().to_owned();
        Self { reason, detail }
    }

    #[must_use]
    pub fn missed() -> Self {
        let detail = "Nobody looked when it was due, and its schedule catches up none.";
        Self { reason: "missed".to_owned(), detail: detail.to_owned() }
    }
}

/// The answer to whoever names one that is not there.
#[must_use]
pub fn unknown(name: &ScheduleName) -> Problem {
    Kind::NotFound.detail(format!("There is no schedule {name}; GET /schedules lists them."))
}

/// `GET /schedules`, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulePage {
    pub schedules: Vec<ScheduleView>,
    /// `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
}

/// Of a job: which schedule made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MadeBy {
    pub name: String,
    /// Absent: somebody asked for it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Timestamp>,
}
