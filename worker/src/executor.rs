//! Runs one attempt: catches its panics, ends it when its time is over or when it is asked to stop and does not.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use protocol::api::ErrorKind;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::context::{JobContext, Stop, StopReason};
use crate::handler::{Failure, Handler, Output};
use crate::registry::Registered;
use crate::settle::Ended;

/// A handler that cleans up within its grace is given this much more to return.
const RETURN_ALLOWANCE: Duration = Duration::from_millis(200);

/// Threads of their own for handlers written in Rust: one that computes for minutes between two `.await`s must not keep
/// the heartbeat from being sent.
#[derive(Debug)]
pub struct HandlerPool {
    /// Always there until dropped.
    runtime: Option<Runtime>,
}

impl HandlerPool {
    /// `threads`: how many handlers may compute at the same time.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name("handler").enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }
}

impl Drop for HandlerPool {
    fn drop(&mut self) {
        // A handler that blocks its thread must not block the end of the worker.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs the handler to its end, or to the end of its time. Dropping the future ends the handler.
pub async fn execute(registered: &Registered, job: &JobContext, pool: Option<&HandlerPool>) -> Ended {
    let mut attempt = std::pin::pin!(guarded(registered, job, pool));
    let stop = tokio::select! {
        biased;
        // It may have been asked to stop at this very moment, and have returned because of that.
        returned = &mut attempt => {
            let stopped = job.stop_requested().map(|stop| stop.reason);
            return Ended { stopped, returned: Some(returned) };
        }
        stop = job.cancelled() => stop,
        () = tokio::time::sleep_until(job.deadline()) => {
            let grace = Duration::from_millis(registered.settings.grace_ms);
            let stop = Stop { reason: StopReason::Timeout, grace };
            job.stop(stop);
            stop
        }
    };
    let returned = tokio::select! {
        biased;
        returned = &mut attempt => Some(returned),
        () = grace_over(job) => {
            tracing::warn!(job_id = %job.job_id(), task = job.task(), reason = ?stop.reason, "a handler did not stop and was ended");
            None
        }
    };
    Ended { stopped: Some(stop.reason), returned }
}

/// The end of the grace, which may be shortened while it passes.
async fn grace_over(job: &JobContext) {
    let begun = tokio::time::Instant::now();
    let mut stop = job.cancelled().await;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(begun + stop.grace + RETURN_ALLOWANCE) => return,
            shorter = job.stop_changed(stop) => stop = shorter,
        }
    }
}

/// The handler with its panics turned into failures; one written by others on threads of its own.
async fn guarded(registered: &Registered, job: &JobContext, pool: Option<&HandlerPool>) -> Result<Output, Failure> {
    let runtime = pool.and_then(|pool| pool.runtime.as_ref()).filter(|_| registered.foreign);
    let handler = Arc::clone(&registered.handler);
    let attempt = AssertUnwindSafe(call(handler, job.clone())).catch_unwind();
    let caught = match runtime {
        Some(runtime) => match AbortOnDropHandle::new(runtime.spawn(attempt)).await {
            Ok(caught) => caught,
            Err(error) => return Err(Failure::new(format!("the handler was ended: {error}"))),
        },
        None => attempt.await,
    };
    caught
        .unwrap_or_else(|panic| Err(Failure { kind: ErrorKind::Panic, ..Failure::new(panic_message(panic.as_ref())) }))
}

/// Inside, so that a handler that panics before it returns its future is caught too.
async fn call(handler: Arc<dyn Handler>, job: JobContext) -> Result<Output, Failure> {
    handler.run(job).await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("the handler panicked").to_owned()
}
