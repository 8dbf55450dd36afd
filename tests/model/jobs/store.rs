//! The store's side: the job by `protocol::job`, the reaper by `protocol::lease`, and what the properties need to remember.

use std::collections::BTreeSet;

use protocol::ids::{ClaimId, Dispatch, Fence};
use protocol::job::{ClaimRefusal, Ended, Job, LeaseLost, Settled, State};
use protocol::lease::{Held, Standstill};

use super::system::Guards;

pub(crate) const LEASE_TICKS: u64 = 2;
pub(crate) const TICK_MS: u64 = 1_000;

/// The job as the store has it, once it was created.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) job: Job,
    reaper: Standstill<Fence>,
    /// Ticks since the reaper looked; the store may be stopped meanwhile.
    pub(crate) unlooked_ticks: u64,
    pub(crate) history: History,
}

/// What happened, as far as a property asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// Bells under which a claim won.
    pub(crate) won: BTreeSet<u64>,
    pub(crate) bell_won_twice: bool,
    /// The terminal state, once recorded.
    pub(crate) outcome: Option<State>,
    pub(crate) outcome_changed: bool,
    pub(crate) start_missed: bool,
    /// The latest fence whose lease was ended by the reaper.
    reaped: Fence,
    pub(crate) late_word_recorded: bool,
}

impl Row {
    pub(crate) fn create(job: Job) -> Self {
        Self { job, reaper: Standstill::default(), unlooked_ticks: 0, history: History::default() }
    }

    pub(crate) fn claim(&mut self, guards: Guards, bell: Dispatch, claim: ClaimId) -> Result<Fence, ClaimRefusal> {
        let named = if guards.dispatch_number { bell } else { self.job.dispatch };
        let claimed = self.job.claim(named, claim)?;
        if !claimed.repeated {
            self.history.bell_won_twice |= !self.history.won.insert(bell.0);
        }
        Ok(claimed.fence)
    }

    /// A worker that pulls takes the row under its present bell, whatever becomes of that.
    pub(crate) fn pull(&mut self, claim: ClaimId) -> Result<Fence, ClaimRefusal> {
        let bell = self.job.dispatch;
        let claimed = self.job.pull(claim)?;
        if !claimed.repeated {
            self.history.bell_won_twice |= !self.history.won.insert(bell.0);
        }
        Ok(claimed.fence)
    }

    pub(crate) fn renew(&mut self, fence: Fence) -> Result<(), LeaseLost> {
        self.job.renew(fence)
    }

    pub(crate) fn complete(&mut self, guards: Guards, fence: Fence, ended: Ended) -> Settled {
        let settled = self.job.complete(self.checked(guards, fence), ended);
        self.recorded(fence, settled)
    }

    pub(crate) fn release(&mut self, guards: Guards, fence: Fence) -> Settled {
        let settled = self.job.release(self.checked(guards, fence));
        self.recorded(fence, settled)
    }

    /// The reaper looks once.
    pub(crate) fn look(&mut self) {
        let passed_ms = std::mem::take(&mut self.unlooked_ticks) * TICK_MS;
        let lease_ms = LEASE_TICKS * TICK_MS;
        let running = (self.job.state == State::Running).then_some(Held {
            key: self.job.fence,
            renewal: self.job.renewal,
            lease_ms,
        });
        for held in self.reaper.look(passed_ms, running) {
            if self.job.reap(held.key, held.renewal).is_ok() {
                self.history.reaped = held.key;
            }
            self.reaper = Standstill::default();
        }
        self.note_outcome();
    }

    pub(crate) fn cancel(&mut self) {
        self.job.cancel();
        self.note_outcome();
    }

    pub(crate) fn miss_start(&mut self) {
        self.history.start_missed |= self.job.miss_start();
        self.note_outcome();
    }

    fn checked(&self, guards: Guards, fence: Fence) -> Fence {
        if guards.fence { fence } else { self.job.fence }
    }

    fn recorded(&mut self, fence: Fence, settled: Settled) -> Settled {
        self.history.late_word_recorded |= settled == Settled::Recorded && fence <= self.history.reaped;
        self.note_outcome();
        settled
    }

    fn note_outcome(&mut self) {
        let state = self.job.state;
        match self.history.outcome {
            Some(outcome) => self.history.outcome_changed |= outcome != state,
            None if state.is_terminal() => self.history.outcome = Some(state),
            None => (),
        }
    }
}
