//! The near lease: what an answer does, in which order, and which answers count.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::envelope::Covered;
use crate::ids::{Epoch, Incarnation};
use crate::invalidation::Entry;

type Plain = Generations<Vec<u64>>;

struct Gateway {
    lease: NearLease,
    generations: Plain,
}

fn gateway() -> Gateway {
    Gateway { lease: NearLease::new(HolderId(Uuid::nil())), generations: Plain::guarded_by(Full, 64) }
}

fn term(incarnation: u128, epoch: u64) -> Term {
    Term { incarnation: Incarnation(Uuid::from_u128(incarnation)), epoch: Epoch(epoch) }
}

fn answer(term: Term, through: u64, keys: &[&str]) -> RenewalAnswer {
    let first = through + 1 - keys.len() as u64;
    let entries = (first..).zip(keys).map(|(seq, key)| Entry { seq: Seq(seq), covered: Arc::new(Covered::key(*key)) });
    RenewalAnswer { term, lease_ms: 2_000, through: Seq(through), entries: entries.collect(), flush: false }
}

impl Gateway {
    fn renew(&mut self, sent_ms: u64, now_ms: u64, answer: &RenewalAnswer) -> Taken {
        self.lease.begin(Ticket(1), sent_ms, 500);
        self.lease.answered(Ticket(1), answer, now_ms, &mut self.generations)
    }

    fn is_current(&self, loaded: Tick, key: &str) -> bool {
        self.generations.is_current(loaded, self.generations.key_stripe(key), &[])
    }
}

#[test]
fn lease_is_counted_from_the_send_instant() {
    let mut gateway = gateway();
    assert!(!gateway.lease.may_serve(0), "nothing is served before the first answer");
    assert_eq!(gateway.renew(1_000, 1_900, &answer(term(1, 1), 0, &[])), Taken::Flushed);
    assert!(gateway.lease.may_serve(2_999));
    assert!(!gateway.lease.may_serve(3_000));
}

#[test]
fn answer_voids_what_it_names_and_nothing_else() {
    let mut gateway = gateway();
    gateway.renew(0, 0, &answer(term(1, 1), 0, &[]));
    let loaded = gateway.generations.now();
    assert_eq!(gateway.renew(10, 20, &answer(term(1, 1), 2, &["a", "b"])), Taken::Applied { entries: 2 });
    assert_eq!(gateway.lease.applied(), Seq(2));
    assert!(!gateway.is_current(loaded, "a"));
    assert!(gateway.is_current(loaded, "other"));
}

#[test]
fn first_answer_another_term_and_flush_drop_everything() {
    let check = |prepared: Option<Term>, answer: &RenewalAnswer, expected: Taken| {
        let mut gateway = gateway();
        if let Some(term) = prepared {
            gateway.renew(0, 0, &self::answer(term, 0, &[]));
        }
        let loaded = gateway.generations.now();
        assert_eq!(gateway.renew(10, 10, answer), expected);
        assert_eq!(gateway.is_current(loaded, "a"), expected != Taken::Flushed);
    };
    let plain = answer(term(1, 2), 0, &[]);
    check(None, &plain, Taken::Flushed);
    check(Some(term(1, 2)), &plain, Taken::Applied { entries: 0 });
    check(Some(term(1, 1)), &plain, Taken::Flushed);
    check(Some(term(1, 3)), &plain, Taken::Flushed);
    // After a restore of the store the same epoch number may come again.
    check(Some(term(7, 2)), &plain, Taken::Flushed);
    check(Some(term(1, 2)), &RenewalAnswer { flush: true, ..plain.clone() }, Taken::Flushed);
}

#[test]
fn answer_to_an_abandoned_renewal_is_dropped() {
    let mut gateway = gateway();
    let (abandoned, latest) = (Ticket(1), Ticket(2));
    gateway.lease.begin(abandoned, 0, 500);
    gateway.lease.begin(latest, 600, 500);
    let late = answer(term(1, 1), 9, &[]);
    let taken = gateway.lease.answered(abandoned, &late, 700, &mut gateway.generations);
    assert_eq!(taken, Taken::Abandoned);
    assert_eq!((gateway.lease.term(), gateway.lease.may_serve(700)), (None, false));
    let taken = gateway.lease.answered(latest, &answer(term(1, 2), 0, &[]), 700, &mut gateway.generations);
    assert_eq!(taken, Taken::Flushed);
    let twice = gateway.lease.answered(latest, &late, 700, &mut gateway.generations);
    assert_eq!(twice, Taken::Abandoned, "an answer counts once");
}

#[test]
fn announcement_bumps_but_is_not_applied() {
    // Event 11 (key a) is lost, 12 (key b) comes: reporting 12 would close the fence of 11 with a still served.
    let mut gateway = gateway();
    gateway.renew(0, 0, &answer(term(1, 1), 10, &[]));
    let loaded = gateway.generations.now();
    let event = Invalidated::new(Epoch(1), Seq(12), Covered::key("b"));
    assert!(gateway.lease.announced(&event, &mut gateway.generations));
    assert!(!gateway.is_current(loaded, "b"));
    assert_eq!(gateway.lease.begin(Ticket(2), 10, 500).applied, Seq(10));
}

#[test]
fn announcement_of_another_epoch_does_nothing() {
    let mut gateway = gateway();
    let event = |epoch| Invalidated::new(Epoch(epoch), Seq(1), Covered::key("a"));
    assert!(!gateway.lease.announced(&event(1), &mut gateway.generations), "none is held yet");
    gateway.renew(0, 0, &answer(term(1, 2), 0, &[]));
    let loaded = gateway.generations.now();
    for epoch in [1, 3] {
        assert!(!gateway.lease.announced(&event(epoch), &mut gateway.generations));
    }
    assert!(gateway.is_current(loaded, "a"));
    assert_eq!(gateway.lease.term(), Some(term(1, 2)));
}

#[test]
fn leaving_gateway_serves_nothing_more() {
    let mut gateway = gateway();
    gateway.renew(0, 0, &answer(term(1, 1), 3, &[]));
    gateway.lease.begin(Ticket(2), 10, 500);
    let request = gateway.lease.leave();
    assert!(request.leaving && request.applied == Seq(3));
    let taken = gateway.lease.answered(Ticket(2), &answer(term(1, 1), 3, &[]), 20, &mut gateway.generations);
    assert_eq!((taken, gateway.lease.may_serve(20)), (Taken::Abandoned, false));
}
