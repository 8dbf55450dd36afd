//! From a bell to a claim that was won, or to the end of the bell.

use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::clock::{now_ms, wall_ms};
use protocol::envelope::Bell;
use protocol::ids::{ClaimId, JobId};
use protocol::store_api::{Claim, Claimed, Command};

use crate::answers::{AfterClaim, after_claim};
use crate::metrics;
use crate::runtime::Runtime;
use crate::tasks::TaskSettings;
use crate::traced;

/// A job that is ours from `sent_ms` on: the instant at which it was asked for.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) job_id: JobId,
    pub(crate) claimed: Box<Claimed>,
    pub(crate) sent_ms: u64,
}

/// What became of a bell.
#[derive(Debug)]
pub(crate) enum Taken {
    Run(Won),
    Ack,
    Park {
        label: &'static str,
        reason: String,
    },
    /// The worker is ending and never claimed it: it is for another one.
    Requeue,
}

/// Between repetitions while the store is away.
pub(crate) fn store_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_millis(100), Duration::from_secs(2))
}

/// Claims the bell's job: repeated under the same claim id until it is answered, so that a lost answer costs nothing.
pub(crate) async fn claim(runtime: &Runtime, bell: &Bell) -> Taken {
    let span = traced::claiming(bell);
    let claim_id = ClaimId::generate();
    let lease_ms = match runtime.registry.find(bell.task.as_str()) {
        Some(task) => task.settings.lease_ms,
        // The store will refuse it and put the row back.
        None => TaskSettings::default().lease_ms,
    };
    let session = runtime.session.id;
    // A bell says that a job waits; where tenants share the queue, another one may be due.
    let or_except = Some(runtime.registry.with_other_lease(lease_ms));
    let command = Claim { session, job_id: bell.job_id, dispatch: bell.dispatch, claim_id, lease_ms, or_except };
    let mut backoff = store_backoff();
    let mut may_have_been_won = false;
    loop {
        // Before the call is even queued: what the worker counts from is never later than what the store counts from.
        let sent_ms = now_ms();
        let answer = runtime.store.apply(Command::Claim(command.clone())).await;
        let age_ms = wall_ms().saturating_sub(bell.created_at.unix_ms());
        match after_claim(answer, now_ms() - sent_ms, age_ms, runtime.retention_ms) {
            AfterClaim::Run(claimed) => {
                let how = if claimed.job_id.is_some() { "in-turn" } else { "won" };
                metrics::claim(how);
                traced::claimed(span, how);
                return Taken::Run(Won { job_id: claimed.job_id.unwrap_or(bell.job_id), claimed, sent_ms });
            }
            AfterClaim::Ack(why) => {
                metrics::claim(why);
                traced::claimed(span, why);
                tracing::debug!(job_id = %bell.job_id, dispatch = %bell.dispatch, why, "a bell was of no use");
                return Taken::Ack;
            }
            AfterClaim::Park(label, reason) => {
                metrics::claim(label);
                traced::claimed(span, label);
                return Taken::Park { label, reason };
            }
            AfterClaim::Renew => metrics::repeated("claim"),
            AfterClaim::Register => {
                metrics::repeated("claim");
                runtime.session.unknown();
                if !go_on(runtime, runtime.session.registered(), &mut backoff, may_have_been_won).await {
                    return Taken::Requeue;
                }
            }
            AfterClaim::Repeat { reason, may_have_been_applied } => {
                metrics::repeated("claim");
                tracing::debug!(job_id = %bell.job_id, reason, "a claim will be repeated");
                may_have_been_won |= may_have_been_applied;
                let pause = tokio::time::sleep(backoff.next_random());
                if !go_on(runtime, pause, &mut backoff, may_have_been_won).await {
                    return Taken::Requeue;
                }
            }
        }
    }
}

/// Waits before the next repetition. `false`: the worker is ending, and nobody has this job. A claim that may have been won is
/// repeated to the end, so that it can be released instead of counting as a crash.
async fn go_on(
    runtime: &Runtime,
    wait: impl Future<Output = ()>,
    backoff: &mut Backoff,
    may_have_been_won: bool,
) -> bool {
    tokio::select! {
        () = wait => return true,
        () = runtime.shutdown.draining() => {}
    }
    if may_have_been_won {
        tokio::time::sleep(backoff.next_random()).await;
    }
    may_have_been_won
}
