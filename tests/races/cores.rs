//! A sequencer and a gateway as the cores alone, under the product's guards, driven step by step: the clock is a number.

use protocol::cache_api::{RenewalAnswer, RenewalRequest};
use protocol::envelope::{Covered, Invalidated};
use protocol::ids::{Epoch, HolderId, Incarnation, Position, Seq};
use protocol::invalidation::guards::Full;
use protocol::invalidation::near::{Generations, NearLease, Taken, Tick, Ticket};
use protocol::invalidation::sequencer::{Grant, Sequencer, Settings};
use protocol::invalidation::{Entry, Term};
use uuid::Uuid;

/// The near lease, in ms; its margin is 40.
pub(crate) const LEASE_MS: u64 = 2_000;
/// Enough that the names of these tests have stripes of their own.
const STRIPES: usize = 64;

pub(crate) struct Cores {
    pub(crate) sequencer: Sequencer,
    pub(crate) gateway: NearLease,
    pub(crate) generations: Generations<Vec<u64>>,
    renewals: u64,
}

/// A renewal on its way.
#[derive(Clone, Copy)]
pub(crate) struct Renewal {
    ticket: Ticket,
    pub(crate) request: RenewalRequest,
}

pub(crate) fn term(epoch: u64) -> Term {
    Term { incarnation: Incarnation(Uuid::nil()), epoch: Epoch(epoch) }
}

/// A grant of the sequencer's lease that no test outlives.
pub(crate) fn grant(epoch: u64, predecessor: bool) -> Grant {
    Grant { term: term(epoch), lease_ms: 1_000_000, head: Position(0), fenced_through: Position(0), predecessor }
}

pub(crate) fn tag(name: &str) -> Covered {
    Covered { tags: vec![name.to_owned()], ..Covered::default() }
}

impl Cores {
    /// A first sequencer, and a gateway without a lease.
    pub(crate) fn new() -> Self {
        Self::set_to(Settings::with_lease(LEASE_MS))
    }

    pub(crate) fn set_to(settings: Settings) -> Self {
        let mut sequencer = Sequencer::new(settings);
        sequencer.granted(&grant(1, false), 0, 0);
        let gateway = NearLease::new(HolderId(Uuid::from_u128(1)));
        Self { sequencer, gateway, generations: Generations::guarded_by(Full, STRIPES), renewals: 0 }
    }

    /// The gateway sends a renewal.
    pub(crate) fn send(&mut self, now_ms: u64) -> Renewal {
        self.renewals += 1;
        let ticket = Ticket(self.renewals);
        Renewal { ticket, request: self.gateway.begin(ticket, now_ms, 0) }
    }

    /// The sequencer takes its report and answers it.
    pub(crate) fn answer(&mut self, renewal: Renewal, now_ms: u64) -> RenewalAnswer {
        self.sequencer.report(&renewal.request);
        self.sequencer.answer(&renewal.request, now_ms, now_ms).expect("it is the sequencer")
    }

    /// The answer is back at the gateway.
    pub(crate) fn take(&mut self, renewal: Renewal, answer: &RenewalAnswer, now_ms: u64) -> Taken {
        self.gateway.answered(renewal.ticket, answer, now_ms, &mut self.generations)
    }

    /// A whole renewal at one instant.
    pub(crate) fn renew(&mut self, now_ms: u64) -> Taken {
        let renewal = self.send(now_ms);
        let answer = self.answer(renewal, now_ms);
        self.take(renewal, &answer, now_ms)
    }

    pub(crate) fn issue(&mut self, covered: Covered, now_ms: u64) -> Entry {
        self.sequencer.issue(now_ms, covered).expect("it is the sequencer")
    }

    /// The gateway hears an announcement.
    pub(crate) fn hear(&mut self, epoch: u64, entry: &Entry) -> bool {
        let event = Invalidated::new(Epoch(epoch), entry.seq, Covered::clone(&entry.covered));
        self.gateway.announced(&event, &mut self.generations)
    }

    /// Whether the gateway answers from its near cache with what was loaded then.
    pub(crate) fn serves(&self, loaded: Tick, key: &str, now_ms: u64) -> bool {
        self.gateway.may_serve(now_ms) && self.generations.is_current(loaded, self.generations.key_stripe(key), &[])
    }

    pub(crate) fn is_fenced(&mut self, seq: Seq, now_ms: u64) -> bool {
        self.sequencer.fenced(now_ms) >= Some(seq)
    }
}
