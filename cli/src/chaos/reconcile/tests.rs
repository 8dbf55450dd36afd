//! For each promise a history in which it is broken: the reconciler must find it, and nothing else.

use protocol::api::Status;

use super::*;
use crate::chaos::faults::{Fault, Member};
use crate::chaos::history::{Fate, Moment, Phase, Shown, Sign};

fn shown(job_id: &str, number: u64, status: Status) -> Shown {
    Shown {
        job_id: job_id.to_owned(),
        task: format!("noop-{number}"),
        run: 1,
        status,
        crashes: 0,
        outcome: String::new(),
    }
}

fn accepted(job_id: &str, number: u64) -> [Event; 2] {
    [Event::Submits { number }, Event::Accepted { number, job_id: job_id.to_owned() }]
}

fn seen(began_ms: u64, job: Shown) -> Event {
    Event::Seen { began_ms, job }
}

fn handler(job_id: &str, fence: u64, sign: Sign) -> Event {
    Event::Handler { job_id: job_id.to_owned(), run: 1, fence, sign }
}

fn wrote(number: u64, fate: Fate) -> Event {
    Event::Wrote { number, began_us: 150_000, told_us: 160_000, at: "lb".to_owned(), waited: true, fate }
}

fn done(job_id: &str, number: u64) -> Event {
    Event::Stored(shown(job_id, number, Status::Succeeded))
}

/// The events happen 10 ms after each other, from 10 ms on.
fn verdict(events: impl IntoIterator<Item = Event>) -> Verdict {
    let entries = (1..).zip(events).map(|(step, event)| Entry { at_ms: step * 10, event });
    reconcile(&entries.collect::<Vec<_>>())
}

fn check(events: impl IntoIterator<Item = Event>, broken: &[Promise], words: &str) -> Counts {
    let verdict = verdict(events);
    let found: Vec<Promise> = verdict.breaches.iter().map(|breach| breach.promise).collect();
    assert_eq!(found, broken, "{:#?}", verdict.breaches);
    assert!(verdict.breaches.iter().all(|breach| breach.detail.contains(words)), "{:#?}", verdict.breaches);
    verdict.counts
}

#[test]
fn whole_history_breaks_nothing() {
    let fault = Fault::Kill(Member::Worker0);
    let mut events = accepted("a", 1).to_vec();
    events.extend([
        handler("a", 1, Sign::Starts),
        Event::Fault { fault, phase: Phase::Begins, is_alone: true },
        handler("a", 1, Sign::Lives),
        Event::Submits { number: 2 },
        Event::Open { number: 2, why: "503".to_owned() },
        Event::Submits { number: 3 },
        Event::Refused { number: 3, status: 422 },
        handler("a", 2, Sign::Starts),
        Event::Fault { fault, phase: Phase::Healed, is_alone: true },
        handler("a", 2, Sign::Ends),
        Event::Recovered { fault, took_ms: 9_000, bound_ms: 10_000 },
        seen(101, Shown { outcome: r#"{"fence":2}"#.to_owned(), ..shown("a", 1, Status::Succeeded) }),
        Event::Writes { number: 1, key: "k".to_owned(), removes: false, began_us: 150_000 },
        wrote(1, Fate::Acknowledged { version: 1 }),
        Event::Read {
            key: "k".to_owned(),
            value: Some(1),
            began_us: 165_000,
            told_us: 170_000,
            at: "gateway-0".to_owned(),
            near: true,
            stale: false,
            owed: None,
        },
        Event::Healed,
        Event::Drained,
        Event::Stored(Shown { outcome: r#"{"fence":2}"#.to_owned(), ..shown("a", 1, Status::Succeeded) }),
        done("b", 2),
    ]);
    let counts = check(events, &[], "");
    let expected = Counts {
        submits: 3,
        accepted: 1,
        refused: 1,
        open: 1,
        terminal: 1,
        handlers_started: 2,
        reads: 1,
        near_hits: 1,
        drained_after_ms: 10,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn lost_and_unfinished_jobs_are_found() {
    let counts = check(accepted("a", 1), &[Promise::NothingLost], "was accepted and is not there");
    assert_eq!(counts.lost, 1);
    let running = Event::Stored(shown("a", 1, Status::Running));
    let counts = check(accepted("a", 1).into_iter().chain([running]), &[Promise::NothingLost], "has not ended");
    assert_eq!(counts.unfinished, 1);
    let retried = [Event::Retried { job_id: "a".to_owned(), run: 2 }, done("a", 1)];
    check(accepted("a", 1).into_iter().chain(retried), &[Promise::NothingLost], "run 2 of job a");
}

#[test]
fn unexpected_jobs_are_found() {
    let unexpected = |events: Vec<Event>, words: &str| {
        assert_eq!(check(events, &[Promise::HonestStatus], words).unexpected, 1);
    };
    unexpected(vec![done("x", 7)], "nobody submitted it");
    let refused = Event::Refused { number: 7, status: 422 };
    unexpected(vec![Event::Submits { number: 7 }, refused, done("x", 7)], "was refused");
    unexpected(vec![Event::Submits { number: 7 }, done("x", 7), done("y", 7)], "made another job");
    let [submits, told] = accepted("a", 1);
    let verdict = verdict([submits, told, done("a", 1), done("b", 1)]);
    assert_eq!(verdict.counts.unexpected, 1, "{verdict:?}");
}

#[test]
fn one_key_names_one_job() {
    let again = Event::Accepted { number: 1, job_id: "b".to_owned() };
    let verdict = verdict(accepted("a", 1).into_iter().chain([again, done("a", 1), done("b", 1)]));
    assert!(verdict.breaches[0].detail.contains("accepted as several jobs"), "{verdict:?}");
}

#[test]
fn second_outcome_is_found_and_a_late_answer_is_none() {
    let told = |began_ms, status, is_broken: bool| {
        let events = accepted("a", 1).into_iter().chain([
            seen(25, shown("a", 1, Status::Succeeded)),
            seen(began_ms, shown("a", 1, status)),
            done("a", 1),
        ]);
        let broken: &[Promise] = if is_broken { &[Promise::OneOutcome] } else { &[] };
        assert_eq!(check(events, broken, "was told as").outcomes_twice, u64::from(is_broken));
    };
    told(35, Status::Succeeded, false);
    told(25, Status::Running, false);
    told(35, Status::Running, true);
    told(25, Status::Failed, true);
}

#[test]
fn overlapping_owners_are_found_by_their_own_signs() {
    let events = |signs: Vec<Event>| accepted("a", 1).into_iter().chain(signs).chain([done("a", 1)]);
    let dead = vec![handler("a", 1, Sign::Starts), handler("a", 1, Sign::Lives), handler("a", 2, Sign::Starts)];
    check(events(dead), &[], "");
    let alive = vec![handler("a", 1, Sign::Starts), handler("a", 2, Sign::Starts), handler("a", 1, Sign::Lives)];
    assert_eq!(check(events(alive), &[Promise::OneOwner], "still lived").overlapping_owners, 1);
    let old = vec![handler("a", 2, Sign::Starts), handler("a", 1, Sign::Starts)];
    check(events(old), &[Promise::OneOwner], "did not grow");
}

#[test]
fn outcome_belongs_to_a_handler_that_ended_and_is_the_last_word() {
    let result = || Shown { outcome: r#"{"fence":1}"#.to_owned(), ..shown("a", 1, Status::Succeeded) };
    let events = |signs: Vec<Event>| accepted("a", 1).into_iter().chain(signs).chain([Event::Stored(result())]);
    check(events(vec![handler("a", 1, Sign::Starts), handler("a", 1, Sign::Ends)]), &[], "");
    check(events(vec![handler("a", 1, Sign::Starts)]), &[Promise::OneOutcome], "never ended");
    let late = vec![
        handler("a", 1, Sign::Starts),
        handler("a", 1, Sign::Ends),
        seen(35, result()),
        handler("a", 2, Sign::Starts),
    ];
    check(events(late), &[Promise::OneOutcome], "after the run's end was told");
}

#[test]
fn dishonest_answers_are_found() {
    let missing = Event::Missing { job_id: "a".to_owned(), status: 404 };
    check(accepted("a", 1).into_iter().chain([missing, done("a", 1)]), &[Promise::HonestStatus], "answered 404");
    let overload = |says_when| Event::Overload { path: "/longtask".to_owned(), status: 503, says_when };
    assert_eq!(check([overload(true)], &[], "").overloads, 1);
    check([overload(false)], &[Promise::HonestStatus], "without Retry-After");
}

#[test]
fn hanging_request_is_excused_by_a_program_that_is_asleep_only() {
    let hung = |fault| {
        [
            Event::Fault { fault, phase: Phase::Begins, is_alone: false },
            Event::Hung { path: "/data".to_owned(), began_ms: 5 },
            Event::Fault { fault, phase: Phase::Healed, is_alone: false },
        ]
    };
    check(hung(Fault::Pause(Member::Gateway1)), &[], "");
    check(hung(Fault::Kill(Member::StoreSvc)), &[Promise::HonestStatus], "no answer for");
}

#[test]
fn job_started_again_by_a_fault_of_the_broker_is_found() {
    let during = |fault, second_fence| {
        accepted("a", 1).into_iter().chain([
            handler("a", 1, Sign::Starts),
            Event::Fault { fault, phase: Phase::Begins, is_alone: true },
            handler("a", 1, Sign::Lives),
            handler("a", second_fence, Sign::Starts),
            Event::Recovered { fault, took_ms: 1, bound_ms: 2 },
            done("a", 1),
        ])
    };
    check(during(Fault::BrokerKilled, 2), &[Promise::BrokerRestartsNothing], "was started again under 2");
    check(during(Fault::Kill(Member::Worker1), 2), &[], "");
}

#[test]
fn growth_and_panics_are_found() {
    let uses = |moment, resident_bytes, open_files, threads| Event::Usage {
        program: "lb".to_owned(),
        moment,
        resident_bytes,
        open_files,
        threads,
    };
    let usage = |moment, open_files, threads| uses(moment, 0, open_files, threads);
    let storms = |last: u64| [uses(Moment::FirstStorm, 100 << 20, 20, 4), uses(Moment::LastStorm, last << 20, 20, 4)];
    check(storms(110), &[], "");
    check(storms(111), &[Promise::Bounded], "100 MiB after the first storm and 111 MiB after the last");
    // One that was killed in the first storm is small afterwards; that the others grow is no less seen.
    let gateways = |moment, each: [u64; 3]| {
        ["gateway-0", "gateway-1", "gateway-2"].into_iter().zip(each).map(move |(program, mib)| Event::Usage {
            program: program.to_owned(),
            moment,
            resident_bytes: mib << 20,
            open_files: 20,
            threads: 4,
        })
    };
    let three = |last| gateways(Moment::FirstStorm, [13, 20, 14]).chain(gateways(Moment::LastStorm, last));
    check(three([20, 13, 22]), &[], "");
    check(three([20, 24, 23]), &[Promise::Bounded], "60 MiB after the first storm and 67 MiB after the last");
    check([usage(Moment::Before, 20, 4), usage(Moment::After, 40, 8)], &[], "");
    check([usage(Moment::Before, 20, 4), usage(Moment::After, 400, 8)], &[Promise::Bounded], "open files");
    check([usage(Moment::Before, 20, 4), usage(Moment::After, 20, 80)], &[Promise::Bounded], "threads");
    let panicked = Event::Panicked { program: "lb".to_owned(), line: "panicked at x".to_owned() };
    check([panicked], &[Promise::Bounded], "lb panicked");
}

#[test]
fn late_recoveries_are_found() {
    let fault = Fault::Kill(Member::Gateway0);
    check([Event::Recovered { fault, took_ms: 7, bound_ms: 7 }], &[], "");
    check([Event::Recovered { fault, took_ms: 8, bound_ms: 7 }], &[Promise::Recovery], "got over after 8 ms");
    check([Event::Calm { took_ms: 60_000 }], &[], "");
    check([Event::Calm { took_ms: 60_001 }], &[Promise::Recovery], "a storm: got over after 60001 ms");
    check([Event::NotCalm { why: "job x is queued".to_owned() }], &[Promise::Recovery], "a storm: not got over");
    let never = Event::NotRecovered { fault, within_ms: 7, why: "job x is queued".to_owned() };
    check([never], &[Promise::Recovery], "job x is queued");
    let failed = |fault| {
        [
            Event::Fault { fault, phase: Phase::Begins, is_alone: true },
            Event::ReadFailed { began_ms: 15, why: "502".to_owned() },
            Event::Recovered { fault, took_ms: 1, bound_ms: 2 },
        ]
    };
    check(failed(fault), &[Promise::Recovery], "a GET failed");
    check(failed(Fault::Kill(Member::Lb)), &[], "");
    let drained = |at_ms| [Entry { at_ms: 0, event: Event::Healed }, Entry { at_ms, event: Event::Drained }];
    assert_eq!(reconcile(&drained(60_000)).breaches, []);
    let breaches = reconcile(&drained(60_001)).breaches;
    assert!(breaches[0].detail.contains("60001 ms after healing"), "{breaches:?}");
}
