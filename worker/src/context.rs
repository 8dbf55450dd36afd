//! What a handler is given: its job, a way to report progress, and the news that it should stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::clock::now_ms;
use protocol::api::Progress;
use protocol::ids::{Fence, JobId};
use protocol::lease_api::PROGRESS_MESSAGE_BYTES_MAX;
use protocol::logs::Output;
use protocol::store_api::JobFence;
use protocol::tenant::Tenant;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::guard::Guard;
use crate::handler::Failure;

/// How long a program's start waits for the guard.
const GUARD_DEADLINE: Duration = Duration::from_secs(1);

/// One attempt at one job, as the store handed it out.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    /// Whose job it is; `default` where nobody is told apart.
    pub tenant: Tenant,
    pub task: String,
    pub run: u32,
    pub attempt: u32,
    /// Grows with every claim of the job: give it to whatever the handler writes to, so that it can refuse a predecessor.
    pub fence: Fence,
    pub payload: Option<Box<RawValue>>,
    /// The W3C `traceparent` of the attempt, or of the request that submitted the job: for what the handler calls.
    pub trace: Option<String>,
}

impl Job {
    /// The payload as JSON text; `null` if the job was submitted without one.
    #[must_use]
    pub fn payload_text(&self) -> &str {
        self.payload.as_ref().map_or("null", |payload| payload.get())
    }
}

/// Why a handler should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The attempt took longer than its timeout.
    Timeout,
    /// Somebody cancelled the job.
    Cancelled,
    /// The lease was not renewed in time; the job is given back before it ends.
    LeaseUnrenewed,
    /// The store says that the job is not this worker's any more.
    LeaseLost,
    /// The worker is ending; the job runs elsewhere.
    Draining,
}

/// The request to stop: whoever is still running after `grace` is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub reason: StopReason,
    pub grace: Duration,
}

/// A handle on the running job; clones are the same job.
#[derive(Clone, Debug)]
pub struct JobContext {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    job: Job,
    deadline: Instant,
    progress: Mutex<Option<Progress>>,
    output: Mutex<Option<Output>>,
    handed_over: AtomicBool,
    progress_news: Arc<Notify>,
    stop: watch::Sender<Option<Stop>>,
    guard: Option<Arc<Guard>>,
    lease: Mutex<Lease>,
}

/// What the guard must be told.
#[derive(Debug, Default)]
struct Lease {
    until_ms: u64,
    /// The process group that works on the job.
    group: Option<i32>,
}

/// A process group that the guard watches; done when dropped.
#[derive(Debug)]
pub(crate) struct Guarded {
    job: JobContext,
    confirmed: Option<oneshot::Receiver<()>>,
}

impl JobContext {
    /// `progress_news` is notified whenever any job of the worker reports progress; `guard` ends the job's programs if the worker cannot.
    #[must_use]
    pub fn new(job: Job, deadline: Instant, progress_news: Arc<Notify>, guard: Option<Arc<Guard>>) -> Self {
        let (progress, output, lease) = (Mutex::default(), Mutex::default(), Mutex::default());
        let stop = watch::Sender::new(None);
        let handed_over = AtomicBool::new(false);
        let inner = Inner { job, deadline, progress, output, handed_over, progress_news, stop, guard, lease };
        Self { inner: Arc::new(inner) }
    }

    #[must_use]
    pub fn job(&self) -> &Job {
        &self.inner.job
    }

    #[must_use]
    pub fn job_id(&self) -> JobId {
        self.inner.job.id
    }

    #[must_use]
    pub fn task(&self) -> &str {
        &self.inner.job.task
    }

    /// The attempts of this run so far, this one included: 1 at first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.job.attempt
    }

    #[must_use]
    pub fn fence(&self) -> Fence {
        self.inner.job.fence
    }

    /// When the attempt times out.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.inner.deadline
    }

    /// The payload as the handler's own type. A payload of another shape fails the job for good: a retry would get the same.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.inner.job.payload_text())
            .map_err(|error| Failure::permanent(format!("the payload does not fit the task: {error}")))
    }

    /// Says how far the job is. Cheap: reports are coalesced, and at most four a second travel.
    pub fn progress(&self, fraction: f64, message: &str) {
        let message = (!message.is_empty()).then(|| message.to_owned());
        self.report(Progress { fraction: Some(fraction), message });
    }

    /// As [`Self::progress`], with either part missing.
    pub fn report(&self, progress: Progress) {
        let fraction =
            progress.fraction.filter(|fraction| fraction.is_finite()).map(|fraction| fraction.clamp(0.0, 1.0));
        let message = progress.message.map(|message| cut(message, PROGRESS_MESSAGE_BYTES_MAX));
        *self.latest_progress() = Some(Progress { fraction, message });
        self.inner.progress_news.notify_one();
    }

    /// Completes when the handler should stop. It then has a grace (2 s by default) to end by itself.
    pub async fn cancelled(&self) -> Stop {
        let mut stop = self.inner.stop.subscribe();
        let told = stop.wait_for(Option::is_some).await.map(|stop| *stop);
        told.ok().flatten().expect("the sender lives in `self`")
    }

    /// Completes when the request differs from `known`: its grace got shorter.
    pub(crate) async fn stop_changed(&self, known: Stop) -> Stop {
        let mut stop = self.inner.stop.subscribe();
        let told = stop.wait_for(|stop| *stop != Some(known)).await.map(|stop| *stop);
        told.ok().flatten().expect("the sender lives in `self`, and a request is never taken back")
    }

    /// The request to stop, if there was one.
    #[must_use]
    pub fn stop_requested(&self) -> Option<Stop> {
        *self.inner.stop.borrow()
    }

    /// Asks the handler to stop. The first reason stands; a shorter grace replaces a longer one.
    pub fn stop(&self, stop: Stop) {
        self.inner.stop.send_if_modified(|present| match present {
            None => {
                *present = Some(stop);
                true
            }
            Some(present) if stop.grace < present.grace => {
                present.grace = stop.grace;
                true
            }
            Some(_) => false,
        });
    }

    /// The latest report if there is one that was not taken yet.
    #[must_use]
    pub fn take_progress(&self) -> Option<Progress> {
        self.latest_progress().take()
    }

    /// What the attempt wrote, for the job's logs; it is kept however the attempt ends.
    pub fn keep_output(&self, output: Output) {
        *self.inner.output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
    }

    /// What the attempt wrote, if anything.
    #[must_use]
    pub fn take_output(&self) -> Option<Output> {
        self.inner.output.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|output| !output.is_empty())
    }

    /// Somebody else has taken the job on, and keeps its lease from here on.
    pub(crate) fn hand_over(&self) {
        self.inner.handed_over.store(true, Ordering::Relaxed);
    }

    /// Whether somebody else has taken it on.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.inner.handed_over.load(Ordering::Relaxed)
    }

    /// The lease lasts until then, by `chassis::clock::now_ms`.
    pub fn lease_until(&self, until_ms: u64) {
        let mut lease = self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.until_ms = until_ms;
        if let (Some(guard), Some(group)) = (&self.inner.guard, lease.group) {
            guard.hold(self.inner.attempt(), group, until_ms);
        }
    }

    /// Until when the lease lasts, as far as this worker knows.
    pub(crate) fn lease_until_ms(&self) -> u64 {
        self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner).until_ms
    }

    /// Whether the lease is over, as far as this worker knows.
    pub(crate) fn lease_is_over(&self) -> bool {
        self.lease_until_ms() <= now_ms()
    }

    /// Who ends the job's programs if the worker cannot.
    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.inner.guard.as_deref()
    }

    /// A process group works on the job.
    pub(crate) fn guarded(&self, group: i32) -> Guarded {
        let mut lease = self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.group = Some(group);
        let watch = |guard: &Arc<Guard>| guard.watch(self.inner.attempt(), group, lease.until_ms);
        let confirmed = self.inner.guard.as_ref().map(watch);
        Guarded { job: self.clone(), confirmed }
    }

    fn latest_progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.inner.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn attempt(&self) -> JobFence {
        JobFence { job_id: self.job.id, fence: self.job.fence }
    }
}

impl Guarded {
    /// Completes when the guard watches, or when that was waited for long enough: the worker is there to end what it starts.
    pub(crate) async fn confirmed(&mut self) {
        let Some(confirmed) = self.confirmed.take() else { return };
        if tokio::time::timeout(GUARD_DEADLINE, confirmed).await.is_err() {
            tracing::error!(job_id = %self.job.job_id(), "the guard does not answer: the program begins without it");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let inner = &self.job.inner;
        inner.lease.lock().unwrap_or_else(PoisonError::into_inner).group = None;
        if let Some(guard) = &inner.guard {
            guard.done(inner.attempt());
        }
    }
}

/// The longest prefix of at most `max` bytes that ends between characters.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> JobContext {
        let job = Job {
            id: JobId::generate(),
            tenant: Tenant::default(),
            task: "noop".to_owned(),
            run: 1,
            attempt: 1,
            fence: Fence(1),
            payload: RawValue::from_string("{\"size\":3}".to_owned()).ok(),
            trace: None,
        };
        JobContext::new(job, Instant::now() + Duration::from_secs(60), Arc::default(), None)
    }

    #[tokio::test]
    async fn first_reason_to_stop_stands_and_the_shortest_grace_counts() {
        let context = context();
        assert_eq!(context.stop_requested(), None);
        context.stop(Stop { reason: StopReason::Timeout, grace: Duration::from_secs(2) });
        context.stop(Stop { reason: StopReason::LeaseLost, grace: Duration::ZERO });
        assert_eq!(context.cancelled().await, Stop { reason: StopReason::Timeout, grace: Duration::ZERO });
    }

    #[tokio::test]
    async fn progress_is_coalesced_clamped_and_cut() {
        let context = context();
        assert_eq!(context.take_progress(), None);
        context.progress(0.1, "begun");
        context.progress(7.0, &"ü".repeat(200));
        let progress = context.take_progress().expect("a report");
        assert_eq!((progress.fraction, progress.message.map(|text| text.len())), (Some(1.0), Some(256)));
        assert_eq!(context.take_progress(), None);
        context.report(Progress { fraction: Some(f64::NAN), message: None });
        assert_eq!(context.take_progress(), Some(Progress { fraction: None, message: None }));
    }

    #[tokio::test]
    async fn payload_of_another_shape_fails_for_good() {
        let context = context();
        let fits: Result<std::collections::BTreeMap<String, u32>, _> = context.payload();
        assert_eq!(fits.expect("fits").get("size"), Some(&3));
        let failure = context.payload::<Vec<u32>>().expect_err("an object is no array");
        assert!(!failure.may_retry, "{failure:?}");
    }
}
