//! The one writer: a thread that takes what waits, applies it in one transaction, and answers when it is on disk. Under load batches
//! form by themselves while the disk is busy; idle, nothing is waited for.

use std::sync::Arc;
use std::thread::JoinHandle;

use chassis::fault_points::{FaultPoint, fault_point};
use protocol::ids::Position;
use protocol::store_api::{Answer, BellFates, Command};
use protocol::tenant::Tenant;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::hub::Hub;
use crate::storage::{Context, Settings, Storage, StorageError, Transitions, Work};
use lanes::{Entrances, Lane, Lanes};
use request::{ApplyRequest, Request, StepRequest};

mod lanes;
mod request;

/// Hints that are kept for the next transaction; then they have one of their own.
const HINTS_MAX: usize = 1_000;

/// Why something was not written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// Too many requests wait already.
    #[error("too many writes wait")]
    Overloaded,
    /// The store is ending.
    #[error("the writer has ended")]
    Ended,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A handle on the writer thread; it ends when all handles are gone.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    entrances: Entrances,
}

/// The answers to the commands of one request, and the log's head after them.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) answers: Vec<Answer>,
    pub(crate) position: Position,
}

impl Writer {
    /// Starts the thread. The receiver hears when it has ended.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        storage: Box<dyn Storage>,
        settings: Arc<Settings>,
        hub: Arc<Hub>,
    ) -> std::io::Result<(Self, Ended)> {
        let (entrances, lanes) = Lanes::open()?;
        let (ended, has_ended) = oneshot::channel();
        let mut thread = Thread { storage, settings, hub, lanes, hints: Vec::new() };
        let handle = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            thread.run();
            drop(thread);
            drop(ended);
        })?;
        Ok((Self { entrances }, Ended { has_ended, handle }))
    }

    /// Applies commands of a client, for its tenant, or says at once that there is no room.
    ///
    /// # Errors
    /// Why none of them was applied. A failure of a single one is in its answer.
    pub(crate) async fn apply(&self, tenant: Tenant, commands: Vec<Command>) -> Result<Written, WriteError> {
        let entrance = self.entrances.of(Lane::of(&commands));
        let (request, answer) = ApplyRequest::new(tenant, commands);
        entrance.try_send(Box::new(request)).map_err(|error| match error {
            TrySendError::Full(_) => WriteError::Overloaded,
            TrySendError::Closed(_) => WriteError::Ended,
        })?;
        answer.await.map_err(|_| WriteError::Ended)?
    }

    /// Does a step of our own; it waits for room.
    ///
    /// # Errors
    /// Why it was not done.
    pub(crate) async fn step<T, F>(&self, step: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnMut(&mut dyn Transitions) -> Result<T, StorageError> + Send + 'static,
    {
        let (request, answer) = StepRequest::new(step);
        self.entrances.of(Lane::UnderWay).send(Box::new(request)).await.map_err(|_| WriteError::Ended)?;
        answer.await.map_err(|_| WriteError::Ended)?
    }

    /// Lets the writer ring what may be rung now.
    pub(crate) async fn nudge(&self) {
        if let Err(error) = self.step(|_| Ok(())).await {
            tracing::debug!(%error, "nudge");
        }
    }
}

/// Waits for the writer's end.
#[derive(Debug)]
pub(crate) struct Ended {
    has_ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

impl Ended {
    /// Waits until the thread has let go of the database. Cancel-safe until it has.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<()> {
        drop((&mut self.has_ended).await);
        Ok(())
    }

    /// After [`Ended::wait`]: whether it ended in order.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) fn join(self) -> anyhow::Result<()> {
        self.handle.join().map_err(|_| anyhow::anyhow!("the writer thread panicked"))
    }
}

struct Thread {
    storage: Box<dyn Storage>,
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    lanes: Lanes,
    /// "Sent" marks that came alone: not worth a commit, they are written with the next one.
    hints: Vec<BellFates>,
}

impl Thread {
    fn run(&mut self) {
        let mut restless = false;
        loop {
            // When there is more to ring it goes on at once, together with whoever waits.
            let first = if restless { None } else { self.lanes.wait() };
            if first.is_none() && (!restless || self.lanes.are_closed()) {
                return;
            }
            let batch = self.batch(first);
            if !batch.is_empty() || restless || self.hints.len() >= HINTS_MAX {
                restless = self.commit(batch);
            }
        }
    }

    fn batch(&mut self, first: Option<Box<dyn Request>>) -> Vec<Box<dyn Request>> {
        let (mut batch, mut commands) = (Vec::new(), 0);
        let mut next = first.or_else(|| self.lanes.next(commands));
        while let Some(mut request) = next {
            if let Some(hints) = request.take_hints() {
                self.hints.extend(hints);
                request.done(Ok(*self.hub.head.borrow()));
            } else {
                commands += request.weight();
                batch.push(request);
            }
            next = if self.hints.len() < HINTS_MAX { self.lanes.next(commands) } else { None };
        }
        batch
    }

    /// Commits the batch and answers it; `true`: there is more to ring now.
    fn commit(&mut self, mut batch: Vec<Box<dyn Request>>) -> bool {
        let hub = Arc::clone(&self.hub);
        let mut rung = Vec::new();
        let context = self.context();
        let anybody = Tenant::default();
        let hints: Vec<Command> = self.hints.drain(..).map(Command::Bells).collect();
        let result = self.storage.transact(&context, &mut |transitions| {
            rung.clear();
            let asked = batch.iter().filter_map(|request| request.commands());
            let asked = asked.flat_map(|(tenant, commands)| commands.iter().map(move |command| (tenant, command)));
            let asked: Vec<(&Tenant, &Command)> = asked.collect();
            transitions.foresee(&asked)?;
            drop(asked);
            for hint in &hints {
                transitions.apply(&anybody, hint)?;
            }
            for request in &mut batch {
                request.run(transitions)?;
            }
            for queue in transitions.restless() {
                if hub.gate.is_open(&queue) {
                    rung.extend(transitions.ring(&queue)?.bells);
                }
            }
            Ok(())
        });
        match result {
            Ok(mut signals) => {
                fault_point(FaultPoint::StoreBeforeAnswer);
                signals.rung.append(&mut rung);
                let (position, more) = (signals.head, hub.gate.any_open(&signals.restless));
                hub.publish(signals);
                batch.into_iter().for_each(|request| request.done(Ok(position)));
                more
            }
            Err(StorageError::Internal(reason)) if !batch.is_empty() => {
                tracing::error!(reason, requests = batch.len(), "a batch failed; each command is tried alone");
                self.singly(batch);
                false
            }
            Err(error) => {
                tracing::error!(%error, requests = batch.len(), "a batch was not committed");
                if let StorageError::Unavailable(reason) = &error {
                    self.hub.condition.not_written(reason);
                }
                batch.into_iter().for_each(|request| request.done(Err(&error)));
                false
            }
        }
    }

    /// Each command in a transaction of its own, so that one that breaks something fails alone.
    fn singly(&mut self, batch: Vec<Box<dyn Request>>) {
        for request in batch {
            request.singly(&mut |work| self.alone(work));
        }
    }

    fn alone(&mut self, work: Work<'_>) -> Result<Position, StorageError> {
        let context = self.context();
        let signals = self.storage.transact(&context, work)?;
        let position = signals.head;
        self.hub.publish(signals);
        Ok(position)
    }

    fn context(&self) -> Context {
        let settings = Arc::clone(&self.settings);
        let (wall_ms, now_ms) = (chassis::clock::wall_ms(), chassis::clock::now_ms());
        Context { wall_ms, now_ms, seed: rand::random(), settings }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
