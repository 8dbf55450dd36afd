//! Made-up work: it takes a while, reports progress, and fails as often as it is told. For trying out and for tests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::context::JobContext;
use crate::handler::{Failure, Handler, HandlerFuture, output};

/// What `[task.NAME] kind = "simulate"` says; the payload of a job may say it anew, key by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulateTask {
    pub duration_ms: u64,
    /// Up to this much longer, at random.
    pub jitter_ms: u64,
    /// How often progress is reported on the way.
    pub steps: u32,
    /// The share of attempts that fail at their end, from 0 to 1.
    pub failure_rate: f64,
}

/// The keys of a payload that count; others belong to whoever tries something out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Overrides {
    duration_ms: Option<u64>,
    jitter_ms: Option<u64>,
    steps: Option<u32>,
    failure_rate: Option<f64>,
    /// The first so many attempts of a run fail.
    fail_attempts: u32,
}

/// What one attempt will do.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    duration_ms: u64,
    steps: u32,
    fails: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    task: &'a str,
    duration_ms: u64,
}

/// `rolls` are two random numbers from 0 to 1: for the jitter and for the failure.
fn plan(task: &SimulateTask, payload: &str, attempt: u32, rolls: [f64; 2]) -> Result<Plan, Failure> {
    let is_object = payload.trim_start().starts_with('{');
    let overrides: Overrides = if is_object { serde_json::from_str(payload) } else { Ok(Overrides::default()) }
        .map_err(|error| Failure::permanent(format!("the payload of a simulated task does not fit: {error}")))?;
    let jitter_ms = overrides.jitter_ms.unwrap_or(task.jitter_ms);
    let longer = Duration::from_millis(jitter_ms).mul_f64(rolls[0]).as_millis();
    let failure_rate = overrides.failure_rate.unwrap_or(task.failure_rate);
    Ok(Plan {
        duration_ms: overrides
            .duration_ms
            .unwrap_or(task.duration_ms)
            .saturating_add(u64::try_from(longer).unwrap_or(0)),
        steps: overrides.steps.unwrap_or(task.steps),
        fails: attempt <= overrides.fail_attempts || rolls[1] < failure_rate,
    })
}

async fn act(plan: Plan, job: JobContext) -> Result<Report<'static>, Failure> {
    let pauses = plan.steps.max(1);
    let pause = Duration::from_millis(plan.duration_ms) / pauses;
    for step in 1..=pauses {
        if !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = job.cancelled() => return Err(Failure::new("ended on request")),
            }
        }
        if plan.steps > 0 {
            job.progress(f64::from(step) / f64::from(pauses), "");
        }
    }
    if plan.fails {
        return Err(Failure::new("simulated failure"));
    }
    Ok(Report { task: "", duration_ms: plan.duration_ms })
}

impl Handler for SimulateTask {
    fn run(&self, job: JobContext) -> HandlerFuture {
        let plan = plan(self, job.job().payload_text(), job.attempt(), [rand::random(), rand::random()]);
        Box::pin(async move {
            let report = act(plan?, job.clone()).await?;
            output(&Report { task: job.task(), ..report })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_overrides_the_task_key_by_key() {
        let task = SimulateTask { duration_ms: 100, jitter_ms: 10, steps: 4, failure_rate: 0.25 };
        let check = |payload: &str, attempt: u32, rolls: [f64; 2], expected: (u64, u32, bool)| {
            let plan = plan(&task, payload, attempt, rolls).expect("fits");
            assert_eq!((plan.duration_ms, plan.steps, plan.fails), expected, "{payload} {attempt} {rolls:?}");
        };
        check("null", 1, [0.0, 0.9], (100, 4, false));
        check("null", 1, [0.5, 0.2], (105, 4, true));
        check("{\"duration_ms\":7,\"jitter_ms\":0}", 1, [0.5, 0.9], (7, 4, false));
        check("{\"steps\":0,\"failure_rate\":1.0,\"mine\":1}", 1, [0.0, 0.9], (100, 0, true));
        check("{\"fail_attempts\":2}", 2, [0.0, 0.9], (100, 4, true));
        check("{\"fail_attempts\":2}", 3, [0.0, 0.9], (100, 4, false));
        check("[1]", 1, [0.0, 0.9], (100, 4, false));
    }

    #[test]
    fn mistyped_payload_fails_for_good() {
        let failure = plan(&SimulateTask::default(), "{\"duration_ms\":\"long\"}", 1, [0.0; 2]).expect_err("mistyped");
        assert!(!failure.may_retry);
        assert!(failure.message.contains("invalid type: string"), "{}", failure.message);
    }
}
