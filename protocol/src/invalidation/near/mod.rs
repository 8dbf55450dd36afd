//! What a gateway knows of its near cache: its lease at the sequencer, what it has applied, and generations.
//!
//! `applied` and the term change by the answer to the latest renewal and by nothing else. Whatever an answer voids is voided before
//! its lease is taken.

mod generations;

pub use generations::{Counters, Generations, Stripe, Tick};

use crate::cache_api::{RenewalAnswer, RenewalRequest};
use crate::envelope::Invalidated;
use crate::ids::{HolderId, Seq};
use crate::invalidation::Term;
use crate::invalidation::guards::{Full, Guard, Guards};

/// One renewal, numbered by the caller, who never uses a number again while an answer to it may come. Only the latest one's answer
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A gateway's lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NearLease<G = Full> {
    guards: G,
    holder: HolderId,
    term: Option<Term>,
    applied: Seq,
    valid_until_ms: u64,
    latest: Option<Sent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    ticket: Ticket,
    at_ms: u64,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    Applied {
        entries: usize,
    },
    /// Everything was dropped: the first answer, another term, or too far behind.
    Flushed,
    /// It answers a renewal that was given up: nothing was changed.
    Abandoned,
}

impl NearLease {
    #[must_use]
    pub fn new(holder: HolderId) -> Self {
        Self::guarded_by(Full, holder)
    }
}

impl<G: Guards> NearLease<G> {
    #[must_use]
    pub fn guarded_by(guards: G, holder: HolderId) -> Self {
        Self { guards, holder, term: None, applied: Seq(0), valid_until_ms: 0, latest: None }
    }

    /// A renewal to be sent now; one that was under way is given up.
    pub fn begin(&mut self, ticket: Ticket, now_ms: u64, wait_ms: u64) -> RenewalRequest {
        self.latest = Some(Sent { ticket, at_ms: now_ms });
        self.request(wait_ms, false)
    }

    /// Takes an answer: voids what it says, then the lease, counted from when its renewal was sent.
    pub fn answered<C: Counters>(
        &mut self,
        ticket: Ticket,
        answer: &RenewalAnswer,
        now_ms: u64,
        generations: &mut Generations<C, G>,
    ) -> Taken {
        let Some(sent) = self.latest.take_if(|sent| sent.ticket == ticket) else { return Taken::Abandoned };
        let new_term = self.term != Some(answer.term) && self.guards.keeps(Guard::FlushOnNewTerm);
        let taken = if new_term || answer.flush && self.term == Some(answer.term) {
            generations.bump_all();
            Taken::Flushed
        } else {
            for entry in &answer.entries {
                generations.bump(&entry.covered);
            }
            Taken::Applied { entries: answer.entries.len() }
        };
        self.term = Some(answer.term);
        self.applied = answer.through;
        let from_ms = if self.guards.keeps(Guard::SendInstant) { sent.at_ms } else { now_ms };
        self.valid_until_ms = from_ms + answer.lease_ms;
        taken
    }

    /// Takes an announced invalidation ahead of the renewal that carries it. `false`: it is of another epoch and does nothing.
    pub fn announced<C: Counters>(&mut self, event: &Invalidated, generations: &mut Generations<C, G>) -> bool {
        let of_term = self.term.is_some_and(|term| term.epoch == event.epoch);
        if of_term {
            generations.bump(&event.covered);
            if !self.guards.keeps(Guard::AppliedByRenewal) {
                self.applied = self.applied.max(event.seq);
            }
        }
        of_term
    }

    /// Until when it may serve, in ms; by a clock that is read after the request was read.
    #[must_use]
    pub fn valid_until_ms(&self) -> u64 {
        self.valid_until_ms
    }

    #[must_use]
    pub fn may_serve(&self, now_ms: u64) -> bool {
        now_ms < self.valid_until_ms
    }

    /// Serves nothing from here on, and says so to the sequencer.
    pub fn leave(&mut self) -> RenewalRequest {
        self.valid_until_ms = 0;
        self.latest = None;
        self.request(0, true)
    }

    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    #[must_use]
    pub fn applied(&self) -> Seq {
        self.applied
    }

    fn request(&self, wait_ms: u64, leaving: bool) -> RenewalRequest {
        RenewalRequest { holder: self.holder, term: self.term, applied: self.applied, wait_ms, leaving }
    }
}

#[cfg(test)]
mod tests;
