//! One attempt at a job, from a claim that was won to an end that is recorded.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::now_ms;
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::trace::{Span, TraceParent};
use protocol::ids::{ClaimId, Fence};
use protocol::logs::Output;
use protocol::store_api::{Claimed, Command, Complete, JobFence, Next, Outcome, Release};
use tokio::time::Instant;
use tracing::Instrument;

use crate::answers::{AfterWord, after_word};
use crate::claim::{Won, store_backoff};
use crate::context::{Job, JobContext, Stop, StopReason};
use crate::executor::execute;
use crate::handler::Failure;
use crate::metrics;
use crate::runtime::Runtime;
use crate::settle::{Ended, Word, failed, handed_over, settle};
use crate::tasks::TaskSettings;
use crate::traced;

/// A job that was claimed and is held until its end is recorded.
pub(crate) struct Attempt {
    who: JobFence,
    job: JobContext,
    timeout_ms: u64,
    span: tracing::Span,
    step: Option<Span>,
}

impl Attempt {
    /// Enters it into the ledger, from where its lease is renewed.
    pub(crate) fn begin(runtime: &Runtime, won: Won) -> Self {
        let Won { job_id, claimed, sent_ms } = won;
        let step = traced::attempt(job_id, &claimed);
        let Claimed {
            tenant, fence, task, run, attempt, lease_ms, timeout_ms, payload, trace, cancel_requested, ..
        } = *claimed;
        let who = JobFence { job_id, fence };
        let settings = runtime.registry.find(&task).map_or_else(TaskSettings::default, |found| found.settings);
        let timeout_ms = timeout_ms.unwrap_or(settings.timeout_ms);
        // The handler goes on from the attempt, or from the submit where attempts are not recorded.
        let trace = step.as_ref().map(|step| step.traceparent().to_string()).or(trace);
        let said = trace.as_deref().unwrap_or_default();
        let span = tracing::info_span!("job", job_id = %who.job_id, task, run, attempt, trace = said);
        let job = Job { id: who.job_id, tenant, task, run, attempt, fence, payload, trace };
        let session = &runtime.session;
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let job = JobContext::new(job, deadline, session.ledger.progress().clone(), runtime.guard.clone());
        let grace = Duration::from_millis(settings.grace_ms);
        session.ledger.begin(who, job.clone(), lease_ms, sent_ms, grace);
        if cancel_requested {
            session.ledger.cancel(who);
        }
        if runtime.shutdown.is_draining() {
            job.stop(Stop { reason: StopReason::Draining, grace: Duration::ZERO });
        }
        Self { who, job, timeout_ms, span, step }
    }

    /// Runs the handler to its end.
    pub(crate) async fn run(self, runtime: &Runtime) -> Ending {
        let span = self.span.clone();
        self.run_in_span(runtime).instrument(span).await
    }

    async fn run_in_span(self, runtime: &Runtime) -> Ending {
        let Self { who, job, timeout_ms, span, step } = self;
        tracing::debug!(fence = %who.fence, "job started");
        let begun = Instant::now();
        let ended = run(runtime, &job).await;
        runtime.session.ledger.settling(who);
        let is_handed_over = job.is_handed_over();
        let word = if is_handed_over { handed_over(ended.stopped) } else { settle(ended, timeout_ms) };
        let took = begun.elapsed();
        metrics::attempt(word.name(), took);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match &word {
            // Not the message, which may quote the payload: it is the job's.
            Word::Complete(Outcome::Failed { may_retry, .. }) => {
                tracing::info!(outcome = word.name(), duration_ms, may_retry, "job ended");
            }
            Word::Complete(Outcome::Succeeded { .. }) | Word::Release | Word::HandOver | Word::Nothing => {
                tracing::info!(outcome = word.name(), duration_ms, "job ended");
            }
        }
        let output = job.take_output().map(Box::new);
        let trace = step.as_ref().map(Span::traceparent);
        traced::ended(step, word.name(), matches!(word, Word::Complete(Outcome::Succeeded { .. }) | Word::Release));
        Ending { who, word, output, span, trace }
    }
}

/// How an attempt ended. Its lease is renewed until that is recorded.
pub(crate) struct Ending {
    who: JobFence,
    word: Word,
    output: Option<Box<Output>>,
    span: tracing::Span,
    /// The attempt as a step of its trace, if that is recorded.
    trace: Option<TraceParent>,
}

impl Ending {
    /// Tells the store, for as long as it takes.
    pub(crate) async fn record(self, runtime: Arc<Runtime>) {
        self.tell(&runtime, None).await;
    }

    /// Tells the store, and takes the job that comes next in the queue along with its answer, if that has no bell and the same lease.
    pub(crate) async fn record_and_take(self, runtime: &Runtime, lease_ms: u64) -> Option<Won> {
        let except = runtime.registry.with_other_lease(lease_ms);
        let next = Next { session: runtime.session.id, lease_ms, except, claim_id: ClaimId::generate() };
        let won = self.tell(runtime, Some(next)).await;
        metrics::claim(if won.is_some() { "next" } else { "no-next" });
        won
    }

    async fn tell(self, runtime: &Runtime, next: Option<Next>) -> Option<Won> {
        let Self { who, word, output, span, trace } = self;
        fault_point(FaultPoint::WorkerBeforeComplete);
        let step = traced::completing(trace, who.job_id);
        let won = tell(runtime, who, word, output, next).instrument(span).await;
        drop(step);
        runtime.session.ledger.end(who);
        won
    }
}

async fn run(runtime: &Runtime, job: &JobContext) -> Ended {
    // Asked to end before it began: cancelled while it was queued, or claimed while the worker drains.
    if let Some(stop) = job.stop_requested() {
        return Ended { stopped: Some(stop.reason), returned: None };
    }
    match runtime.registry.find(job.task()) {
        Some(registered) => execute(registered, job, runtime.pool.as_ref()).await,
        None => Ended { stopped: None, returned: Some(Err(Failure::new("this worker has no handler for the task"))) },
    }
}

/// Says it until it is recorded or refused.
async fn tell(
    runtime: &Runtime,
    who: JobFence,
    word: Word,
    output: Option<Box<Output>>,
    next: Option<Next>,
) -> Option<Won> {
    let JobFence { job_id, fence } = who;
    let mut command = match word {
        Word::Complete(outcome) => Command::Complete(Complete { job_id, fence, outcome, output, next }),
        Word::Release => Command::Release(Release { job_id, fence, output }),
        Word::HandOver => Command::HandOver(who),
        Word::Nothing => return None,
    };
    let mut backoff = store_backoff();
    loop {
        let sent_ms = now_ms();
        match after_word(runtime.store.apply(command.clone()).await) {
            AfterWord::Recorded(next) => {
                return next.map(|next| Won { job_id: next.job_id, claimed: Box::new(next.claimed), sent_ms });
            }
            AfterWord::Refused => {
                metrics::refused();
                tracing::warn!(%fence, "the store refused the outcome: the job has another owner or has ended");
                return None;
            }
            AfterWord::Repeat(reason) => {
                metrics::repeated("outcome");
                tracing::debug!(reason, "an outcome will be told again");
            }
            AfterWord::Unacceptable(reason) => {
                tracing::error!(reason, "the store does not take this outcome");
                match replacement(&command, who.fence, &reason) {
                    Some(instead) => command = instead,
                    None => return None,
                }
            }
        }
        tokio::time::sleep(backoff.next_random()).await;
    }
}

/// What to say when the store does not take an outcome: a failure instead of the result, a release instead of the failure. A release
/// that is not taken either is left to the lease.
fn replacement(command: &Command, fence: Fence, reason: &str) -> Option<Command> {
    let Command::Complete(Complete { job_id, outcome, output, .. }) = command else { return None };
    let (job_id, output) = (*job_id, output.clone());
    let Outcome::Succeeded { .. } = outcome else { return Some(Command::Release(Release { job_id, fence, output })) };
    let Word::Complete(outcome) = failed(Failure::permanent(format!("the result was not accepted: {reason}"))) else {
        return None;
    };
    Some(Command::Complete(Complete { job_id, fence, outcome, output, next: None }))
}
