//! For each rule a history in which it is broken, and one beside it in which it is just kept: the judge must tell one from the other.

use protocol::api::Status;
use protocol::envelope::Covered;

use super::super::*;
use crate::chaos::history::{Fate, Shown};

const KEY: &str = "hot-1-0";

fn at(at_ms: u64, event: Event) -> Entry {
    Entry { at_ms, event }
}

fn writes(at_ms: u64, number: u64, removes: bool) -> Entry {
    at(at_ms, Event::Writes { number, key: KEY.to_owned(), removes, began_us: at_ms * 1_000 })
}

fn wrote(at_ms: u64, number: u64, fate: Fate) -> Entry {
    at(at_ms, Event::Wrote { number, began_us: 0, told_us: at_ms * 1_000, at: "lb".to_owned(), waited: true, fate })
}

/// A write of this number and version from one instant to another.
fn written(from_ms: u64, until_ms: u64, number: u64, fate: Fate) -> [Entry; 2] {
    [writes(from_ms, number, false), wrote(until_ms, number, fate)]
}

fn acknowledged(version: u64) -> Fate {
    Fate::Acknowledged { version }
}

fn durable(version: u64) -> Fate {
    Fate::Durable { version }
}

/// A read that was answered 5 ms after its begin.
fn read(began_ms: u64, value: Option<u64>) -> Entry {
    read_as(began_ms, value, false, None)
}

fn read_as(began_ms: u64, value: Option<u64>, stale: bool, owed: Option<u64>) -> Entry {
    let (key, place) = (KEY.to_owned(), "gateway-1".to_owned());
    let (began_us, told_us) = (began_ms * 1_000, began_ms * 1_000 + 5_000);
    at(began_ms + 5, Event::Read { key, value, began_us, told_us, at: place, near: true, stale, owed })
}

fn voided(began_ms: u64, told_ms: u64, covered: Covered, status: u16) -> Entry {
    let (began_us, told_us, place) = (began_ms * 1_000, told_ms * 1_000, "lb".to_owned());
    at(told_ms, Event::Invalidated { covered, began_us, told_us, at: place, status, fenced: status == 200 })
}

fn check(history: impl IntoIterator<Item = Entry>, broken: &[Promise], words: &str) {
    let history: Vec<Entry> = history.into_iter().collect();
    let verdict = reconcile(&history);
    let found: Vec<Promise> = verdict.breaches.iter().map(|breach| breach.promise).collect();
    assert_eq!(found, broken, "{:#?}\n{history:#?}", verdict.breaches);
    assert!(verdict.breaches.iter().all(|breach| breach.detail.contains(words)), "{:#?}", verdict.breaches);
    let stale = broken.iter().filter(|promise| **promise == Promise::NoStaleRead).count();
    assert_eq!(verdict.counts.stale_reads, stale as u64);
}

/// Two writes, the second with this fate, told at 40 ms; then what follows.
fn after_two(second: Fate, then: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let two = written(10, 20, 1, acknowledged(7)).into_iter().chain(written(30, 40, 2, second));
    two.chain(then).collect()
}

const STALE: &[Promise] = &[Promise::NoStaleRead];

#[test]
fn read_that_begins_after_the_acknowledgement_shows_nothing_older() {
    check(after_two(acknowledged(8), [read(41, Some(2))]), &[], "");
    check(after_two(acknowledged(8), [read(40, Some(1))]), &[], "");
    check(after_two(acknowledged(8), [read(41, Some(1))]), STALE, "1000 us after version 8 had been acknowledged");
    check(after_two(acknowledged(8), [read(41, None)]), STALE, "nothing (version 0) was read");
}

#[test]
fn order_is_that_of_the_versions_not_that_of_the_answers() {
    check(after_two(acknowledged(6), [read(41, Some(1))]), &[], "");
    check(after_two(acknowledged(6), [read(41, Some(2))]), STALE, "after version 7");
}

#[test]
fn answer_that_says_that_it_is_stale_is_no_stale_read() {
    check(after_two(acknowledged(8), [read_as(41, Some(1), true, None)]), &[], "");
}

#[test]
fn unfenced_write_binds_nobody_until_an_invalidation_that_began_after_it_is_acknowledged() {
    check(after_two(durable(8), [read(90, Some(1))]), &[], "");
    let check_voided = |covered: Covered, began_ms, status, broken: &[Promise]| {
        check(after_two(durable(8), [voided(began_ms, 60, covered, status), read(61, Some(1))]), broken, "version 8");
    };
    check_voided(Covered::key(KEY), 41, 200, STALE);
    check_voided(Covered::key(KEY), 40, 200, &[]);
    check_voided(Covered::key(KEY), 41, 202, &[]);
    check_voided(Covered::key(KEY), 41, 503, &[]);
    check_voided(Covered::key("hot-2-0"), 41, 200, &[]);
    check_voided(Covered { prefix: Some("hot-".to_owned()), ..Covered::default() }, 41, 200, STALE);
    check_voided(Covered { all: true, ..Covered::default() }, 41, 200, STALE);
    check_voided(Covered { tags: vec![KEY.to_owned()], ..Covered::default() }, 41, 200, &[]);
}

#[test]
fn job_that_voids_binds_when_it_is_reported_to_have_succeeded() {
    let job = |submitted_ms, status, key: &str| {
        let task = "invalidating-9".to_owned();
        let (job_id, outcome) = ("j".to_owned(), String::new());
        let job = Shown { job_id: job_id.clone(), task, run: 1, status, crashes: 0, outcome };
        [
            at(submitted_ms, Event::Declares { number: 9, keys: vec![key.to_owned()] }),
            at(submitted_ms, Event::Submits { number: 9 }),
            at(50, Event::Accepted { number: 9, job_id }),
            at(60, Event::Seen { began_ms: 55, job: job.clone() }),
            read(61, Some(1)),
            at(90, Event::Stored(Shown { status: Status::Succeeded, ..job })),
        ]
    };
    check(after_two(durable(8), job(41, Status::Succeeded, KEY)), STALE, "1 us after version 8");
    check(after_two(durable(8), job(40, Status::Succeeded, KEY)), &[], "");
    check(after_two(durable(8), job(41, Status::Running, KEY)), &[], "");
    check(after_two(durable(8), job(41, Status::Succeeded, "hot-2-0")), &[], "");
}

#[test]
fn write_of_unknown_fate_may_happen_at_any_later_time() {
    let third = written(50, 60, 3, acknowledged(9));
    check(after_two(Fate::Unknown, third.clone().into_iter().chain([read(90, Some(2))])), &[], "");
    check(after_two(Fate::Unknown, third.into_iter().chain([read(90, Some(1))])), STALE, "after version 9");
    // It never came to its end.
    let open = written(10, 20, 1, acknowledged(7)).into_iter().chain([writes(30, 2, false), read(90, Some(2))]);
    check(open, &[], "");
}

#[test]
fn value_that_nobody_wrote_there_is_found() {
    check(after_two(Fate::Refused, [read(41, Some(2))]), STALE, "was never written there");
    check(after_two(durable(8), [read(41, Some(5))]), STALE, "was never written there");
    let from_the_future = [read(10, Some(1))].into_iter().chain(written(16, 20, 1, durable(7)));
    check(from_the_future, STALE, "was never written there");
    let elsewhere = at(1, Event::Writes { number: 5, key: "hot-2-0".to_owned(), removes: false, began_us: 1 });
    check([elsewhere, read(41, Some(5))], STALE, "was never written there");
}

#[test]
fn absence_is_a_value_too() {
    let removed = |fate, then: Vec<Entry>| {
        let first = written(10, 20, 1, acknowledged(7)).into_iter();
        first.chain([writes(30, 2, true), wrote(40, 2, fate)]).chain(then).collect::<Vec<_>>()
    };
    check(removed(acknowledged(8), vec![read(41, None)]), &[], "");
    check(removed(acknowledged(8), vec![read(41, Some(1))]), STALE, "after version 8");
    check(removed(Fate::Refused, vec![read(41, None)]), STALE, "nothing (version 0)");
    let third: Vec<Entry> = written(50, 60, 3, acknowledged(9)).into_iter().chain([read(61, None)]).collect();
    check(removed(Fate::Unknown, third.clone()), &[], "");
    check(removed(acknowledged(8), third), STALE, "nothing (version 8)");
}

#[test]
fn who_shows_a_token_reads_that_write_at_least() {
    let with_token = |value, stale, broken: &[Promise]| {
        let words = "with the token of version 8";
        check(after_two(durable(8), [read_as(41, Some(value), stale, Some(8))]), broken, words);
    };
    with_token(2, false, &[]);
    with_token(1, false, &[Promise::ReadYourWrites]);
    with_token(1, true, &[Promise::ReadYourWrites]);
    let only = written(10, 20, 1, durable(7)).into_iter();
    check(only.chain([read_as(41, None, false, Some(7))]), &[Promise::ReadYourWrites], "nothing (version 0)");
    check(after_two(Fate::Unknown, [read_as(41, Some(2), false, Some(7))]), &[], "");
}
