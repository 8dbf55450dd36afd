//! What waits for the writer: commands of clients, and steps of the store's own loops.

use protocol::ids::Position;
use protocol::problem::Kind;
use protocol::store_api::{Answer, BellFates, Command, Reply};
use protocol::tenant::Tenant;
use tokio::sync::oneshot;

use super::{WriteError, Written};
use crate::storage::{StorageError, Transitions, Work};

/// Commits one piece of work alone and says where the log's head is then.
pub(super) type Alone<'a> = &'a mut dyn FnMut(Work<'_>) -> Result<Position, StorageError>;

pub(super) trait Request: Send {
    /// Does the work inside a shared transaction; it may be called again when that one was rolled back.
    fn run(&mut self, transitions: &mut dyn Transitions) -> Result<(), StorageError>;

    /// How many commands it has.
    fn weight(&self) -> usize;

    /// The commands that it will apply, and for whom.
    fn commands(&self) -> Option<(&Tenant, &[Command])> {
        None
    }

    /// What it says, if it says only what may be forgotten: such a request is answered at once and written with the next one.
    fn take_hints(&mut self) -> Option<Vec<BellFates>> {
        None
    }

    /// The shared transaction is on disk, or was rolled back.
    fn done(self: Box<Self>, committed: Result<Position, &StorageError>);

    /// Does the work command by command and answers.
    fn singly(self: Box<Self>, alone: Alone<'_>);
}

impl std::fmt::Debug for dyn Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("weight", &self.weight()).finish_non_exhaustive()
    }
}

/// An error for each of several who wait for the same transaction.
fn copy(error: &StorageError) -> StorageError {
    match error {
        StorageError::Unavailable(reason) => StorageError::Unavailable(reason.clone()),
        StorageError::Internal(reason) => StorageError::Internal(reason.clone()),
    }
}

pub(super) struct ApplyRequest {
    tenant: Tenant,
    commands: Vec<Command>,
    answers: Vec<Answer>,
    reply: oneshot::Sender<Result<Written, WriteError>>,
}

impl ApplyRequest {
    pub(super) fn new(
        tenant: Tenant,
        commands: Vec<Command>,
    ) -> (Self, oneshot::Receiver<Result<Written, WriteError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { tenant, commands, answers: Vec::new(), reply }, answer)
    }

    fn send(reply: oneshot::Sender<Result<Written, WriteError>>, written: Result<Written, WriteError>) {
        // Whoever asked may be gone; what was written stays.
        drop(reply.send(written));
    }
}

impl Request for ApplyRequest {
    fn run(&mut self, transitions: &mut dyn Transitions) -> Result<(), StorageError> {
        self.answers.clear();
        for command in &self.commands {
            self.answers.push(transitions.apply(&self.tenant, command)?);
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.commands.len()
    }

    fn commands(&self) -> Option<(&Tenant, &[Command])> {
        Some((&self.tenant, &self.commands))
    }

    fn take_hints(&mut self) -> Option<Vec<BellFates>> {
        let is_hint = |command: &Command| matches!(command, Command::Bells(fates) if fates.ring_again.is_empty());
        if self.commands.is_empty() || !self.commands.iter().all(is_hint) {
            return None;
        }
        self.answers = self.commands.iter().map(|_| Answer::Ok(Box::new(Reply::Done))).collect();
        let hint = |command| match command {
            Command::Bells(fates) => Some(fates),
            _ => None,
        };
        Some(self.commands.drain(..).filter_map(hint).collect())
    }

    fn done(self: Box<Self>, committed: Result<Position, &StorageError>) {
        let written = match committed {
            Ok(position) => Ok(Written { answers: self.answers, position }),
            Err(error) => Err(copy(error).into()),
        };
        Self::send(self.reply, written);
    }

    fn singly(mut self: Box<Self>, alone: Alone<'_>) {
        self.answers.clear();
        let mut position = Position(0);
        for command in &self.commands {
            let mut answer = None;
            let committed = alone(&mut |transitions| {
                answer = Some(transitions.apply(&self.tenant, command)?);
                Ok(())
            });
            match committed {
                Ok(now) => {
                    position = now;
                    self.answers.extend(answer);
                }
                Err(error) => {
                    tracing::error!(%error, "a command failed");
                    let kind = match error {
                        StorageError::Unavailable(_) => Kind::Unavailable,
                        StorageError::Internal(_) => Kind::Internal,
                    };
                    self.answers.push(Answer::Error(Box::new(kind.problem())));
                }
            }
        }
        Self::send(self.reply, Ok(Written { answers: self.answers, position }));
    }
}

pub(super) struct StepRequest<T, F> {
    step: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> StepRequest<T, F> {
    pub(super) fn new(step: F) -> (Self, oneshot::Receiver<Result<T, WriteError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { step, result: None, reply }, answer)
    }

    fn answer(self, committed: Result<(), WriteError>) {
        let result = committed.and_then(|()| self.result.ok_or(WriteError::Ended));
        drop(self.reply.send(result));
    }
}

impl<T, F> Request for StepRequest<T, F>
where
    T: Send,
    F: FnMut(&mut dyn Transitions) -> Result<T, StorageError> + Send,
{
    fn run(&mut self, transitions: &mut dyn Transitions) -> Result<(), StorageError> {
        self.result = Some((self.step)(transitions)?);
        Ok(())
    }

    fn weight(&self) -> usize {
        1
    }

    fn done(self: Box<Self>, committed: Result<Position, &StorageError>) {
        self.answer(committed.map(|_| ()).map_err(|error| copy(error).into()));
    }

    fn singly(mut self: Box<Self>, alone: Alone<'_>) {
        let committed = alone(&mut |transitions| {
            self.result = Some((self.step)(transitions)?);
            Ok(())
        });
        self.answer(committed.map(|_| ()).map_err(WriteError::from));
    }
}
