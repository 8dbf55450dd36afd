//! The job's state machine: every decision that changes a job, without I/O, clock or randomness. Storage adapters apply
//! it inside one transaction; the model in `tests/model` explores the very same functions.

use serde::{Deserialize, Serialize};

use crate::ids::{ClaimId, Dispatch, Fence};

/// Attempts ended by the death of their worker before a job is called poison.
pub const CRASHES_MAX: u32 = 5;

/// Where a job is. `Finishing` (its outcome is recorded, its invalidations are not yet fenced) is shown as `running`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Scheduled,
    Queued,
    Running,
    Finishing,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What a decision may look at and change; payload, result and times are the store's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    pub state: State,
    /// Grows with each `retry`; exactly one outcome is recorded per run.
    pub run: u32,
    /// Claims of this run that neither crashed nor were given back.
    pub attempt: u32,
    /// Attempts of this run that ended with their worker.
    pub crashes: u32,
    pub max_attempts: u32,
    /// The number of the present bell; a claim that names another is refused.
    pub dispatch: Dispatch,
    /// The last fence given. It never goes back, over all runs.
    pub fence: Fence,
    /// Who holds the lease, while running.
    pub claim: Option<ClaimId>,
    /// Grows with each renewal; the reaper watches it stand still.
    pub renewal: u64,
    /// The last fence whose owner's word (complete or release) was recorded: the same word again is welcome.
    pub settled: Fence,
    pub cancel_requested: bool,
    /// Whether an attempt of this run ever began.
    pub started: bool,
    /// Whether its end invalidates data.
    pub invalidates: bool,
}

/// A claim that won, or the repetition of one that had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claimed {
    pub fence: Fence,
    pub repeated: bool,
}

/// Why a claim lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimRefusal {
    /// The bell is not the present one: a duplicate, or one that overtook its successor.
    StaleBell,
    /// The job runs, waits for its time, or has ended.
    NotQueued,
    /// The job's queue is paused; the row goes back and is rung again later.
    QueuePaused,
    /// The session does not run this task; the row goes back and is rung again later.
    UnknownTask,
    /// No such job: dropped or parked by the caller, depending on the bell's age.
    UnknownJob,
}

/// The fence is not the present owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseLost;

/// How the owner's word about its attempt was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    Recorded,
    /// The same fence had been recorded before: the caller may stop repeating itself.
    AlreadyRecorded,
    /// Another owner came, or the job was ended: nothing was changed.
    Refused,
}

/// How an attempt ended, as its owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    Succeeded,
    Failed { may_retry: bool },
}

/// What `cancel` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// Ended at once.
    Now,
    /// The owner is told; the first recorded outcome wins.
    Requested,
    /// Its outcome is already recorded.
    Conflict,
}

/// What a transition asks of the store besides writing the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects {
    /// Somebody who follows the job would see a difference: a log entry.
    pub visible: bool,
    /// The job got a new bell, which must be rung.
    pub bell: bool,
    /// The job's keys are invalidated; `Finishing` waits for the fence, an unsuccessful end does not.
    pub invalidation: bool,
}

impl Job {
    /// A new job: queued under its first bell, or scheduled when it is due later.
    #[must_use]
    pub fn create(due_now: bool, max_attempts: u32, invalidates: bool) -> Self {
        Self {
            state: if due_now { State::Queued } else { State::Scheduled },
            run: 1,
            attempt: 0,
            crashes: 0,
            max_attempts,
            dispatch: Dispatch(u64::from(due_now)),
            fence: Fence(0),
            claim: None,
            renewal: 0,
            settled: Fence(0),
            cancel_requested: false,
            started: false,
            invalidates,
        }
    }

    /// Wins only if the row is queued under that bell. The same claim id may be repeated (its answer may have been lost):
    /// it gets the same fence, and its lease is renewed, because the worker counts from the send instant of the repetition.
    pub fn claim(&mut self, dispatch: Dispatch, claim: ClaimId) -> Result<Claimed, ClaimRefusal> {
        if self.state == State::Running && self.claim == Some(claim) {
            self.renewal += 1;
            return Ok(Claimed { fence: self.fence, repeated: true });
        }
        if dispatch != self.dispatch {
            return Err(ClaimRefusal::StaleBell);
        }
        if self.state != State::Queued {
            return Err(ClaimRefusal::NotQueued);
        }
        self.state = State::Running;
        self.attempt += 1;
        self.started = true;
        self.fence = self.fence.next();
        self.claim = Some(claim);
        self.renewal += 1;
        Ok(Claimed { fence: self.fence, repeated: false })
    }

    /// A worker that pulls takes the row under its present bell, whether that was rung or not. One that is out finds the row taken; it
    /// keeps its place in the window until a delivery names it, because that is how long it lies in the broker.
    pub fn pull(&mut self, claim: ClaimId) -> Result<Claimed, ClaimRefusal> {
        self.claim(self.dispatch, claim)
    }

    /// Another job was due before it, so whoever was given its bell took that one: it waits for its next bell. `false`: it does not wait.
    pub fn overtaken(&mut self) -> bool {
        let waits = self.state == State::Queued;
        if waits {
            self.queue();
        }
        waits
    }

    /// Renews the owner's lease, also an expired one that was not reaped yet.
    pub fn renew(&mut self, fence: Fence) -> Result<(), LeaseLost> {
        if !self.is_owned_by(fence) {
            return Err(LeaseLost);
        }
        self.renewal += 1;
        Ok(())
    }

    /// Records how the owner's attempt ended.
    pub fn complete(&mut self, fence: Fence, ended: Ended) -> Settled {
        if let Some(early) = self.settle(fence) {
            return early;
        }
        self.state = match ended {
            Ended::Succeeded if self.invalidates => State::Finishing,
            Ended::Succeeded => State::Succeeded,
            Ended::Failed { .. } if self.cancel_requested => State::Cancelled,
            Ended::Failed { may_retry } if may_retry && self.attempt < self.max_attempts => State::Scheduled,
            Ended::Failed { .. } => State::Failed,
        };
        Settled::Recorded
    }

    /// The owner gives the job back unfinished; the attempt is not counted.
    pub fn release(&mut self, fence: Fence) -> Settled {
        if let Some(early) = self.settle(fence) {
            return early;
        }
        self.attempt -= 1;
        self.requeue_or_cancel();
        Settled::Recorded
    }

    /// The owner's lease stood still at `renewal` for too long: its attempt was a crash. After the first one the job is queued at once. After
    /// the next ones it waits a moment ([`crate::retry::CRASH_BACKOFF`]): one of the jobs that ran together may kill each worker that takes it,
    /// and those that come back all at once would be killed with it again and again.
    pub fn reap(&mut self, fence: Fence, renewal: u64) -> Result<(), LeaseLost> {
        if !self.is_owned_by(fence) || self.renewal != renewal {
            return Err(LeaseLost);
        }
        self.claim = None;
        self.attempt -= 1;
        self.crashes += 1;
        if self.cancel_requested || self.crashes == 1 {
            self.requeue_or_cancel();
        } else {
            self.state = if self.crashes < CRASHES_MAX { State::Scheduled } else { State::Failed };
        }
        Ok(())
    }

    /// Its time has come. `false`: it was not waiting for it.
    pub fn due(&mut self) -> bool {
        let was_scheduled = self.state == State::Scheduled;
        if was_scheduled {
            self.queue();
        }
        was_scheduled
    }

    /// The time by which it was to start is over: it ends failed, unless an attempt of this run began. `false`: one did, or it has ended.
    pub fn miss_start(&mut self) -> bool {
        let missed = matches!(self.state, State::Scheduled | State::Queued) && !self.started;
        if missed {
            self.state = State::Failed;
        }
        missed
    }

    pub fn cancel(&mut self) -> Cancelled {
        match self.state {
            State::Scheduled | State::Queued => {
                self.cancel_requested = true;
                self.state = State::Cancelled;
                Cancelled::Now
            }
            State::Running => {
                self.cancel_requested = true;
                Cancelled::Requested
            }
            State::Finishing | State::Succeeded | State::Failed | State::Cancelled => Cancelled::Conflict,
        }
    }

    /// The fence over the job's invalidations has closed. `false`: it was not waiting for one.
    pub fn fence_closed(&mut self) -> bool {
        let was_finishing = self.state == State::Finishing;
        if was_finishing {
            self.state = State::Succeeded;
        }
        was_finishing
    }

    /// Opens the next run of a failed or cancelled job; fence and bell numbers keep growing. `false`: it has no such end.
    pub fn retry(&mut self) -> bool {
        if !matches!(self.state, State::Failed | State::Cancelled) {
            return false;
        }
        self.run += 1;
        self.attempt = 0;
        self.crashes = 0;
        self.cancel_requested = false;
        self.started = false;
        self.queue();
        true
    }

    /// Whether nothing can happen to it any more but a retry, so that it need not be kept.
    #[must_use]
    pub fn may_be_purged(&self) -> bool {
        self.state.is_terminal()
    }

    /// What the step from `before` to `self` asks of the store.
    #[must_use]
    pub fn effects_since(&self, before: &Self) -> Effects {
        let moved = self.state != before.state;
        let unsuccessful_end = matches!(self.state, State::Failed | State::Cancelled) && self.started;
        Effects {
            visible: moved || self.run != before.run || self.cancel_requested != before.cancel_requested,
            bell: self.dispatch != before.dispatch,
            invalidation: moved && self.invalidates && (self.state == State::Finishing || unsuccessful_end),
        }
    }

    fn is_owned_by(&self, fence: Fence) -> bool {
        self.state == State::Running && self.fence == fence
    }

    /// The start of both words of an owner: `Some` when there is nothing (more) to record.
    fn settle(&mut self, fence: Fence) -> Option<Settled> {
        if self.is_owned_by(fence) {
            self.claim = None;
            self.settled = fence;
            return None;
        }
        let repeated = fence == self.settled && fence != Fence(0);
        Some(if repeated { Settled::AlreadyRecorded } else { Settled::Refused })
    }

    fn requeue_or_cancel(&mut self) {
        if self.cancel_requested {
            self.state = State::Cancelled;
        } else {
            self.queue();
        }
    }

    fn queue(&mut self) {
        self.state = State::Queued;
        self.dispatch = self.dispatch.next();
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
