//! A worker with one slot: what it believes, counted from its own send instants.

use protocol::ids::{ClaimId, Dispatch, Fence};
use protocol::job::Ended;

use super::store::LEASE_TICKS;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Worker {
    pub(crate) doing: Doing,
    /// Stopped by a signal: it does nothing, its clock goes on.
    pub(crate) stopped: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Doing {
    Idle,
    /// Holds a delivery and repeats its claim until it is answered. `since` counts ticks from the latest send.
    Claiming {
        bell: Dispatch,
        claim: ClaimId,
        since: u64,
    },
    /// Asks for a job without a bell, again and again until it is answered.
    Pulling {
        claim: ClaimId,
        since: u64,
    },
    /// Its handler runs while its own count of the lease lasts.
    Running {
        fence: Fence,
        left: u64,
        renewing_since: Option<u64>,
    },
    /// The handler ended, or was stopped: its word is repeated until it is recorded or refused.
    Settling {
        fence: Fence,
        word: Word,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Word {
    Succeeded,
    Failed,
    Released,
}

impl Word {
    pub(crate) fn ended(self) -> Option<Ended> {
        match self {
            Self::Succeeded => Some(Ended::Succeeded),
            Self::Failed => Some(Ended::Failed { may_retry: true }),
            Self::Released => None,
        }
    }
}

impl Worker {
    pub(crate) fn idle() -> Self {
        Self { doing: Doing::Idle, stopped: false }
    }

    /// Its handler runs, and by its own clock its lease lasts.
    pub(crate) fn is_live_owner(&self) -> bool {
        matches!(self.doing, Doing::Running { left: 1.., .. })
    }

    pub(crate) fn tick(&mut self) {
        match &mut self.doing {
            Doing::Idle | Doing::Settling { .. } => (),
            Doing::Claiming { since, .. } | Doing::Pulling { since, .. } => *since = (*since + 1).min(LEASE_TICKS),
            Doing::Running { left, renewing_since, .. } => {
                *left = left.saturating_sub(1);
                if let Some(since) = renewing_since {
                    *since = (*since + 1).min(LEASE_TICKS);
                }
            }
        }
        if !self.stopped {
            self.stop_expired_handler();
        }
    }

    /// What it does first when it wakes, and at every tick: a handler whose lease is over is stopped and given back.
    pub(crate) fn stop_expired_handler(&mut self) {
        if let Doing::Running { fence, left: 0, .. } = self.doing {
            self.doing = Doing::Settling { fence, word: Word::Released };
        }
    }

    /// The claim was answered with a fence.
    pub(crate) fn claimed(&mut self, answered: ClaimId, fence: Fence) {
        if let Doing::Claiming { claim, since, .. } | Doing::Pulling { claim, since } = self.doing
            && claim == answered
        {
            self.doing = Doing::Running { fence, left: LEASE_TICKS - since, renewing_since: None };
            self.stop_expired_handler();
        }
    }

    /// The claim was refused: the delivery is acknowledged, the slot is free. Or there was nothing to pull.
    pub(crate) fn refused(&mut self, answered: ClaimId) {
        if matches!(self.doing, Doing::Claiming { claim, .. } | Doing::Pulling { claim, .. } if claim == answered) {
            self.doing = Doing::Idle;
        }
    }

    /// The renewal was answered: the lease counts from the instant at which it was sent.
    pub(crate) fn renewed(&mut self, answered: Fence) {
        if let Doing::Running { fence, left, renewing_since } = &mut self.doing
            && *fence == answered
            && let Some(since) = renewing_since.take()
        {
            *left = (*left).max(LEASE_TICKS - since);
        }
    }

    pub(crate) fn lease_lost(&mut self, answered: Fence) {
        if matches!(self.doing, Doing::Running { fence, .. } if fence == answered) {
            self.doing = Doing::Idle;
        }
    }

    /// Its word was recorded or refused: either way it is done with the job.
    pub(crate) fn settled(&mut self, answered: Fence) {
        if matches!(self.doing, Doing::Settling { fence, .. } if fence == answered) {
            self.doing = Doing::Idle;
        }
    }
}
