//! Rings the bells that the store leaves to the creator, behind the client's back: the job is on disk, so its 202 waits for no broker.
//! Bounded; what cannot be rung here goes back to the store, whose dispatcher rings it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::broker::{Broker, Link, Message, Verdict};
use chassis::client::StoreClient;
use chassis::fault_points::{FaultPoint, fault_point};
use chassis::task::Tasks;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::envelope::Bell;
use protocol::ids::{Dispatch, JobId};
use protocol::key::{QueueName, TaskName};
use protocol::store_api::{BellId, Command, Create};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fates::Fates;
use crate::PROGRAM;
use crate::store::{Repeat, apply_all};

/// Publishes that may be unanswered at a time.
const IN_FLIGHT_MAX: usize = 256;
/// Bells that may wait for a place among them.
const WAITING_MAX: usize = 1_024;
/// After a report that did not come through.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// What a bell says besides its number. Taken from the create before it is sent away.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    queue: QueueName,
    task: TaskName,
    trace: Option<String>,
}

impl Ring {
    #[must_use]
    pub(crate) fn of(create: &Create) -> Self {
        Self { queue: create.queue.clone(), task: create.task.clone(), trace: create.trace.clone() }
    }
}

/// Takes bells to ring. Clones share the stage, which ends with the last of them, after what it has.
#[derive(Clone, Debug)]
pub(crate) struct Bells {
    waiting: mpsc::Sender<(BellId, Message)>,
    shared: Arc<Shared>,
    link: watch::Receiver<Link>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for one step, never across an await.
    fates: Mutex<Fates>,
    noted: Notify,
}

impl Bells {
    pub(crate) fn start(broker: &Broker, store: &StoreClient, deadline: Duration, tasks: &Tasks) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared::default());
        let stage = Stage { broker: Arc::clone(broker), store: store.clone(), deadline, shared: Arc::clone(&shared) };
        tasks.spawn("bells", stage.run(queue));
        Self { waiting, shared, link: broker.link() }
    }

    /// Whether a bell would go out at once.
    #[must_use]
    pub(crate) fn wanted(&self) -> bool {
        self.waiting.capacity() > 0 && *self.link.borrow() == Link::Up
    }

    /// Rings a bell soon, or gives it back to the store. Never waits.
    pub(crate) fn ring(&self, ring: Ring, job_id: JobId, dispatch: Dispatch, created_at: Timestamp) {
        let bell = Bell::new(job_id, dispatch, ring.task, created_at, ring.trace);
        let message = Message::bell(ring.queue.as_str(), &bell);
        let id = BellId { job_id, dispatch };
        if self.waiting.try_send((id, message)).is_err() {
            self.shared.note(id, Verdict::Busy);
        }
    }
}

impl Shared {
    fn note(&self, bell: BellId, verdict: Verdict) {
        let now = Instant::now();
        let mut fates = self.fates();
        let before = fates.due_at(now);
        fates.note(bell, verdict, now);
        let is_sooner = fates.due_at(now) != before;
        drop(fates);
        if is_sooner {
            self.noted.notify_one();
        }
    }

    fn fates(&self) -> MutexGuard<'_, Fates> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes what waits and reports how that went, until nobody can bring more.
struct Stage {
    broker: Broker,
    store: StoreClient,
    deadline: Duration,
    shared: Arc<Shared>,
}

impl Stage {
    async fn run(self, queue: mpsc::Receiver<(BellId, Message)>) {
        let published_all = CancellationToken::new();
        tokio::join!(self.publish(queue, &published_all), self.report(&published_all));
    }

    async fn publish(&self, mut queue: mpsc::Receiver<(BellId, Message)>, published_all: &CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !in_flight.is_empty() {
            tokio::select! {
                Some((bell, verdict)) = in_flight.next() => {
                    fault_point(FaultPoint::GatewayBeforeMark);
                    self.shared.note(bell, verdict);
                }
                taken = queue.recv(), if is_open && in_flight.len() < IN_FLIGHT_MAX => match taken {
                    Some((bell, message)) => {
                        fault_point(FaultPoint::GatewayBeforePublish);
                        let span = message.sending(PROGRAM, &self.broker);
                        let publish = self.broker.publish(message);
                        in_flight.push(async move {
                            let verdict = publish.await;
                            Message::sent(span, verdict);
                            (bell, verdict)
                        });
                    }
                    None => is_open = false,
                },
            }
        }
        published_all.cancel();
    }

    async fn report(&self, published_all: &CancellationToken) {
        while !published_all.is_cancelled() {
            let due_at = self.shared.fates().due_at(Instant::now());
            tokio::select! {
                () = until(due_at) => {}
                () = self.shared.noted.notified() => continue,
                () = published_all.cancelled() => break,
            }
            let pause = if self.tell().await { Duration::ZERO } else { REPORT_PAUSE };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = published_all.cancelled() => {}
            }
        }
        // What is left is told once more, and given up if the store is away: its dispatcher rings what nobody vouches for.
        while !self.shared.fates().is_empty() && self.tell().await {}
    }

    /// Sends one report. False if it must be repeated.
    async fn tell(&self) -> bool {
        let Some(fates) = self.shared.fates().take(Instant::now()) else { return true };
        let given_back = fates.ring_again.len().try_into().unwrap_or(u64::MAX);
        fault_point(FaultPoint::GatewayBeforeReport);
        let command = vec![Command::Bells(fates.clone())];
        match apply_all(&self.store, command, self.deadline, Repeat::WhenUnsure, &Tenant::default()).await {
            Ok(_) => {
                metrics::counter!("longshore_bells_given_back_total", "program" => "gateway").increment(given_back);
                true
            }
            Err(error) => {
                tracing::debug!(%error, given_back, "the fates of bells were not reported");
                self.shared.fates().give_back(fates);
                false
            }
        }
    }
}

async fn until(due_at: Option<Instant>) {
    match due_at {
        Some(due_at) => tokio::time::sleep_until(due_at).await,
        None => std::future::pending().await,
    }
}
