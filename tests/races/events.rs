//! Announcements that are lost (R4), come in another order, twice or from another term (R7), would be too many (R13), or wait behind a slow
//! consumer (R14). They only make invalidations fast: what counts is the renewal.

use chassis::broker::Event;
use protocol::envelope::{Covered, Invalidated};
use protocol::ids::Seq;
use protocol::invalidation::near::Taken;
use protocol::invalidation::sequencer::Settings;
use protocol::topology::CACHE_INVALIDATED;
use serde_json::json;

use crate::SOON;
use crate::cores::{Cores, LEASE_MS};
use crate::system::System;

/// The broker is away, and with it the gateways' subscriptions: what is announced meanwhile never comes.
#[tokio::test]
async fn r04_announcement_lost_in_an_outage_leaves_no_old_value() {
    let system = System::start().await;
    system.change("a", 1);
    system.near(0, "a").await;
    system.broker.stop();
    for value in 2..5 {
        system.put("a", value).await;
        assert_eq!(system.data(0, "a").await, json!(value));
        system.near(0, "a").await;
    }
    system.broker.start();
    assert_eq!(system.data(0, "a").await, json!(4));
    system.put("a", 5).await;
    assert_eq!(system.data(0, "a").await, json!(5));
}

/// Event 1 is lost; 2 comes, and comes again; then one of another epoch with a larger number.
#[test]
fn r07_events_in_any_order_void_no_less_and_are_not_taken_for_applied() {
    let mut cores = Cores::new();
    cores.renew(0);
    let loaded = cores.generations.now();
    let first = cores.issue(Covered::key("a"), 10);
    let second = cores.issue(Covered::key("b"), 10);
    for _ in 0..2 {
        assert!(cores.hear(1, &second));
        assert!(cores.serves(loaded, "a", 10) && !cores.serves(loaded, "b", 10));
    }
    let reloaded = cores.generations.now();
    for epoch in [0, 2, 9] {
        assert!(!cores.hear(epoch, &second), "a clock or an epoch of somebody else orders nothing");
    }
    assert!(cores.serves(reloaded, "b", 10));
    let renewal = cores.send(20);
    assert_eq!(renewal.request.applied, Seq(0));
    let answer = cores.answer(renewal, 20);
    assert!(!cores.is_fenced(first.seq, 20), "the gateway serves the older value of a");
    assert_eq!(cores.take(renewal, &answer, 20), Taken::Applied { entries: 2 });
    assert!(!cores.serves(loaded, "a", 20));
    assert_eq!(cores.take(renewal, &answer, 20), Taken::Abandoned, "an answer that comes twice counts once");
    cores.renew(30);
    assert!(cores.is_fenced(second.seq, 30));
}

/// Reads that miss everywhere fill both caches; then one key is invalidated.
#[tokio::test]
async fn r13_fills_announce_nothing() {
    let system = System::start().await;
    let mut announcements = system.broker_client().subscribe(CACHE_INVALIDATED);
    assert_eq!(announcements.next().await, Event::Gap, "it is subscribed");
    for key in ["a", "b", "c", "absent"] {
        if key != "absent" {
            system.change(key, 1);
        }
        for _ in 0..3 {
            system.get(0, key).await;
        }
    }
    assert_eq!(system.invalidate(json!({"keys": ["a"]})).await.body["seq"], json!(1));
    let heard = tokio::time::timeout(SOON, announcements.next()).await.expect("it is announced");
    let Event::Message(body) = heard else { panic!("nothing was lost") };
    let event = Invalidated::decode(&body).expect("an event");
    assert_eq!((event.seq, event.covered), (Seq(1), Covered::key("a")), "the first that was announced at all");
}

/// More is invalidated between two renewals than an answer names.
#[test]
fn r13_too_many_invalidations_collapse_into_one_flush() {
    let mut cores = Cores::set_to(Settings { answer_names_max: 2, ..Settings::with_lease(LEASE_MS) });
    cores.renew(0);
    let loaded = cores.generations.now();
    let mut last = Seq(0);
    for key in ["a", "b", "c"] {
        last = cores.issue(Covered::key(key), 10).seq;
    }
    let renewal = cores.send(20);
    let answer = cores.answer(renewal, 20);
    assert!(answer.flush && answer.entries.is_empty());
    assert_eq!(cores.take(renewal, &answer, 20), Taken::Flushed);
    for key in ["a", "b", "c", "other"] {
        assert!(!cores.serves(loaded, key, 20));
    }
    assert!(!cores.is_fenced(last, 20), "it has not reported yet");
    cores.renew(30);
    assert!(cores.is_fenced(last, 30));
}

/// The same from outside: a gateway that hears nothing while 5,000 keys are invalidated.
#[tokio::test]
async fn r13_gateway_far_behind_serves_nothing_old() {
    let system = System::start().await;
    for key in ["a", "b"] {
        system.change(key, 1);
        system.near(0, key).await;
    }
    system.broker.stop();
    let held = [system.cache.hold_questions("/renewals"), system.cache.hold_answers("/renewals")];
    system.change("a", 2);
    system.invalidate_unfenced(json!({"keys": ["a"]})).await;
    let keys: Vec<String> = (0..1_000).map(|number| format!("key-{number}")).collect();
    for _ in 0..5 {
        system.invalidate_unfenced(json!({ "keys": keys })).await;
    }
    drop(held);
    system.invalidate(json!({"keys": ["other"]})).await;
    assert_eq!(system.data(0, "a").await, json!(2), "its fence closed with that of the later one");
}

/// The gateway's queue drops its oldest announcements: of three only the last one comes.
#[test]
fn r14_renewal_covers_what_a_slow_consumer_lost() {
    let mut cores = Cores::new();
    cores.renew(0);
    let loaded = cores.generations.now();
    let entries = ["a", "b", "c"].map(|key| cores.issue(Covered::key(key), 10));
    let [first, _, last] = &entries;
    assert!(cores.hear(1, last));
    assert!(cores.serves(loaded, "a", 10), "not acknowledged yet");
    assert!(!cores.is_fenced(first.seq, 10), "and not before the gateway has said that it applied it");
    assert_eq!(cores.renew(20), Taken::Applied { entries: 3 });
    for key in ["a", "b", "c"] {
        assert!(!cores.serves(loaded, key, 20));
    }
    cores.renew(30);
    assert!(cores.is_fenced(last.seq, 30));
}
