//! All parts together: the actions, the budgets of faults that keep the model finite, the properties.

use std::collections::BTreeSet;

use protocol::ids::{ClaimId, Dispatch, Fence};
use protocol::job::{CRASHES_MAX, Job, State};
use protocol::lease::LOOK_MAX_MS;
use stateright::{Model, Property};
use uuid::Uuid;

use super::store::{Row, TICK_MS};
use super::worker::{Doing, Word, Worker};

/// The last fence that is explored.
pub(crate) const FENCE_MAX: Fence = Fence(2);

/// What can be taken out, to see that the model notices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guards {
    pub(crate) fence: bool,
    pub(crate) dispatch_number: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    pub(crate) guards: Guards,
    pub(crate) budget: Budget,
}

/// How often each kind of fault may happen in one history, and how many of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) together: u8,
    pub(crate) duplicated_bells: u8,
    pub(crate) lost_bells: u8,
    pub(crate) lost_answers: u8,
    pub(crate) late_requests: u8,
    pub(crate) stops: u8,
    pub(crate) kills: u8,
    pub(crate) renewals: u8,
    pub(crate) releases: u8,
    pub(crate) cancels: u8,
    /// The time by which it was to start is over.
    pub(crate) start_deadlines: u8,
    /// How often a worker asks for a job without a bell; no fault.
    pub(crate) pulls: u8,
}

impl Budget {
    fn allows(self, kind: u8) -> bool {
        kind > 0 && self.together > 0
    }

    fn spend(&mut self, kind: impl Fn(&mut Self) -> &mut u8) {
        *kind(self) -= 1;
        self.together -= 1;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct System {
    /// The client was told 202.
    pub(crate) accepted: bool,
    pub(crate) row: Option<Row>,
    /// Bells in the broker: a bag, since it may reorder; the number of copies of each.
    pub(crate) bells: Vec<Dispatch>,
    /// Requests that were sent by a worker that no longer waits, still on their way to the store.
    pub(crate) late: BTreeSet<Request>,
    pub(crate) workers: [Worker; 2],
    pub(crate) budget: Budget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Request {
    Claim(Dispatch, ClaimId),
    Pull(ClaimId),
    Renew(Fence),
    Settle(Fence, Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Create {
        answer_lost: bool,
    },
    Ring,
    DropBell(usize),
    DuplicateBell(usize),
    Deliver {
        bell: usize,
        worker: usize,
    },
    /// An idle worker asks for a job.
    Pull {
        worker: usize,
    },
    /// The store handles what the worker asks now; the answer may be lost, and the worker asks again.
    Answer {
        worker: usize,
        lost: bool,
    },
    /// A copy of the request stays on its way and arrives whenever it likes.
    Delay {
        worker: usize,
    },
    Arrive(Request),
    SendRenewal {
        worker: usize,
    },
    Finish {
        worker: usize,
        word: Word,
    },
    Stop {
        worker: usize,
    },
    Wake {
        worker: usize,
    },
    Kill {
        worker: usize,
    },
    Cancel,
    MissStart,
    Due,
    Look,
    Tick,
}

impl Model for Jobs {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        vec![System {
            accepted: false,
            row: None,
            bells: Vec::new(),
            late: BTreeSet::new(),
            workers: [Worker::idle(), Worker::idle()],
            budget: self.budget,
        }]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        if !system.accepted {
            actions.push(Action::Create { answer_lost: false });
            if system.budget.allows(system.budget.lost_answers) {
                actions.push(Action::Create { answer_lost: true });
            }
        }
        let Some(row) = &system.row else { return };
        system.broker_actions(actions);
        for worker in 0..system.workers.len() {
            system.worker_actions(worker, actions);
        }
        actions.extend(system.late.iter().map(|&request| Action::Arrive(request)));
        match row.job.state {
            State::Queued if system.bell_is_lost(row.job.dispatch) => actions.push(Action::Ring),
            State::Scheduled => actions.push(Action::Due),
            _ => (),
        }
        if system.budget.allows(system.budget.cancels) && !row.job.state.is_terminal() {
            actions.push(Action::Cancel);
        }
        if system.budget.allows(system.budget.start_deadlines)
            && matches!(row.job.state, State::Scheduled | State::Queued)
        {
            actions.push(Action::MissStart);
        }
        if row.unlooked_ticks > 0 {
            actions.push(Action::Look);
        }
        actions.push(Action::Tick);
    }

    fn next_state(&self, system: &System, action: Action) -> Option<System> {
        let mut next = system.clone();
        next.apply(self.guards, action);
        (next != *system).then_some(next)
    }

    /// Releases are free, so a job could be claimed for ever; two owners one after the other show the races.
    fn within_boundary(&self, system: &System) -> bool {
        system.row.as_ref().is_none_or(|row| row.job.fence <= FENCE_MAX)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("an accepted job is in the store", |_, s: &System| !s.accepted || s.row.is_some()),
            Property::always("at most one live owner", |_, s: &System| {
                s.workers.iter().filter(|worker| worker.is_live_owner()).count() <= 1
            }),
            Property::always("a recorded outcome never changes", |_, s: &System| {
                s.has(|row| !row.history.outcome_changed)
            }),
            Property::always("the word of a reaped owner is never recorded", |_, s: &System| {
                s.has(|row| !row.history.late_word_recorded)
            }),
            Property::always("a bell wins at most one claim", |_, s: &System| s.has(|row| !row.history.bell_won_twice)),
            Property::always("a job that missed its start never began", |_, s: &System| {
                s.has(|row| !row.history.start_missed || (row.job.state == State::Failed && row.job.fence == Fence(0)))
            }),
            Property::sometimes("a start is missed, if any can be", |model: &Jobs, s: &System| {
                model.budget.start_deadlines == 0 || !s.has(|row| !row.history.start_missed)
            }),
            Property::sometimes("a job succeeds", |_, s: &System| s.ended_as(State::Succeeded)),
            Property::sometimes("a poison job ends failed", |_, s: &System| s.ended_as(State::Failed)),
            Property::sometimes("a successor succeeds after a crash", |_, s: &System| {
                s.ended_as(State::Succeeded) && s.row.as_ref().is_some_and(|row| row.job.crashes > CRASHES_MAX - 2)
            }),
        ]
    }
}

impl System {
    pub(crate) fn ended_as(&self, state: State) -> bool {
        self.row.as_ref().is_some_and(|row| row.job.state == state)
    }

    fn has(&self, holds: impl Fn(&Row) -> bool) -> bool {
        self.row.as_ref().is_none_or(holds)
    }

    /// Neither in the broker nor in the hands of a worker. (A bell that only seems lost is a duplicated one.)
    fn bell_is_lost(&self, present: Dispatch) -> bool {
        let claiming = |worker: &Worker| matches!(worker.doing, Doing::Claiming { bell, .. } if bell == present);
        !self.bells.contains(&present) && !self.workers.iter().any(claiming)
    }

    fn broker_actions(&self, actions: &mut Vec<Action>) {
        for bell in 0..self.bells.len() {
            if self.budget.allows(self.budget.lost_bells) {
                actions.push(Action::DropBell(bell));
            }
            if self.budget.allows(self.budget.duplicated_bells) {
                actions.push(Action::DuplicateBell(bell));
            }
            for (worker, state) in self.workers.iter().enumerate() {
                if state.doing == Doing::Idle && !state.stopped {
                    actions.push(Action::Deliver { bell, worker });
                }
            }
        }
    }

    fn worker_actions(&self, worker: usize, actions: &mut Vec<Action>) {
        let state = &self.workers[worker];
        if self.budget.allows(self.budget.kills) && state.doing != Doing::Idle {
            actions.push(Action::Kill { worker });
        }
        if state.stopped {
            actions.push(Action::Wake { worker });
            return;
        }
        if self.budget.pulls > 0 && state.doing == Doing::Idle {
            actions.push(Action::Pull { worker });
        }
        if self.budget.allows(self.budget.stops) && state.doing != Doing::Idle {
            actions.push(Action::Stop { worker });
        }
        if self.asked(worker).is_some() {
            actions.push(Action::Answer { worker, lost: false });
            if self.budget.allows(self.budget.lost_answers) {
                actions.push(Action::Answer { worker, lost: true });
            }
            if self.budget.allows(self.budget.late_requests) {
                actions.push(Action::Delay { worker });
            }
        }
        if let Doing::Running { renewing_since, .. } = state.doing {
            if renewing_since.is_none() && self.budget.allows(self.budget.renewals) {
                actions.push(Action::SendRenewal { worker });
            }
            actions.push(Action::Finish { worker, word: Word::Succeeded });
            actions.push(Action::Finish { worker, word: Word::Failed });
            if self.budget.allows(self.budget.releases) {
                actions.push(Action::Finish { worker, word: Word::Released });
            }
        }
    }

    /// What the worker asks the store right now.
    fn asked(&self, worker: usize) -> Option<Request> {
        match self.workers[worker].doing {
            Doing::Idle | Doing::Running { renewing_since: None, .. } => None,
            Doing::Claiming { bell, claim, .. } => Some(Request::Claim(bell, claim)),
            Doing::Pulling { claim, .. } => Some(Request::Pull(claim)),
            Doing::Running { fence, .. } => Some(Request::Renew(fence)),
            Doing::Settling { fence, word } => Some(Request::Settle(fence, word)),
        }
    }

    fn apply(&mut self, guards: Guards, action: Action) {
        match action {
            Action::Create { answer_lost } => self.create(answer_lost),
            Action::Ring => self.bells.extend(self.row.as_ref().map(|row| row.job.dispatch)),
            Action::DropBell(bell) => {
                self.budget.spend(|budget| &mut budget.lost_bells);
                self.bells.remove(bell);
            }
            Action::DuplicateBell(bell) => {
                self.budget.spend(|budget| &mut budget.duplicated_bells);
                self.bells.push(self.bells[bell]);
            }
            Action::Deliver { bell, worker } => {
                let claim = self.fresh_claim();
                let bell = self.bells.remove(bell);
                self.workers[worker].doing = Doing::Claiming { bell, claim, since: 0 };
            }
            Action::Pull { worker } => {
                self.budget.pulls -= 1;
                self.workers[worker].doing = Doing::Pulling { claim: self.fresh_claim(), since: 0 };
            }
            Action::Answer { worker, lost } => self.answer(guards, worker, lost),
            Action::Delay { worker } => {
                self.budget.spend(|budget| &mut budget.late_requests);
                self.late.extend(self.asked(worker));
            }
            Action::Arrive(request) => {
                self.late.remove(&request);
                self.handle(guards, request, None);
            }
            Action::SendRenewal { worker } => {
                self.budget.spend(|budget| &mut budget.renewals);
                if let Doing::Running { renewing_since, .. } = &mut self.workers[worker].doing {
                    *renewing_since = Some(0);
                }
            }
            Action::Finish { worker, word } => self.finish(worker, word),
            Action::Stop { worker } => {
                self.budget.spend(|budget| &mut budget.stops);
                self.workers[worker].stopped = true;
            }
            Action::Wake { worker } => {
                self.workers[worker].stopped = false;
                self.workers[worker].stop_expired_handler();
            }
            Action::Kill { worker } => self.kill(worker),
            Action::Cancel => {
                self.budget.spend(|budget| &mut budget.cancels);
                self.row.iter_mut().for_each(Row::cancel);
            }
            Action::MissStart => {
                self.budget.spend(|budget| &mut budget.start_deadlines);
                self.row.iter_mut().for_each(Row::miss_start);
            }
            Action::Due => self.row.iter_mut().for_each(|row| _ = row.job.due()),
            Action::Look => self.row.iter_mut().for_each(Row::look),
            Action::Tick => self.tick(),
        }
        // Bells are a bag and the workers are alike: one order stands for all.
        self.bells.sort_unstable();
        self.workers.sort_unstable();
    }

    fn create(&mut self, answer_lost: bool) {
        // The same id again finds the row: a client may repeat a submit whose answer was lost.
        // Two crashes away from the limit, two failures away from theirs: enough to see both, and small.
        let job = Job { crashes: CRASHES_MAX - 2, ..Job::create(true, 2, false) };
        self.row.get_or_insert_with(|| Row::create(job));
        if answer_lost {
            self.budget.spend(|budget| &mut budget.lost_answers);
        } else {
            self.accepted = true;
        }
    }

    fn answer(&mut self, guards: Guards, worker: usize, lost: bool) {
        let Some(request) = self.asked(worker) else { return };
        if lost {
            self.budget.spend(|budget| &mut budget.lost_answers);
            self.handle(guards, request, None);
            // The worker asks again and counts from there.
            match &mut self.workers[worker].doing {
                Doing::Claiming { since, .. } | Doing::Pulling { since, .. } => *since = 0,
                Doing::Running { renewing_since, .. } => *renewing_since = Some(0),
                Doing::Idle | Doing::Settling { .. } => (),
            }
        } else {
            self.handle(guards, request, Some(worker));
        }
    }

    /// The store handles a request and answers the worker that still waits for it.
    fn handle(&mut self, guards: Guards, request: Request, asker: Option<usize>) {
        let Some(row) = &mut self.row else { return };
        let mut nobody = Worker::idle();
        let worker = asker.map_or(&mut nobody, |worker| &mut self.workers[worker]);
        match request {
            Request::Claim(bell, claim) => match row.claim(guards, bell, claim) {
                Ok(fence) => worker.claimed(claim, fence),
                Err(_) => worker.refused(claim),
            },
            Request::Pull(claim) => match row.pull(claim) {
                Ok(fence) => worker.claimed(claim, fence),
                Err(_) => worker.refused(claim),
            },
            Request::Renew(fence) => match row.renew(fence) {
                Ok(()) => worker.renewed(fence),
                Err(_) => worker.lease_lost(fence),
            },
            Request::Settle(fence, word) => {
                match word.ended() {
                    Some(ended) => row.complete(guards, fence, ended),
                    None => row.release(guards, fence),
                };
                worker.settled(fence);
            }
        }
    }

    fn finish(&mut self, worker: usize, word: Word) {
        if word == Word::Released {
            self.budget.spend(|budget| &mut budget.releases);
        }
        if let Doing::Running { fence, .. } = self.workers[worker].doing {
            self.workers[worker].doing = Doing::Settling { fence, word };
        }
    }

    /// SIGKILL: the broker delivers again what was not acknowledged.
    fn kill(&mut self, worker: usize) {
        self.budget.spend(|budget| &mut budget.kills);
        if let Doing::Claiming { bell, .. } = self.workers[worker].doing {
            self.bells.push(bell);
        }
        self.workers[worker] = Worker::idle();
    }

    fn tick(&mut self) {
        self.workers.iter_mut().for_each(Worker::tick);
        if let Some(row) = &mut self.row {
            row.unlooked_ticks = (row.unlooked_ticks + 1).min(LOOK_MAX_MS / TICK_MS);
        }
    }

    /// A claim id that nobody remembers. The product draws random ones; the smallest free one keeps the model small.
    fn fresh_claim(&self) -> ClaimId {
        let late = self.late.iter().filter_map(|request| match request {
            Request::Claim(_, claim) | Request::Pull(claim) => Some(*claim),
            Request::Renew(_) | Request::Settle(..) => None,
        });
        let asked = (0..self.workers.len()).filter_map(|worker| match self.workers[worker].doing {
            Doing::Claiming { claim, .. } | Doing::Pulling { claim, .. } => Some(claim),
            Doing::Idle | Doing::Running { .. } | Doing::Settling { .. } => None,
        });
        let used: BTreeSet<ClaimId> =
            late.chain(asked).chain(self.row.as_ref().and_then(|row| row.job.claim)).collect();
        let mut ids = (1_u128..).map(|n| ClaimId(Uuid::from_u128(n)));
        ids.find(|id| !used.contains(id)).expect("there are more ids than claims")
    }
}
