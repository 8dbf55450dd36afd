//! Handlers written in Rust: results, failures, panics, time.

use std::sync::Arc;
use std::time::Duration;

use protocol::ids::{Fence, JobId};
use protocol::store_api::Outcome;
use protocol::tenant::Tenant;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use worker::context::{Job, JobContext, Stop, StopReason};
use worker::executor::{HandlerPool, execute};
use worker::handler::Failure;
use worker::registry::Registry;
use worker::settle::{Word, settle};
use worker::tasks::TaskSettings;

fn context(task: &str, timeout_ms: u64) -> JobContext {
    let job = Job {
        id: JobId::generate(),
        tenant: Tenant::default(),
        task: task.to_owned(),
        run: 1,
        attempt: 1,
        fence: Fence(1),
        payload: None,
        trace: None,
    };
    JobContext::new(job, Instant::now() + Duration::from_millis(timeout_ms), Arc::new(Notify::new()), None)
}

async fn panics(job: JobContext) -> Result<(), Failure> {
    assert_eq!(job.attempt(), 0, "at the disco");
    Ok(())
}

fn registry() -> Registry {
    let quick = TaskSettings { grace_ms: 10, ..TaskSettings::default() };
    let build = || {
        Registry::new()
            .handler(
                "double",
                |job: JobContext| async move { Ok(json!({ "task": job.task(), "attempt": job.attempt() })) },
            )?
            .handler("refuse", |_job: JobContext| async { Err::<(), _>(Failure::permanent("never")) })?
            .handler("panic", panics)?
            .handler_with("hang", quick, |_job: JobContext| std::future::pending::<Result<(), Failure>>())?
            .handler("polite", |job: JobContext| async move {
                let stop = job.cancelled().await;
                Err::<(), _>(Failure::new(format!("told: {:?}", stop.reason)))
            })
    };
    build().expect("valid names")
}

async fn run(task: &str, timeout_ms: u64, stop: Option<StopReason>) -> String {
    let registry = registry();
    let pool = HandlerPool::new(1).expect("threads");
    let job = context(task, timeout_ms);
    if let Some(reason) = stop {
        job.stop(Stop { reason, grace: Duration::from_millis(50) });
    }
    let registered = registry.find(task).expect("registered");
    let attempt = execute(registered, &job, Some(&pool));
    let ended = tokio::time::timeout(Duration::from_secs(10), attempt).await.expect("it ends");
    match settle(ended, timeout_ms) {
        Word::Complete(Outcome::Succeeded { result }) => result.expect("a result").get().to_owned(),
        Word::Complete(Outcome::Failed { error, may_retry, .. }) => {
            format!("{:?}: {} {may_retry}", error.kind, error.message)
        }
        word => word.name().to_owned(),
    }
}

#[tokio::test]
async fn each_end_of_a_handler_is_told() {
    let check = async |task: &str, timeout_ms: u64, stop: Option<StopReason>, expected: &str| {
        assert_eq!(run(task, timeout_ms, stop).await, expected, "{task} {stop:?}");
    };
    check("double", 5_000, None, "{\"attempt\":1,\"task\":\"double\"}").await;
    check("refuse", 5_000, None, "Failed: never false").await;
    check("panic", 5_000, None, "Panic: assertion `left == right` failed: at the disco\n  left: 1\n right: 0 true")
        .await;
    check("hang", 20, None, "Timeout: took longer than 20 ms true").await;
    check("hang", 5_000, Some(StopReason::Cancelled), "Failed: ended on request false").await;
    check("hang", 5_000, Some(StopReason::Draining), "released").await;
    check("polite", 5_000, Some(StopReason::Cancelled), "Failed: told: Cancelled false").await;
    check("polite", 20, None, "Timeout: took longer than 20 ms; told: Timeout true").await;
    check("polite", 5_000, Some(StopReason::LeaseLost), "lost").await;
}

#[tokio::test]
async fn handler_that_computes_does_not_hold_up_the_worker() {
    let registry = Registry::new().handler("spin", |_job: JobContext| async {
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(())
    });
    let registry = registry.expect("a valid name");
    let pool = HandlerPool::new(1).expect("threads");
    let job = context("spin", 5_000);
    // This test has a single thread: if the handler ran on it, no tick would pass.
    let ticks = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..20 {
            interval.tick().await;
        }
    };
    tokio::select! {
        biased;
        ended = execute(registry.find("spin").expect("registered"), &job, Some(&pool)) => panic!("{ended:?} before the ticks"),
        () = ticks => {}
    }
}
