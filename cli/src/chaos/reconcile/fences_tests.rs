//! Fences that closed too late, and a broker whose absence was noticed: the judge must find them, and excuse what nobody can help.

use protocol::envelope::Covered;

use super::*;
use crate::chaos::faults::{Fault, Link, Member};
use crate::chaos::history::{Fate, Phase};

fn at(at_ms: u64, event: Event) -> Entry {
    Entry { at_ms, event }
}

fn trial() -> Entry {
    at(0, Event::Trial { seed: 1, jobs: 1, seconds: 1, focus: Focus::Caches })
}

/// From 1,000 ms on, at this place.
fn invalidation(place: &str, took_ms: u64, status: u16) -> Entry {
    let (covered, place, told_us) = (Covered::key("k"), place.to_owned(), 1_000_000 + took_ms * 1_000);
    let fenced = status == 200;
    at(1_000 + took_ms, Event::Invalidated { covered, began_us: 1_000_000, told_us, at: place, status, fenced })
}

fn write(place: &str, took_ms: u64, fate: Fate) -> Entry {
    let (place, told_us) = (place.to_owned(), 1_000_000 + took_ms * 1_000);
    at(1_000 + took_ms, Event::Wrote { number: 1, began_us: 1_000_000, told_us, at: place, waited: true, fate })
}

fn fault(at_ms: u64, fault: Fault, phase: Phase, is_alone: bool) -> Entry {
    at(at_ms, Event::Fault { fault, phase, is_alone })
}

/// With this fault from 500 ms on, alone, until it is got over at 9,000 ms.
fn alone(broken: Fault, what: Entry) -> Vec<Entry> {
    let over = at(9_000, Event::Recovered { fault: broken, took_ms: 1, bound_ms: 2 });
    vec![trial(), fault(500, broken, Phase::Begins, true), what, over]
}

fn check(history: impl IntoIterator<Item = Entry>, broken: &[Promise], words: &str) -> Caches {
    let history: Vec<Entry> = history.into_iter().collect();
    let verdict = reconcile(&history);
    let found: Vec<Promise> = verdict.breaches.iter().map(|breach| breach.promise).collect();
    assert_eq!(found, broken, "{:#?}\n{history:#?}", verdict.breaches);
    assert!(verdict.breaches.iter().all(|breach| breach.detail.contains(words)), "{:#?}", verdict.breaches);
    verdict.caches
}

const LATE: &[Promise] = &[Promise::FencedInTime];

#[test]
fn fence_closes_in_time_while_nothing_is_broken() {
    check([trial(), invalidation("lb", 2_500, 200)], &[], "");
    check([trial(), invalidation("lb", 2_501, 200)], LATE, "was fenced after 2501 ms");
    check([trial(), invalidation("gateway-0", 10, 503)], LATE, "ended unfenced after 10 ms");
    let version = 3;
    check([trial(), write("lb", 2_500, Fate::Acknowledged { version })], &[], "");
    check([trial(), write("lb", 2_501, Fate::Acknowledged { version })], LATE, "a write at lb");
    check([trial(), write("lb", 10, Fate::Durable { version })], LATE, "a write at lb");
    check([trial(), write("lb", 10, Fate::Refused)], &[], "");
}

#[test]
fn fence_closes_in_time_while_a_gateway_or_the_broker_alone_is_broken() {
    for broken in [
        Fault::Kill(Member::Gateway1),
        Fault::Pause(Member::Gateway1),
        Fault::BrokerPaused,
        Fault::BlackHole(Link::CacheBroker),
    ] {
        check(alone(broken, invalidation("gateway-0", 2_500, 200)), &[], "");
        check(alone(broken, invalidation("gateway-0", 2_501, 200)), LATE, "an invalidation at gateway-0");
    }
    for broken in [
        Fault::Kill(Member::CacheSvc),
        Fault::Pause(Member::StoreSvc),
        Fault::Deaf(Link::GatewayCache),
        Fault::Slow(Link::CacheStore),
    ] {
        check(alone(broken, invalidation("gateway-0", 4_000, 200)), &[], "");
    }
}

#[test]
fn gateway_that_was_asked_is_excused_when_it_is_the_broken_one() {
    let (killed, stands) = (Fault::Kill(Member::Gateway1), Fault::Pause(Member::Gateway1));
    check(alone(killed, invalidation("gateway-1", 10, 0)), &[], "");
    check(alone(killed, invalidation("lb", 10, 502)), &[], "");
    check(alone(killed, invalidation("lb", 3_000, 200)), LATE, "at lb");
    let over = |at_ms| {
        let mut history = alone(killed, invalidation("gateway-1", 10, 0));
        history[1].at_ms = 100;
        history[3].at_ms = at_ms;
        history.sort_by_key(|entry| entry.at_ms);
        history
    };
    check(over(900), &[], "");
    check(alone(stands, invalidation("lb", 3_000, 200)), &[], "");
    check(alone(stands, invalidation("lb", 6_000, 503)), &[], "");
}

#[test]
fn answer_through_the_balancer_comes_within_5_s_whatever_is_broken() {
    let broken = Fault::Pause(Member::CacheSvc);
    check(alone(broken, invalidation("lb", 5_500, 503)), &[], "");
    check(alone(broken, invalidation("lb", 5_501, 503)), LATE, "was answered after 5501 ms");
    check(alone(broken, invalidation("gateway-0", 5_501, 503)), &[], "");
    let in_storm = |broken, took_ms| {
        vec![
            trial(),
            fault(500, broken, Phase::Begins, false),
            invalidation("lb", took_ms, 503),
            fault(9_000, broken, Phase::Healed, false),
            at(9_500, Event::Calm { took_ms: 1 }),
        ]
    };
    check(in_storm(broken, 5_500), &[], "");
    check(in_storm(broken, 5_501), LATE, "was answered after 5501 ms");
    check(in_storm(Fault::Pause(Member::Gateway0), 5_501), &[], "");
}

#[test]
fn times_are_told_apart_by_whether_anything_was_broken() {
    let quiet = vec![trial(), invalidation("lb", 3, 200), write("lb", 7, Fate::Acknowledged { version: 1 })];
    let caches = check(quiet, &[], "");
    assert_eq!(caches.quiet_invalidations, Times { count: 1, p50_us: 3_000, p99_us: 3_000, max_us: 3_000 });
    assert_eq!((caches.quiet_writes.max_us, caches.disturbed_writes.count), (7_000, 0));
    let disturbed = check(alone(Fault::Pause(Member::CacheSvc), invalidation("lb", 40, 200)), &[], "");
    assert_eq!((disturbed.quiet_invalidations.count, disturbed.disturbed_invalidations.max_us), (0, 40_000));
}

/// The broker is away from 1,000 ms to 5,000 ms.
fn without_broker(hits_at: &[&str], hit_ms: u64, acknowledged: bool) -> Vec<Entry> {
    let broken = Fault::BrokerKilled;
    let mut history = vec![
        trial(),
        fault(900, broken, Phase::Begins, true),
        fault(1_000, broken, Phase::Lasts, true),
        fault(5_000, broken, Phase::Heals, true),
        fault(5_100, broken, Phase::Healed, true),
        at(5_200, Event::Recovered { fault: broken, took_ms: 1, bound_ms: 2 }),
    ];
    history.extend(hits_at.iter().map(|&place| {
        let (key, place) = ("k".to_owned(), place.to_owned());
        let (began_us, told_us) = (hit_ms * 1_000, hit_ms * 1_000 + 500);
        at(
            hit_ms + 1,
            Event::Read { key, value: None, began_us, told_us, at: place, near: true, stale: false, owed: None },
        )
    }));
    if acknowledged {
        let (covered, place) = (Covered::key("k"), "lb".to_owned());
        let (began_us, told_us) = (4_000_000, 4_010_000);
        history
            .push(at(4_010, Event::Invalidated { covered, began_us, told_us, at: place, status: 200, fenced: true }));
    }
    history
}

#[test]
fn near_caches_serve_and_fences_close_to_the_end_of_the_brokers_absence() {
    let all = ["gateway-0", "gateway-1", "gateway-2"];
    let caches = check(without_broker(&all, 4_000, true), &[], "");
    assert_eq!((caches.near_hits_without_broker, caches.acknowledged_without_broker), (3, 1));
    let broken = &[Promise::WithoutBroker];
    check(without_broker(&all[..2], 4_000, true), broken, "the cache of gateway-2 answered nothing");
    check(without_broker(&all, 4_000, false), broken, "nothing was acknowledged");
    check(without_broker(&all, 2_000, true), &[Promise::WithoutBroker; 3], "answered nothing");
}
