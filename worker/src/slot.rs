//! One slot: takes a bell, claims its job, runs it, acknowledges, says how it ended. It runs one job at a time, and takes the next bell while the
//! end of the last one is being recorded. The bell is no longer needed for that: from the claim on it is the lease that keeps the job.
//! Behind a backlog it goes on without bells for a while: the answer to how a job ended brings the next one.

use std::sync::Arc;
use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::broker::{Delivery, SlotConsumer, Verdict};
use chassis::fault_points::{FaultPoint, fault_point};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture};
use protocol::envelope::Bell;
use protocol::topology;
use tokio::time::Instant;

use crate::attempt::{Attempt, Ending};
use crate::claim::{Taken, Won, claim};
use crate::metrics;
use crate::runtime::Runtime;

/// A bell that could not be put aside so often goes back to the queue, from where it comes again after a second.
const PARK_ATTEMPTS: u32 = 5;

/// For so long a slot goes on without a bell. Its own is not acknowledged meanwhile, so that the broker gives the slot no other; those that are
/// out wait for no longer than this and the job that runs then.
const WITHOUT_BELL: Duration = Duration::from_millis(250);

pub(crate) struct Slot {
    runtime: Arc<Runtime>,
    consumer: SlotConsumer,
    recording: Recording,
}

/// The end of the last attempt, while it is being recorded.
struct Recording(Fuse<BoxFuture<'static, ()>>);

impl Recording {
    /// Goes on while something else is done.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                () = &mut self.0 => {}
            }
        }
    }

    /// Begins when the end of the attempt before is recorded: there is one at a time.
    async fn begin(&mut self, runtime: &Arc<Runtime>, ending: Ending) {
        self.done().await;
        self.0 = ending.record(Arc::clone(runtime)).boxed().fuse();
    }

    async fn done(&mut self) {
        if !self.0.is_terminated() {
            (&mut self.0).await;
        }
    }
}

impl Slot {
    pub(crate) fn new(runtime: Arc<Runtime>, queue: &str) -> Self {
        let consumer = runtime.broker.consume(&topology::jobs_queue(queue));
        Self { runtime, consumer, recording: Recording(Fuse::terminated()) }
    }

    /// Serves until the worker drains.
    pub(crate) async fn run(mut self) {
        let shutdown = self.runtime.shutdown.clone();
        let mut draining = std::pin::pin!(shutdown.draining());
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    () = &mut draining => None,
                    delivery = self.consumer.next() => Some(delivery),
                }
            };
            let Some(delivery) = self.recording.beside(next).await else { break };
            self.serve(delivery).await;
        }
        self.recording.beside(self.consumer.pause()).await;
        self.recording.done().await;
    }

    async fn serve(&mut self, delivery: Delivery) {
        let bell = match Bell::decode(&delivery.body) {
            Ok(bell) => bell,
            Err(rejection) => return self.park(delivery, rejection.label(), &rejection.to_string()).await,
        };
        fault_point(FaultPoint::WorkerBeforeClaim);
        match self.recording.beside(claim(&self.runtime, &bell)).await {
            Taken::Run(won) => self.work(won, delivery).await,
            Taken::Ack => delivery.ack(),
            Taken::Park { label, reason } => self.park(delivery, label, &reason).await,
            Taken::Requeue => {
                self.consumer.pause().await;
                delivery.requeue();
            }
        }
    }

    /// Runs the job to its end, and those that come next without a bell.
    async fn work(&mut self, mut won: Won, mut delivery: Delivery) {
        let since = Instant::now();
        loop {
            fault_point(FaultPoint::WorkerBeforeStart);
            let (more, lease_ms) = (won.claimed.more, won.claimed.lease_ms);
            let attempt = Attempt::begin(&self.runtime, won);
            let Some((ending, kept)) = self.run_one(attempt, delivery).await else { return };
            if !more || since.elapsed() > WITHOUT_BELL || self.runtime.shutdown.is_draining() {
                self.acknowledge(kept).await;
                let Self { runtime, recording, .. } = self;
                return recording.begin(runtime, ending).await;
            }
            self.recording.done().await;
            match ending.record_and_take(&self.runtime, lease_ms).await {
                Some(next) => (won, delivery) = (next, kept),
                None => return self.acknowledge(kept).await,
            }
        }
    }

    async fn acknowledge(&mut self, delivery: Delivery) {
        if self.runtime.shutdown.is_draining() {
            // Acknowledged first, the slot would be given the next bell.
            self.consumer.pause().await;
        }
        fault_point(FaultPoint::WorkerBeforeAck);
        delivery.ack();
        fault_point(FaultPoint::WorkerAfterAck);
    }

    /// Runs the attempt to its end. One that takes long lives on by its lease alone: its delivery is acknowledged, so that the broker's
    /// timeouts and restarts do not matter, and the slot consumes nothing until it is free. `None`: so it was, and everything is done.
    async fn run_one(&mut self, attempt: Attempt, delivery: Delivery) -> Option<(Ending, Delivery)> {
        let Self { runtime, consumer, recording } = self;
        let mut run = std::pin::pin!(attempt.run(runtime));
        let in_time = async {
            tokio::select! {
                biased;
                ending = &mut run => Some(ending),
                () = tokio::time::sleep(runtime.hand_over) => None,
            }
        };
        if let Some(ending) = recording.beside(in_time).await {
            return Some((ending, delivery));
        }
        let give = async {
            consumer.pause().await;
            fault_point(FaultPoint::WorkerBeforeHandOver);
            delivery.ack();
            metrics::handed_over();
            fault_point(FaultPoint::WorkerAfterHandOver);
        };
        let (ending, ()) = recording.beside(async { tokio::join!(run, give) }).await;
        recording.begin(runtime, ending).await;
        recording.done().await;
        if !runtime.shutdown.is_draining() {
            consumer.resume();
        }
        None
    }

    /// Puts aside what is not ours, and only then acknowledges it.
    async fn park(&mut self, delivery: Delivery, label: &'static str, reason: &str) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(2));
        for _ in 0..PARK_ATTEMPTS {
            let verdict = self.runtime.broker.park(topology::JOBS_REJECTED, &delivery, reason).await;
            if verdict == Verdict::Sent {
                metrics::parked(label);
                tracing::warn!(
                    queue = delivery.queue,
                    message_id = delivery.message_id,
                    reason,
                    "a message was put aside"
                );
                delivery.ack();
                return;
            }
            tracing::debug!(verdict = verdict.as_str(), reason, "a message could not be put aside");
            tokio::time::sleep(backoff.next_random()).await;
        }
        tracing::warn!(queue = delivery.queue, reason, "a message could not be put aside and goes back to its queue");
    }
}
