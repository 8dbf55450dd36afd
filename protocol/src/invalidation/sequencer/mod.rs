//! The sequencer: gives invalidations their order, near caches their leases, and says when nobody can serve the older value any more.
//!
//! It acts only within a tenure: one grant of its own lease by the store. Of everything that a former tenure knew, nothing is kept.

mod holders;
mod ring;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache_api::{RenewalAnswer, RenewalRequest};
use crate::envelope::Covered;
use crate::ids::{HolderId, Position, Seq};
use crate::invalidation::guards::{Full, Guard, Guards};
use crate::invalidation::{Entry, Term, margin_ms};
use holders::Holders;
use ring::Ring;

/// What a sequencer is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The near caches' lease, in ms.
    pub lease_ms: u64,
    /// What is waited beyond it, in ms.
    pub margin_ms: u64,
    /// Most names (keys, tags) of past invalidations that are kept.
    pub ring_names_max: usize,
    /// Most names in one answer to a renewal; a holder further behind is told to flush.
    pub answer_names_max: usize,
    /// Most holders at a time.
    pub holders_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self::with_lease(2_000)
    }
}

impl Settings {
    #[must_use]
    pub fn with_lease(lease_ms: u64) -> Self {
        let margin_ms = margin_ms(lease_ms);
        Self { lease_ms, margin_ms, ring_names_max: 1 << 16, answer_names_max: 4_096, holders_max: 1_024 }
    }
}

/// The store's grant of the sequencer's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    pub term: Term,
    /// Counted from the instant at which the call was sent, as with each renewal of it.
    pub lease_ms: u64,
    /// The log's head: what lies up to it is covered by the new term and the restart wait.
    pub head: Position,
    pub fenced_through: Position,
    pub predecessor: bool,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    #[error("this instance does not hold the sequencer's lease")]
    NotSequencer,
    #[error("too many holders")]
    TooManyHolders,
}

/// What a load saw before it began: it may be kept or joined only while nothing after it covers its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoadMark {
    pub term: Term,
    pub seq: Seq,
}

/// The core. Every method is a decision at one instant; the caller holds it under one lock together with what it voids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sequencer<G = Full> {
    guards: G,
    settings: Settings,
    tenure: Option<Tenure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Tenure {
    term: Term,
    lease_ms: u64,
    lease_until_ms: u64,
    /// No fence closes before: until then there may be holders of a predecessor.
    fences_from_ms: u64,
    ring: Ring,
    holders: Holders,
    /// Log positions still to be posted as fenced, each with the last seq that it includes.
    marks: VecDeque<(Position, Seq)>,
    cursor: Position,
    /// Everything up to here is fenced; `None` before the restart wait is over.
    fenced: Option<Seq>,
}

impl Sequencer {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::guarded_by(Full, settings)
    }
}

impl<G: Guards> Sequencer<G> {
    #[must_use]
    pub fn guarded_by(guards: G, settings: Settings) -> Self {
        Self { guards, settings, tenure: None }
    }

    // --- its own lease

    /// The store granted the lease to a call sent at `sent_ms`; answered `now_ms`.
    pub fn granted(&mut self, grant: &Grant, sent_ms: u64, now_ms: u64) {
        let waits = grant.predecessor && self.guards.keeps(Guard::RestartWait);
        let mut marks = VecDeque::new();
        if grant.head > grant.fenced_through {
            marks.push_back((grant.head, Seq(0)));
        }
        self.tenure = Some(Tenure {
            term: grant.term,
            lease_ms: grant.lease_ms,
            lease_until_ms: sent_ms + grant.lease_ms,
            fences_from_ms: if waits { now_ms + self.settings.lease_ms + self.settings.margin_ms } else { 0 },
            ring: Ring::default(),
            holders: Holders::default(),
            marks,
            cursor: grant.head,
            fenced: None,
        });
    }

    /// The store answered a call of this term, sent at `sent_ms`, as the holder's.
    pub fn renewed(&mut self, term: Term, sent_ms: u64) {
        if let Some(tenure) = self.in_term(term) {
            tenure.lease_until_ms = tenure.lease_until_ms.max(sent_ms + tenure.lease_ms);
        }
    }

    /// The term is over: another holds the lease, or this one is about to give it back.
    pub fn end(&mut self, term: Term) {
        if self.in_term(term).is_some() {
            self.tenure = None;
        }
    }

    /// The present or last term, whether or not its lease is still valid.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.tenure.as_ref().map(|tenure| tenure.term)
    }

    /// The instant at which its own lease ends, in ms: before it, and only then, it may serve and grant. 0: it has none.
    #[must_use]
    pub fn lease_until_ms(&self) -> u64 {
        match &self.tenure {
            Some(_) if !self.guards.keeps(Guard::SequencerLease) => u64::MAX,
            Some(tenure) => tenure.lease_until_ms,
            None => 0,
        }
    }

    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.lease_until_ms()
    }

    // --- invalidations

    /// Gives an invalidation its place in the order. The caller voids what it covers in the same step.
    ///
    /// # Errors
    /// `NotSequencer`.
    pub fn issue(&mut self, now_ms: u64, covered: impl Into<Arc<Covered>>) -> Result<Entry, Refusal> {
        let names_max = self.settings.ring_names_max;
        let tenure = self.tenure_at(now_ms)?;
        Ok(tenure.ring.push(covered.into(), names_max))
    }

    /// Gives an entry of the store's log its place, also while the own lease has run out: it is not read again. `None`: the entry is
    /// covered by the term's start, or of another term.
    pub fn issue_logged(&mut self, term: Term, at: Position, covered: impl Into<Arc<Covered>>) -> Option<Entry> {
        let names_max = self.settings.ring_names_max;
        let tenure = self.in_term(term)?;
        if at <= tenure.cursor {
            return None;
        }
        let entry = tenure.ring.push(covered.into(), names_max);
        tenure.cursor = at;
        tenure.marks.push_back((at, entry.seq));
        Some(entry)
    }

    /// The log was read up to `head`, and what is to be invalidated is issued. There is nothing to post about the rest.
    pub fn read_through(&mut self, term: Term, head: Position) {
        if let Some(tenure) = self.in_term(term) {
            tenure.cursor = tenure.cursor.max(head);
        }
    }

    /// Where to read the log from.
    #[must_use]
    pub fn cursor(&self) -> Option<Position> {
        self.tenure.as_ref().map(|tenure| tenure.cursor)
    }

    // --- renewals

    /// Takes a renewal's report, at the instant at which it was received. What it closes shows in [`Self::fenced`].
    pub fn report(&mut self, request: &RenewalRequest) {
        let Some(tenure) = request.term.and_then(|term| self.in_term(term)) else { return };
        tenure.holders.report(request.holder, request.applied);
        if request.leaving {
            tenure.holders.forget(request.holder);
        }
    }

    /// Whether an answer would carry anything but the lease.
    #[must_use]
    pub fn has_news(&self, request: &RenewalRequest) -> bool {
        self.tenure.as_ref().is_none_or(|tenure| {
            request.term != Some(tenure.term) || request.applied != tenure.ring.last() || request.leaving
        })
    }

    /// Answers a renewal received at `received_ms`, from which this side counts the lease that it gives.
    ///
    /// # Errors
    /// `NotSequencer`, `TooManyHolders`.
    pub fn answer(
        &mut self,
        request: &RenewalRequest,
        received_ms: u64,
        now_ms: u64,
    ) -> Result<RenewalAnswer, Refusal> {
        let Settings { lease_ms, answer_names_max, holders_max, margin_ms, .. } = self.settings;
        let tenure = self.tenure_at(now_ms)?;
        if !tenure.holders.knows(request.holder) && tenure.holders.len() >= holders_max {
            tenure.holders.forget_ended(now_ms, margin_ms);
            if tenure.holders.len() >= holders_max {
                return Err(Refusal::TooManyHolders);
            }
        }
        let through = tenure.ring.last();
        let same_term = request.term == Some(tenure.term);
        let entries = if same_term { tenure.ring.after(request.applied, answer_names_max) } else { None };
        if !request.leaving {
            tenure.holders.answered(request.holder, through, received_ms + lease_ms);
        }
        let flush = entries.is_none();
        Ok(RenewalAnswer { term: tenure.term, lease_ms, through, entries: entries.unwrap_or_default(), flush })
    }

    // --- fences

    /// Everything up to the answer is fenced in this term: no reader is answered with an older value. It never goes back.
    pub fn fenced(&mut self, now_ms: u64) -> Option<Seq> {
        let holds = self.holds(now_ms);
        let waits = self.guards.keeps(Guard::FenceWait);
        let margin_ms = self.settings.margin_ms;
        let tenure = self.tenure.as_mut()?;
        if holds && now_ms >= tenure.fences_from_ms {
            let passed = if waits { tenure.holders.passed(now_ms, margin_ms) } else { None };
            let last = tenure.ring.last();
            tenure.fenced = tenure.fenced.max(Some(passed.map_or(last, |passed| passed.min(last))));
        }
        tenure.fenced
    }

    /// Forgets what time has passed by; decides nothing.
    pub fn forget_ended(&mut self, now_ms: u64) {
        let margin_ms = self.settings.margin_ms;
        if let Some(tenure) = &mut self.tenure {
            tenure.holders.forget_ended(now_ms, margin_ms);
            for instant_ms in [&mut tenure.lease_until_ms, &mut tenure.fences_from_ms] {
                *instant_ms = if *instant_ms > now_ms { *instant_ms } else { 0 };
            }
        }
    }

    /// The log position up to which everything is fenced and not yet reported here.
    pub fn fenced_position(&mut self, now_ms: u64) -> Option<Position> {
        let fenced = self.fenced(now_ms)?;
        let tenure = self.tenure.as_mut()?;
        let mut through = None;
        while let Some((at, seq)) = tenure.marks.front() {
            if *seq > fenced {
                break;
            }
            through = Some(*at);
            tenure.marks.pop_front();
        }
        through
    }

    /// When to ask again although no report came, in ms: the end of a lease or of the restart wait.
    #[must_use]
    pub fn next_close_ms(&self, now_ms: u64) -> Option<u64> {
        let tenure = self.tenure.as_ref()?;
        if now_ms < tenure.fences_from_ms {
            return Some(tenure.fences_from_ms);
        }
        if tenure.fenced == Some(tenure.ring.last()) {
            return None;
        }
        tenure.holders.next_end_ms(now_ms, self.settings.margin_ms)
    }

    /// How many invalidations are issued and not fenced.
    #[must_use]
    pub fn open_fences(&self) -> u64 {
        let open = |tenure: &Tenure| tenure.ring.last().0 - tenure.fenced.unwrap_or_default().0;
        self.tenure.as_ref().map_or(0, open)
    }

    /// Whether `holder` counts among those that a fence waits for.
    #[must_use]
    pub fn knows(&self, holder: HolderId) -> bool {
        self.tenure.as_ref().is_some_and(|tenure| tenure.holders.knows(holder))
    }

    /// Everyone who may hold something: who is asked in an inspection.
    #[must_use]
    pub fn holders(&self) -> Vec<HolderId> {
        self.tenure.as_ref().map(|tenure| tenure.holders.ids().collect()).unwrap_or_default()
    }

    // --- loads

    /// To be taken before a load begins.
    ///
    /// # Errors
    /// `NotSequencer`.
    pub fn begin_load(&mut self, now_ms: u64) -> Result<LoadMark, Refusal> {
        let tenure = self.tenure_at(now_ms)?;
        Ok(LoadMark { term: tenure.term, seq: tenure.ring.last() })
    }

    /// Whether what a load brought may be kept: nothing issued since covers it. A load older than the ring may not.
    #[must_use]
    pub fn may_keep(&self, load: LoadMark, key: &str, tags: &[String]) -> bool {
        match self.guards.keeps(Guard::FillSequence) {
            true => self.is_current(load, key, Some(tags)),
            false => self.term() == Some(load.term),
        }
    }

    /// Whether a request may join the load, whose tags are not known before it ends.
    #[must_use]
    pub fn may_join(&self, load: LoadMark, key: &str) -> bool {
        !self.guards.keeps(Guard::FlightKey) || self.is_current(load, key, None)
    }

    fn is_current(&self, load: LoadMark, key: &str, tags: Option<&[String]>) -> bool {
        let covered = |tenure: &Tenure| tenure.ring.covers_after(load.seq, key, tags);
        self.tenure.as_ref().is_some_and(|tenure| tenure.term == load.term && !covered(tenure))
    }

    fn in_term(&mut self, term: Term) -> Option<&mut Tenure> {
        self.tenure.as_mut().filter(|tenure| tenure.term == term)
    }

    fn tenure_at(&mut self, now_ms: u64) -> Result<&mut Tenure, Refusal> {
        let holds = self.holds(now_ms);
        self.tenure.as_mut().filter(|_| holds).ok_or(Refusal::NotSequencer)
    }
}

#[cfg(test)]
mod tests;
