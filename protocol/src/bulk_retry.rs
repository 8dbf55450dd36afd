//! Retries of many jobs at once: which ones, how fast, and how far it has come. The store does them in its own time. Pure.

use serde::{Deserialize, Serialize};

use crate::api::{ErrorKind, JobView};
use crate::ids::RetryId;
use crate::job::State;
use crate::key::{QueueName, TaskName};
use crate::time::Timestamp;

/// Jobs retried in a second, unless the request says otherwise.
pub const RATE_DEFAULT: u32 = 100;
pub const RATE_MAX: u32 = 10_000;
/// The most jobs that one of them retries.
pub const LIMIT_MAX: u64 = 10_000_000;
/// So many may run at once; one more is answered 429.
pub const RUNNING_MAX: usize = 8;
/// Of those that have ended so many are remembered.
pub const ENDED_KEPT: usize = 20;
/// The jobs that a dry run shows.
pub const SAMPLE_MAX: usize = 10;
/// The jobs that a dry run looks at; beyond them there may be more.
pub const PREVIEW_LOOKED_AT_MAX: u64 = 100_000;

/// `POST /jobs:retry`; only `status` is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RetryMany {
    pub status: Unsuccessful,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// Only jobs that ended then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// Only jobs that ended earlier; now, unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    /// Only say what would be retried.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000))]
    pub rate_per_second: Option<u32>,
    /// Retry at most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000_000))]
    pub limit: Option<u64>,
}

/// The ends after which a job may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unsuccessful {
    Failed,
    Cancelled,
}

impl Unsuccessful {
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// Which jobs: what is not said does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetryFilter {
    pub status: Unsuccessful,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// It ended then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// It ended earlier. Always said of one that runs, so that a job that fails again is not retried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

/// What a filter looks at, of a job that ended as it says.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'c> {
    pub queue: &'c str,
    pub task: &'c str,
    pub error_kind: Option<ErrorKind>,
    pub finished_at: Timestamp,
}

impl RetryFilter {
    #[must_use]
    pub fn selects(&self, job: Candidate<'_>) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.as_str() == job.queue)
            && self.task.as_ref().is_none_or(|task| task.as_str() == job.task)
            && self.error_kind.is_none_or(|kind| job.error_kind == Some(kind))
            && self.after.is_none_or(|after| job.finished_at >= after)
            && self.before.is_none_or(|before| job.finished_at < before)
    }
}

/// The answer to a dry run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetryPreview {
    pub matching: u64,
    /// `false`: there may be more than were looked at.
    pub exact: bool,
    /// Those that would be first.
    pub sample: Vec<JobView>,
}

/// One in `GET /jobs:retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkRetry {
    pub retry_id: RetryId,
    pub state: BulkState,
    #[serde(flatten)]
    pub filter: RetryFilter,
    pub rate_per_second: u32,
    pub limit: u64,
    pub retried: u64,
    /// Jobs whose unique key another one has by now.
    pub skipped: u64,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    Running,
    /// All jobs that it found, or as many as its limit allows, are retried.
    Done,
    /// Ended by an operator.
    Stopped,
}

/// `GET /jobs:retry`, newest first: all that run, and the last ones that have ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkRetries {
    pub retries: Vec<BulkRetry>,
}

/// How many jobs may be retried now, so that the rate is kept: a token bucket that holds a fifth of a second's jobs, at least one. Several stores
/// have one each, and what another one did counts in all.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate_per_second: u32,
    /// Thousandths of a job.
    tokens: u64,
    looked_at_ms: u64,
    /// By anybody, as far as it is known.
    retried: u64,
}

impl Pace {
    #[must_use]
    pub fn new(rate_per_second: u32, retried: u64, now_ms: u64) -> Self {
        Self { rate_per_second, tokens: 1_000, looked_at_ms: now_ms, retried }
    }

    /// So many are retried by now, by anybody.
    pub fn hear(&mut self, retried: u64, now_ms: u64) {
        let by_others = retried.saturating_sub(self.retried);
        self.allows(now_ms);
        self.took(u32::try_from(by_others).unwrap_or(u32::MAX));
    }

    pub fn allows(&mut self, now_ms: u64) -> u32 {
        let passed_ms = now_ms.saturating_sub(self.looked_at_ms);
        self.looked_at_ms = now_ms;
        let rate = u64::from(self.rate_per_second);
        let most = (rate * 200).max(1_000);
        self.tokens = self.tokens.saturating_add(passed_ms.saturating_mul(rate)).min(most);
        u32::try_from(self.tokens / 1_000).unwrap_or(u32::MAX)
    }

    pub fn took(&mut self, jobs: u32) {
        self.retried += u64::from(jobs);
        self.tokens = self.tokens.saturating_sub(u64::from(jobs) * 1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_selects_by_all_that_it_says() {
        let at = Timestamp::from_unix_ms;
        let any = RetryFilter {
            status: Unsuccessful::Failed,
            queue: None,
            task: None,
            error_kind: None,
            after: None,
            before: None,
        };
        let job = Candidate { queue: "q", task: "t", error_kind: Some(ErrorKind::Timeout), finished_at: at(100) };
        let check = |filter: RetryFilter, expected: bool| assert_eq!(filter.selects(job), expected, "{filter:?}");
        let queue = |name: &str| Some(QueueName::try_from(name).expect("a name"));
        let task = |name: &str| Some(TaskName::try_from(name).expect("a name"));
        check(any.clone(), true);
        check(RetryFilter { queue: queue("q"), task: task("t"), ..any.clone() }, true);
        check(RetryFilter { queue: queue("r"), ..any.clone() }, false);
        check(RetryFilter { task: task("u"), ..any.clone() }, false);
        check(RetryFilter { error_kind: Some(ErrorKind::Timeout), ..any.clone() }, true);
        check(RetryFilter { error_kind: Some(ErrorKind::Failed), ..any.clone() }, false);
        check(RetryFilter { after: Some(at(100)), before: Some(at(101)), ..any.clone() }, true);
        check(RetryFilter { after: Some(at(101)), ..any.clone() }, false);
        check(RetryFilter { before: Some(at(100)), ..any }, false);
    }

    #[test]
    fn a_pace_keeps_its_rate_and_does_not_make_up_for_a_pause() {
        let retried = |rate: u32, step_ms: usize, until_ms: u64| {
            let mut pace = Pace::new(rate, 0, 0);
            let allowed = (0..=until_ms).step_by(step_ms).map(|now_ms| {
                let jobs = pace.allows(now_ms);
                pace.took(jobs);
                jobs
            });
            allowed.sum::<u32>()
        };
        assert_eq!(retried(100, 100, 10_000), 1_001);
        assert_eq!(retried(1, 100, 10_000), 11);
        assert_eq!(retried(10_000, 100, 1_000), 10_001);
        let mut pace = Pace::new(100, 0, 0);
        assert_eq!(pace.allows(3_600_000), 20);
    }

    #[test]
    fn several_stores_keep_one_rate() {
        let (mut first, mut second) = (Pace::new(100, 0, 0), Pace::new(100, 0, 0));
        let mut retried = 0;
        for now_ms in (0..=10_000).step_by(50) {
            let pace = if now_ms % 100 == 0 { &mut first } else { &mut second };
            pace.hear(retried, now_ms);
            let jobs = pace.allows(now_ms);
            pace.took(jobs);
            retried += u64::from(jobs);
        }
        assert!((990..=1_020).contains(&retried), "{retried}");
    }
}
