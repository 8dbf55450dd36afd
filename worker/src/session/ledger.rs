//! The jobs that run here, with their leases: where slots, heartbeats, news and the drain meet.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::api::Progress;
use protocol::store_api::{Held, JobFence};
use tokio::sync::Notify;

use super::lease_book::LeaseBook;
use super::pulse::period_ms;
use crate::context::{JobContext, Stop, StopReason};
use crate::metrics;

/// Between the end of a handler that could not renew its lease and the end of the lease.
const BEFORE_LEASE_END_MS: u64 = 100;

/// Everything held by this worker. Locked for one step at a time, never across an await.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    /// Heartbeats are needed more often than before.
    hurried: Notify,
    /// Some job reported progress.
    progress: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Entries {
    leases: LeaseBook,
    jobs: HashMap<JobFence, Entry>,
    /// Progress that a heartbeat carried and no answer confirmed.
    unsent: BTreeMap<JobFence, Progress>,
}

#[derive(Debug)]
struct Entry {
    job: JobContext,
    grace: Duration,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim sent at `sent_ms` was won. `grace` is what the handler gets between the request to stop and its end.
    pub(crate) fn begin(&self, who: JobFence, job: JobContext, lease_ms: u64, sent_ms: u64, grace: Duration) {
        let mut entries = self.entries();
        let before_ms = period_ms(entries.leases.shortest_lease_ms());
        entries.leases.hold(who, lease_ms, sent_ms);
        job.lease_until(sent_ms + lease_ms);
        entries.jobs.insert(who, Entry { job, grace });
        metrics::running(entries.jobs.len());
        if period_ms(entries.leases.shortest_lease_ms()) < before_ms {
            self.hurried.notify_one();
        }
    }

    /// Its handler has ended and its end is being told. The lease is renewed until the store has taken that in, but nobody is stopped
    /// any more; a heartbeat that crosses the outcome on its way is told "lost", which then means nothing.
    pub(crate) fn settling(&self, who: JobFence) {
        let mut entries = self.entries();
        entries.jobs.remove(&who);
        entries.unsent.remove(&who);
        metrics::running(entries.jobs.len());
    }

    /// Its end is recorded, or belongs to somebody else.
    pub(crate) fn end(&self, who: JobFence) {
        let mut entries = self.entries();
        entries.leases.forget(who);
        entries.jobs.remove(&who);
        entries.unsent.remove(&who);
    }

    /// Somebody asked for the end of the job.
    pub(crate) fn cancel(&self, who: JobFence) {
        if let Some(entry) = self.entries().jobs.get(&who) {
            entry.job.stop(Stop { reason: StopReason::Cancelled, grace: entry.grace });
        }
    }

    /// The store says that it is not ours any more: its successor may be running.
    pub(crate) fn lose(&self, who: JobFence) {
        let mut entries = self.entries();
        entries.leases.forget(who);
        entries.unsent.remove(&who);
        let Some(entry) = entries.jobs.get(&who) else { return };
        let reason = entry.job.stop_requested().map(|stop| stop.reason);
        if !matches!(reason, Some(StopReason::LeaseLost | StopReason::LeaseUnrenewed)) {
            metrics::lease_lost("taken");
            tracing::warn!(job_id = %who.job_id, fence = %who.fence, "the lease is lost: the store gave the job to another");
        }
        entry.job.stop(Stop { reason: StopReason::LeaseLost, grace: Duration::ZERO });
    }

    /// Stops the handlers whose leases are too close to their end.
    pub(crate) fn stop_overdue(&self, now_ms: u64) {
        let mut entries = self.entries();
        for overdue in entries.leases.take_overdue(now_ms) {
            let who = overdue.who;
            let Some(entry) = entries.jobs.get(&who) else { continue };
            metrics::lease_lost("unrenewed");
            tracing::warn!(job_id = %who.job_id, fence = %who.fence, remaining_ms = overdue.remaining_ms,
                "the lease could not be renewed: the handler is stopped, the job will be given back");
            let remaining = Duration::from_millis(overdue.remaining_ms.saturating_sub(BEFORE_LEASE_END_MS));
            entry.job.stop(Stop { reason: StopReason::LeaseUnrenewed, grace: entry.grace.min(remaining) });
        }
    }

    /// The worker is ending.
    pub(crate) fn stop_all(&self, longest_grace: Duration) {
        for entry in self.entries().jobs.values() {
            entry.job.stop(Stop { reason: StopReason::Draining, grace: entry.grace.min(longest_grace) });
        }
    }

    /// What the next heartbeat names, with the progress that was not sent yet.
    pub(crate) fn beat(&self) -> Vec<Held> {
        let mut entries = self.entries();
        let Entries { leases, jobs, unsent } = &mut *entries;
        let held = |who: JobFence| {
            let fresh = jobs.get(&who).and_then(|entry| entry.job.take_progress());
            let progress = fresh.or_else(|| unsent.get(&who).cloned());
            unsent.remove(&who);
            Held { job_id: who.job_id, fence: who.fence, progress }
        };
        leases.held().map(held).collect()
    }

    /// A heartbeat with these, sent at `sent_ms`, was answered.
    pub(crate) fn renewed(&self, held: &[Held], sent_ms: u64) {
        let named: Vec<_> = held.iter().map(who).collect();
        let mut entries = self.entries();
        entries.leases.renewed(&named, sent_ms);
        for who in named {
            if let (Some(end_ms), Some(entry)) = (entries.leases.end_ms(who), entries.jobs.get(&who)) {
                entry.job.lease_until(end_ms);
            }
        }
    }

    /// A heartbeat with these was not answered: their progress goes out with the next one, unless there is newer.
    pub(crate) fn unanswered(&self, held: Vec<Held>) {
        let mut entries = self.entries();
        for held in held {
            let who = who(&held);
            if let Some(progress) = held.progress
                && entries.jobs.contains_key(&who)
            {
                entries.unsent.insert(who, progress);
            }
        }
    }

    pub(crate) fn shortest_lease_ms(&self) -> Option<u64> {
        self.entries().leases.shortest_lease_ms()
    }

    pub(crate) fn next_stop_ms(&self) -> Option<u64> {
        self.entries().leases.next_stop_ms()
    }

    /// Completes when heartbeats are needed more often. Safe to cancel.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    /// The next heartbeat should look at once what there is to say.
    pub(crate) fn hurry(&self) {
        self.hurried.notify_one();
    }

    /// Notified by every job that reports progress.
    pub(crate) fn progress(&self) -> &Arc<Notify> {
        &self.progress
    }
}

fn who(held: &Held) -> JobFence {
    JobFence { job_id: held.job_id, fence: held.fence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Job;
    use protocol::ids::{Fence, JobId};
    use protocol::tenant::Tenant;
    use tokio::time::Instant;

    fn begin(ledger: &Ledger, lease_ms: u64, sent_ms: u64) -> (JobFence, JobContext) {
        let job = Job {
            id: JobId::generate(),
            tenant: Tenant::default(),
            task: "noop".to_owned(),
            run: 1,
            attempt: 1,
            fence: Fence(1),
            payload: None,
            trace: None,
        };
        let who = JobFence { job_id: job.id, fence: job.fence };
        let job = JobContext::new(job, Instant::now() + Duration::from_secs(60), Arc::clone(ledger.progress()), None);
        ledger.begin(who, job.clone(), lease_ms, sent_ms, Duration::from_secs(2));
        (who, job)
    }

    fn fractions(held: &[Held]) -> Vec<Option<f64>> {
        held.iter().map(|held| held.progress.as_ref().and_then(|progress| progress.fraction)).collect()
    }

    #[tokio::test]
    async fn progress_is_sent_once_and_again_if_unanswered() {
        let ledger = Ledger::default();
        let (_, job) = begin(&ledger, 15_000, 0);
        job.progress(0.25, "");
        let first = ledger.beat();
        assert_eq!(fractions(&first), [Some(0.25)]);
        assert_eq!(fractions(&ledger.beat()), [None]);
        ledger.unanswered(first);
        let again = ledger.beat();
        assert_eq!(fractions(&again), [Some(0.25)]);
        ledger.unanswered(again);
        job.progress(0.5, "");
        assert_eq!(fractions(&ledger.beat()), [Some(0.5)]);
        assert_eq!(fractions(&ledger.beat()), [None]);
    }

    #[tokio::test]
    async fn each_reason_stops_its_handlers() {
        let ledger = Ledger::default();
        let check = |job: &JobContext, reason: StopReason, grace_ms: u64| {
            let expected = Stop { reason, grace: Duration::from_millis(grace_ms) };
            assert_eq!(job.stop_requested(), Some(expected));
        };
        let (cancelled, job) = begin(&ledger, 15_000, 0);
        ledger.cancel(cancelled);
        check(&job, StopReason::Cancelled, 2_000);
        let (lost, job) = begin(&ledger, 15_000, 0);
        ledger.lose(lost);
        check(&job, StopReason::LeaseLost, 0);
        let (overdue, job) = begin(&ledger, 6_000, 0);
        ledger.stop_overdue(4_999);
        assert_eq!(job.stop_requested(), None);
        ledger.stop_overdue(5_000);
        check(&job, StopReason::LeaseUnrenewed, 900);
        let (held, job) = begin(&ledger, 15_000, 0);
        ledger.stop_all(Duration::from_millis(500));
        check(&job, StopReason::Draining, 500);
        assert_eq!(ledger.beat().iter().map(who).collect::<Vec<_>>(), [cancelled, held]);
        ledger.end(overdue);
        ledger.end(held);
        assert_eq!(ledger.beat().iter().map(who).collect::<Vec<_>>(), [cancelled]);
        let (settling, job) = begin(&ledger, 15_000, 0);
        ledger.settling(settling);
        assert_eq!(ledger.beat().iter().map(who).collect::<Vec<_>>(), [cancelled, settling]);
        ledger.lose(settling);
        assert_eq!(job.stop_requested(), None);
    }

    #[tokio::test]
    async fn shorter_lease_hurries_the_heartbeat() {
        use futures_util::FutureExt;
        let ledger = Ledger::default();
        begin(&ledger, 15_000, 0);
        assert!(ledger.hurried().now_or_never().is_none());
        begin(&ledger, 3_000, 0);
        assert!(ledger.hurried().now_or_never().is_some());
        begin(&ledger, 3_000, 0);
        assert!(ledger.hurried().now_or_never().is_none());
    }
}
