//! The sequencer's seat: the core, and the shared cache that it guards, changed together.
//!
//! Issuing an invalidation voids what it covers, and keeping a load asks whether anything covered it since, under one lock: so nothing
//! older than an issued invalidation can be kept after it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::clock;
use protocol::cache_api::{RenewalAnswer, RenewalRequest};
use protocol::envelope::{Covered, Invalidated};
use protocol::ids::{HolderId, Position, Seq};
use protocol::invalidation::sequencer::{Grant, LoadMark, Refusal, Sequencer, Settings};
use protocol::invalidation::{Entry as Sequenced, Term};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::entry::Entry;
use crate::shared::Shared;

#[derive(Debug)]
pub(crate) struct Seat {
    /// Held for a few instructions; never across an await.
    sequencer: Mutex<Sequencer>,
    pub(crate) shared: Shared,
    /// The end of the own lease. Written under the lock, read without.
    lease_until_ms: AtomicU64,
    /// Counts changes: whoever waits for one looks again.
    changes: watch::Sender<u64>,
    /// How far everything is fenced, by the closer.
    fenced: watch::Sender<Option<(Term, Seq)>>,
}

/// An invalidation with the term in which it was issued.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) term: Term,
    pub(crate) entry: Sequenced,
}

impl Issued {
    /// As it is announced.
    pub(crate) fn event(&self) -> Invalidated {
        Invalidated::new(self.term.epoch, self.entry.seq, Covered::clone(&self.entry.covered))
    }
}

impl Seat {
    pub(crate) fn new(settings: Settings, shared: Shared) -> Self {
        Self {
            sequencer: Mutex::new(Sequencer::new(settings)),
            shared,
            lease_until_ms: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            fenced: watch::Sender::new(None),
        }
    }

    /// Whether it may serve a request that has been read: the clock is read here, after it.
    pub(crate) fn holds(&self) -> bool {
        clock::now_ms() < self.lease_until_ms.load(Ordering::Acquire)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until everything up to `seq` is fenced; `false`: its term is over.
    pub(crate) async fn until_fenced(&self, term: Term, seq: Seq) -> bool {
        let mut fenced = self.fenced.subscribe();
        let closed = fenced.wait_for(|fenced| fenced.is_some_and(|(now, fenced)| now != term || fenced >= seq));
        closed.await.is_ok_and(|fenced| fenced.is_some_and(|(now, _)| now == term))
    }

    // --- its own lease

    pub(crate) fn granted(&self, grant: &Grant, sent_ms: u64) {
        self.change(|sequencer| {
            self.shared.clear();
            sequencer.granted(grant, sent_ms, clock::now_ms());
        });
    }

    pub(crate) fn renewed(&self, term: Term, sent_ms: u64) {
        let mut sequencer = self.sequencer();
        sequencer.renewed(term, sent_ms);
        self.lease_until_ms.store(sequencer.lease_until_ms(), Ordering::Release);
    }

    pub(crate) fn end(&self, term: Term) {
        self.change(|sequencer| {
            sequencer.end(term);
            self.shared.clear();
        });
    }

    pub(crate) fn cursor(&self) -> Option<Position> {
        self.sequencer().cursor()
    }

    // --- invalidations

    /// Sequences an invalidation and voids what it covers.
    ///
    /// # Errors
    /// `NotSequencer`.
    pub(crate) fn issue(&self, covered: Covered) -> Result<Issued, Refusal> {
        self.change(|sequencer| self.issue_with(sequencer, covered))
    }

    /// Sequences an override and puts its value in the place of what it voids.
    ///
    /// # Errors
    /// `NotSequencer`.
    pub(crate) fn put(&self, key: &str, value: Box<RawValue>, ttl_ms: u64) -> Result<Issued, Refusal> {
        self.change(|sequencer| {
            let issued = self.issue_with(sequencer, Covered::key(key))?;
            let loaded_ms = clock::now_ms();
            let entry = Entry {
                value: Some(value),
                tags: Vec::new(),
                media_type: None,
                version: None,
                read_at: None,
                mark: LoadMark { term: issued.term, seq: issued.entry.seq },
                loaded_ms,
                expires_ms: loaded_ms + ttl_ms,
            };
            self.shared.put(Arc::from(key), Arc::new(entry));
            Ok(issued)
        })
    }

    /// Sequences an entry of the store's log. `None`: the term's start covers it.
    pub(crate) fn issue_logged(&self, term: Term, at: Position, covered: Covered) -> Option<Issued> {
        self.change(|sequencer| {
            self.shared.void(&covered);
            let entry = sequencer.issue_logged(term, at, covered)?;
            Some(Issued { term, entry })
        })
    }

    pub(crate) fn read_through(&self, term: Term, head: Position) {
        self.change(|sequencer| sequencer.read_through(term, head));
    }

    // --- renewals and fences

    /// Takes a renewal's report.
    pub(crate) fn report(&self, request: &RenewalRequest) {
        self.change(|sequencer| sequencer.report(request));
    }

    pub(crate) fn has_news(&self, request: &RenewalRequest) -> bool {
        self.sequencer().has_news(request)
    }

    /// # Errors
    /// `NotSequencer`, `TooManyHolders`.
    pub(crate) fn answer(&self, request: &RenewalRequest, received_ms: u64) -> Result<RenewalAnswer, Refusal> {
        self.sequencer().answer(request, received_ms, clock::now_ms())
    }

    /// Looks how far everything is fenced, tells those who wait, and returns what is to be posted to the store and when to look again.
    pub(crate) fn close(&self) -> Closing {
        let mut sequencer = self.sequencer();
        let now_ms = clock::now_ms();
        let fenced = sequencer.term().zip(sequencer.fenced(now_ms));
        self.fenced.send_if_modified(|told| std::mem::replace(told, fenced) != fenced);
        let through = sequencer.fenced_position(now_ms);
        Closing {
            post: sequencer.term().zip(through),
            again_ms: sequencer.next_close_ms(now_ms).map(|at_ms| at_ms.saturating_sub(now_ms)),
        }
    }

    pub(crate) fn open_fences(&self) -> u64 {
        self.sequencer().open_fences()
    }

    // --- loads

    /// # Errors
    /// `NotSequencer`.
    pub(crate) fn begin_load(&self) -> Result<LoadMark, Refusal> {
        self.sequencer().begin_load(clock::now_ms())
    }

    pub(crate) fn may_join(&self, load: LoadMark, key: &str) -> bool {
        self.sequencer().may_join(load, key)
    }

    /// Keeps what a load brought, unless an invalidation since its mark covers it, or what is held is newer or an operator's.
    pub(crate) fn keep(&self, key: Arc<str>, entry: Arc<Entry>) -> bool {
        let sequencer = self.sequencer();
        let outlives = |held: Arc<Entry>| {
            let later = held.read_at.zip(entry.read_at).is_some_and(|(held, read)| held != read && held.reaches(read));
            held.is_override() || later
        };
        let keeps = sequencer.may_keep(entry.mark, &key, &entry.tags)
            && !self.shared.get(&key, clock::now_ms()).is_some_and(outlives);
        if keeps {
            self.shared.put(key, entry);
        }
        keeps
    }

    // --- inspections

    pub(crate) fn holders(&self) -> Vec<HolderId> {
        self.sequencer().holders()
    }

    /// The term, what was issued last in it, and how far it is fenced.
    pub(crate) fn standing(&self) -> Option<(Term, Seq, Option<Seq>)> {
        let mut sequencer = self.sequencer();
        let now_ms = clock::now_ms();
        let mark = sequencer.begin_load(now_ms).ok()?;
        Some((mark.term, mark.seq, sequencer.fenced(now_ms)))
    }

    fn issue_with(&self, sequencer: &mut Sequencer, covered: Covered) -> Result<Issued, Refusal> {
        let covered = Arc::new(covered);
        let entry = sequencer.issue(clock::now_ms(), covered.clone())?;
        self.shared.void(&covered);
        let term = sequencer.term().ok_or(Refusal::NotSequencer)?;
        Ok(Issued { term, entry })
    }

    fn change<R>(&self, step: impl FnOnce(&mut Sequencer) -> R) -> R {
        let mut sequencer = self.sequencer();
        let result = step(&mut sequencer);
        self.lease_until_ms.store(sequencer.lease_until_ms(), Ordering::Release);
        drop(sequencer);
        self.changes.send_modify(|changes| *changes += 1);
        result
    }

    fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the closer has to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    /// Everything in the log up to here is fenced in this term.
    pub(crate) post: Option<(Term, Position)>,
    /// Look again after this many ms, if nothing changes before.
    pub(crate) again_ms: Option<u64>,
}
