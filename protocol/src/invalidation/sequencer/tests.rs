//! The sequencer, rule by rule, and the interleavings that broke earlier drafts. Lease 2,000, margin 40.

use uuid::Uuid;

use super::*;
use crate::ids::{Epoch, Incarnation};

const LEASE_MS: u64 = 2_000;
const END_MS: u64 = 2_040;

fn term(epoch: u64) -> Term {
    Term { incarnation: Incarnation(Uuid::nil()), epoch: Epoch(epoch) }
}

fn grant(epoch: u64, predecessor: bool) -> Grant {
    let (head, fenced_through) = (Position(0), Position(0));
    Grant { term: term(epoch), lease_ms: 1_000_000, head, fenced_through, predecessor }
}

/// A first sequencer, granted at 0.
fn first() -> Sequencer {
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&grant(1, false), 0, 0);
    sequencer
}

fn request(holder: u128, epoch: u64, applied: u64) -> RenewalRequest {
    let holder = HolderId(Uuid::from_u128(holder));
    RenewalRequest { holder, term: Some(term(epoch)), applied: Seq(applied), wait_ms: 0, leaving: false }
}

fn newcomer(holder: u128) -> RenewalRequest {
    RenewalRequest { term: None, ..request(holder, 1, 0) }
}

fn renew(sequencer: &mut Sequencer, request: &RenewalRequest, now_ms: u64) -> RenewalAnswer {
    sequencer.report(request);
    sequencer.answer(request, now_ms, now_ms).expect("it is the sequencer")
}

fn issue(sequencer: &mut Sequencer, key: &str, now_ms: u64) -> Seq {
    sequencer.issue(now_ms, Covered::key(key)).expect("it is the sequencer").seq
}

#[test]
fn fence_closes_at_once_without_holders() {
    let mut sequencer = first();
    assert_eq!(sequencer.fenced(0), Some(Seq(0)));
    assert_eq!(issue(&mut sequencer, "a", 1), Seq(1));
    assert_eq!(sequencer.open_fences(), 1);
    assert_eq!(sequencer.fenced(1), Some(Seq(1)));
    assert_eq!(sequencer.open_fences(), 0);
}

#[test]
fn fence_closes_when_each_holder_has_reported() {
    let mut sequencer = first();
    for holder in [1, 2] {
        let answer = renew(&mut sequencer, &newcomer(holder), 0);
        assert!(answer.flush && answer.entries.is_empty());
    }
    let seq = issue(&mut sequencer, "a", 100);
    let answer = renew(&mut sequencer, &request(1, 1, 0), 100);
    assert_eq!(answer.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [seq]);
    assert_eq!(sequencer.fenced(100), Some(Seq(0)), "carrying it is not applying it");
    sequencer.report(&request(1, 1, 1));
    assert_eq!(sequencer.fenced(100), Some(Seq(0)), "the other has not");
    sequencer.report(&request(2, 1, 1));
    assert_eq!(sequencer.fenced(100), Some(seq));
}

#[test]
fn later_renewals_do_not_move_the_deadline_of_a_fence() {
    // Answers are lost one way: the holder renews for ever and never reports. Its deadline is the expiry known at issue.
    let mut sequencer = first();
    renew(&mut sequencer, &newcomer(1), 0);
    renew(&mut sequencer, &request(1, 1, 0), 500);
    let seq = issue(&mut sequencer, "a", 600);
    for now_ms in (700..500 + END_MS).step_by(100) {
        renew(&mut sequencer, &request(1, 1, 0), now_ms);
        assert_eq!(sequencer.fenced(now_ms), Some(Seq(0)), "at {now_ms}");
    }
    assert_eq!(sequencer.next_close_ms(2_500), Some(500 + END_MS));
    assert_eq!(sequencer.fenced(500 + END_MS), Some(seq));
    let second = issue(&mut sequencer, "b", 500 + END_MS);
    assert_eq!(sequencer.fenced(500 + END_MS), Some(seq), "the next one waits for the lease extended since");
    assert_eq!(sequencer.fenced(2_500 + END_MS), Some(second));
}

#[test]
fn holder_that_came_after_the_issue_is_not_waited_for() {
    let mut sequencer = first();
    renew(&mut sequencer, &newcomer(1), 0);
    let seq = issue(&mut sequencer, "a", 10);
    let answer = renew(&mut sequencer, &newcomer(2), 20);
    assert_eq!(answer.through, seq);
    sequencer.report(&request(1, 1, 1));
    assert_eq!(sequencer.fenced(20), Some(seq));
}

#[test]
fn silent_holder_delays_a_fence_by_its_lease_and_is_then_forgotten() {
    let mut sequencer = first();
    renew(&mut sequencer, &newcomer(1), 0);
    let seq = issue(&mut sequencer, "a", 1_000);
    assert_eq!(sequencer.fenced(END_MS - 1), Some(Seq(0)));
    assert_eq!(sequencer.fenced(END_MS), Some(seq));
    assert!(!sequencer.knows(newcomer(1).holder));
    let next = issue(&mut sequencer, "a", END_MS);
    assert_eq!(sequencer.fenced(END_MS), Some(next));
}

#[test]
fn paused_holder_and_its_replacement_are_two() {
    let mut sequencer = first();
    renew(&mut sequencer, &newcomer(1), 0);
    renew(&mut sequencer, &newcomer(2), 0);
    let seq = issue(&mut sequencer, "a", 10);
    sequencer.report(&request(2, 1, 1));
    assert_eq!(sequencer.fenced(10), Some(Seq(0)));
    let leaving = RenewalRequest { leaving: true, ..request(1, 1, 0) };
    renew(&mut sequencer, &leaving, 20);
    assert_eq!(sequencer.fenced(20), Some(seq), "a drained gateway gives its lease back");
}

#[test]
fn no_fence_closes_before_the_restart_wait() {
    // A holder of the predecessor may serve until then, and this sequencer does not know it.
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&grant(2, true), 900, 1_000);
    let seq = issue(&mut sequencer, "a", 1_100);
    assert_eq!(sequencer.fenced(1_000 + END_MS - 1), None);
    assert_eq!(sequencer.next_close_ms(1_100), Some(1_000 + END_MS));
    assert_eq!(sequencer.fenced(1_000 + END_MS), Some(seq));
}

#[test]
fn report_of_another_term_closes_nothing() {
    let mut sequencer = first();
    renew(&mut sequencer, &newcomer(1), 0);
    issue(&mut sequencer, "a", 10);
    sequencer.report(&request(1, 7, 1));
    assert_eq!(sequencer.fenced(20), Some(Seq(0)));
    assert!(renew(&mut sequencer, &request(1, 7, 1), 20).flush, "it flushes, and takes this term");
}

#[test]
fn replaced_sequencer_neither_grants_nor_fences_nor_serves() {
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    assert!(!sequencer.holds(0));
    let granted = Grant { lease_ms: 2_000, ..grant(1, false) };
    sequencer.granted(&granted, 100, 900);
    renew(&mut sequencer, &newcomer(1), 1_000);
    let load = sequencer.begin_load(1_000).expect("it is the sequencer");
    issue(&mut sequencer, "a", 1_000);
    // Stopped here, and awake again much later: all its holders have expired, but so has its own lease, counted from the send instant.
    let late_ms = 50_000;
    assert!(sequencer.holds(2_099) && !sequencer.holds(2_100));
    assert_eq!(sequencer.fenced(late_ms), None);
    assert_eq!(sequencer.issue(late_ms, Covered::key("a")), Err(Refusal::NotSequencer));
    assert_eq!(sequencer.answer(&newcomer(2), late_ms, late_ms), Err(Refusal::NotSequencer));
    assert_eq!(sequencer.begin_load(late_ms), Err(Refusal::NotSequencer));
    // The store still knows it as holder: it goes on in the same term, and keeps what it knew.
    sequencer.renewed(term(1), late_ms - 100);
    assert_eq!(sequencer.fenced(late_ms), Some(Seq(1)));
    assert!(!sequencer.may_keep(load, "a", &[]));
    assert!(sequencer.may_keep(load, "b", &[]));
    // The store gave the lease to another.
    sequencer.end(term(1));
    assert!(!sequencer.holds(late_ms) && sequencer.term().is_none());
    assert!(!sequencer.may_keep(load, "b", &[]));
}

#[test]
fn renewal_of_a_former_term_extends_nothing() {
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&Grant { lease_ms: 2_000, ..grant(2, true) }, 0, 0);
    sequencer.renewed(term(1), 10_000);
    assert_eq!(sequencer.lease_until_ms(), 2_000);
    sequencer.renewed(term(2), 500);
    sequencer.renewed(term(2), 400);
    assert_eq!(sequencer.lease_until_ms(), 2_500);
    sequencer.end(term(1));
    assert_eq!(sequencer.term(), Some(term(2)));
}

#[test]
fn log_up_to_the_granted_head_is_covered_by_the_restart_wait() {
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&Grant { head: Position(7), fenced_through: Position(4), ..grant(2, true) }, 0, 0);
    assert_eq!(sequencer.cursor(), Some(Position(7)));
    assert_eq!(sequencer.issue_logged(term(2), Position(7), Covered::key("a")), None, "covered by the start");
    assert_eq!(sequencer.fenced_position(END_MS - 1), None);
    assert_eq!(sequencer.fenced_position(END_MS), Some(Position(7)));
    assert_eq!(sequencer.fenced_position(END_MS), None, "said once");
}

#[test]
fn log_after_the_granted_head_is_sequenced_and_fenced() {
    // A gateway filled its cache after the grant and before this write: the write must wait for it.
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&Grant { head: Position(7), fenced_through: Position(7), ..grant(2, true) }, 0, 0);
    renew(&mut sequencer, &request(1, 1, 0), 1_900);
    let entry = sequencer.issue_logged(term(2), Position(9), Covered::key("a")).expect("later than the head");
    assert_eq!(entry.seq, Seq(1));
    assert_eq!(sequencer.issue_logged(term(2), Position(9), Covered::key("a")), None, "read twice, issued once");
    assert_eq!(sequencer.fenced_position(END_MS), None);
    sequencer.report(&request(1, 2, 1));
    assert_eq!(sequencer.fenced_position(END_MS), Some(Position(9)));
    sequencer.read_through(term(2), Position(20));
    assert_eq!(sequencer.cursor(), Some(Position(20)));
    assert_eq!(sequencer.fenced_position(END_MS), None, "other changes are nobody's invalidation");
}

#[test]
fn log_entry_is_not_lost_when_it_comes_after_the_own_lease() {
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&Grant { lease_ms: 100, ..grant(1, false) }, 0, 0);
    assert!(!sequencer.holds(200));
    assert!(sequencer.issue_logged(term(1), Position(1), Covered::key("a")).is_some());
    assert_eq!(sequencer.fenced_position(200), None);
    sequencer.renewed(term(1), 190);
    assert_eq!(sequencer.fenced_position(200), Some(Position(1)));
}

#[test]
fn load_is_kept_iff_nothing_since_covers_it() {
    let check = |covered: Covered, key: &str, tags: &[&str], kept: bool, joined: bool| {
        let mut sequencer = first();
        issue(&mut sequencer, key, 0);
        let load = sequencer.begin_load(0).expect("it is the sequencer");
        assert!(sequencer.may_keep(load, key, &[]), "what came before the load does not matter");
        sequencer.issue(0, covered).expect("it is the sequencer");
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        assert_eq!(sequencer.may_keep(load, key, &tags), kept);
        assert_eq!(sequencer.may_join(load, key), joined);
    };
    let tagged = || Covered { tags: vec!["t".to_owned()], ..Covered::default() };
    let prefixed = |prefix: &str| Covered { prefix: Some(prefix.to_owned()), ..Covered::default() };
    check(Covered::key("a"), "a", &[], false, false);
    check(Covered::key("b"), "a", &[], true, true);
    check(tagged(), "a", &["t"], false, false);
    check(tagged(), "a", &["u"], true, false);
    check(prefixed("user/"), "user/1", &[], false, false);
    check(prefixed("user/"), "users", &[], true, true);
    check(Covered { all: true, ..Covered::default() }, "a", &[], false, false);
}

#[test]
fn load_older_than_the_ring_is_not_kept_and_its_holder_flushes() {
    let mut sequencer =
        Sequencer::new(Settings { ring_names_max: 4, answer_names_max: 100, ..Settings::with_lease(LEASE_MS) });
    sequencer.granted(&grant(1, false), 0, 0);
    let load = sequencer.begin_load(0).expect("it is the sequencer");
    for key in ["b", "c"] {
        issue(&mut sequencer, key, 0);
    }
    assert!(sequencer.may_keep(load, "a", &[]));
    assert_eq!(renew(&mut sequencer, &request(1, 1, 0), 0).entries.len(), 2);
    issue(&mut sequencer, "d", 0);
    assert!(!sequencer.may_keep(load, "a", &[]));
    assert!(renew(&mut sequencer, &request(1, 1, 0), 0).flush);
    assert_eq!(renew(&mut sequencer, &request(1, 1, 1), 0).entries.len(), 2);
    let load = sequencer.begin_load(0).expect("it is the sequencer");
    issue(&mut sequencer, "a", 0);
    assert!(!sequencer.may_keep(load, "a", &[]), "the index follows the ring");
}

#[test]
fn holder_too_far_behind_is_told_to_flush() {
    let mut sequencer = Sequencer::new(Settings { answer_names_max: 5, ..Settings::with_lease(LEASE_MS) });
    sequencer.granted(&grant(1, false), 0, 0);
    for key in ["a", "b", "c"] {
        issue(&mut sequencer, key, 0);
    }
    assert!(renew(&mut sequencer, &request(1, 1, 0), 0).flush);
    assert_eq!(renew(&mut sequencer, &request(1, 1, 1), 0).entries.len(), 2);
    assert!(renew(&mut sequencer, &request(1, 1, 9), 0).flush, "it claims what was never issued");
}

#[test]
fn holders_are_bounded() {
    let mut sequencer = Sequencer::new(Settings { holders_max: 1, ..Settings::with_lease(LEASE_MS) });
    sequencer.granted(&grant(1, false), 0, 0);
    renew(&mut sequencer, &newcomer(1), 0);
    assert_eq!(sequencer.answer(&newcomer(2), 0, 0), Err(Refusal::TooManyHolders));
    assert!(sequencer.answer(&newcomer(1), 0, 0).is_ok());
    assert!(sequencer.answer(&newcomer(2), END_MS, END_MS).is_ok(), "those that ended make room");
}

#[test]
fn answers_without_end_are_remembered_in_bounds() {
    // A holder that reports nothing while every answer carries one more entry: deadlines may only become later.
    let mut sequencer = first();
    for now_ms in 0..1_000 {
        renew(&mut sequencer, &request(1, 1, 0), now_ms);
        issue(&mut sequencer, "a", now_ms);
    }
    assert_eq!(sequencer.fenced(END_MS - 1), Some(Seq(0)));
    let closed = sequencer.fenced(END_MS + 500).expect("the restart wait is over");
    assert!(closed <= Seq(501), "{closed}");
    assert_eq!(sequencer.fenced(999 + END_MS), Some(Seq(1_000)));
}
