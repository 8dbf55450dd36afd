//! What an acknowledgement stands on: the order inside one invalidation, of a write or a job (R3), leases of gateways that are cut off and
//! do not know it (R5), and writes whose invalidation was on its way when its sequencer died (R6).

use std::pin::pin;

use chassis::broker::Event;
use chassis::testing::wait_until;
use futures_util::poll;
use protocol::envelope::Covered;
use protocol::topology::CACHE_INVALIDATED;
use serde_json::json;

use crate::SOON;
use crate::cores::{Cores, LEASE_MS};
use crate::gate::Held;
use crate::system::{SHORT_LEASE_MS, System};

/// A write is in the store, and its invalidation not yet sequenced; then it is; then it is announced; then it is acknowledged.
#[tokio::test]
async fn r03_who_hears_of_an_invalidation_finds_nothing_older_in_the_shared_cache() {
    let system = System::start().await;
    system.change("a", 1);
    system.near(0, "a").await;
    let mut announcements = system.broker_client().subscribe(CACHE_INVALIDATED);
    assert_eq!(announcements.next().await, Event::Gap, "it is subscribed");
    let log = system.store.hold_answers("/log");
    let mut write = pin!(system.write("a", 2));
    let mut recorded = pin!(is_recorded(&system));
    tokio::select! {
        told = &mut write => panic!("acknowledged before it was sequenced: {told:?}"),
        () = &mut recorded => {}
    }
    assert_eq!(system.data(0, "a").await, json!(1), "until it is acknowledged either value may be read");
    assert!(poll!(&mut write).is_pending());
    let heard = async {
        log.release();
        let heard = tokio::time::timeout(SOON, announcements.next()).await.expect("it is announced");
        assert!(matches!(heard, Event::Message(_)), "{heard:?}");
        system.shared("a").await.0
    };
    let (told, shared) = tokio::join!(write, heard);
    assert_eq!((told.status, shared), (200, json!(2)));
    assert_eq!(system.data(0, "a").await, json!(2));
}

/// A job has changed the data that it declares, and its outcome is recorded. Its entry of the log is sequenced later, and the gateway, cut
/// off, holds the older value under its lease even then.
#[tokio::test]
async fn r03_job_that_invalidates_is_done_only_when_nobody_serves_the_older_value() {
    let system = System::with(1, SHORT_LEASE_MS).await;
    system.change("a", 1);
    system.near(0, "a").await;
    let submitted = system.post("/longtask", json!({"task": "t", "invalidates": ["a"]})).await;
    let job_id = submitted["job_id"].as_str().expect("an id");
    let taken = system.post("/leases", json!({"worker": "w", "tasks": ["t"]})).await;
    let lease = taken["leases"][0]["lease_id"].as_str().expect("a lease");
    let cut = black_hole(&system);
    let log = system.store.hold_answers("/log");
    system.change("a", 2);
    system.post(&format!("/leases/{lease}/complete"), json!({})).await;
    log.caught(1).await;
    assert_eq!(system.job_status(job_id).await, "running", "not even sequenced");
    log.release();
    wait_until(SOON, "the job is done", async || system.job_status(job_id).await == "succeeded").await;
    assert_eq!(system.data(0, "a").await, json!(2));
    drop(cut);
}

/// The gateway has written and asks for the fence.
async fn is_recorded(system: &System) {
    wait_until(SOON, "the write is recorded", async || system.store.asked("/fenced") > 0).await;
}

/// Neither renewals nor their answers arrive, and nobody is told.
fn black_hole(system: &System) -> [Held; 2] {
    system.broker.stop();
    [system.cache.hold_questions("/renewals"), system.cache.hold_answers("/renewals")]
}

/// A gateway is cut off and does not know it; its near cache has the key when it is invalidated.
#[tokio::test]
async fn r05_gateway_on_a_half_open_link_serves_nothing_after_its_lease() {
    let system = System::with(1, SHORT_LEASE_MS).await;
    system.change("a", 1);
    system.near(0, "a").await;
    let cut = black_hole(&system);
    system.change("a", 2);
    system.invalidate(json!({"keys": ["a"]})).await;
    for _ in 0..3 {
        let told = system.get(0, "a").await;
        assert!(!told.is_near() && told.body["data"] == json!(2), "{told:?}");
    }
    drop(cut);
    system.near(0, "a").await;
    assert_eq!(system.data(0, "a").await, json!(2));
}

/// An answer is on its way for almost a lease; an invalidation comes after it was written; the sequencer waits for the end of the lease
/// that it gave, counted from when it took the renewal.
#[test]
fn r05_lease_is_counted_from_when_its_renewal_was_sent() {
    let mut cores = Cores::new();
    cores.renew(0);
    let loaded = cores.generations.now();
    let renewal = cores.send(100);
    let answer = cores.answer(renewal, 110);
    let entry = cores.issue(Covered::key("a"), 120);
    cores.take(renewal, &answer, 2_000);
    assert!(cores.serves(loaded, "a", 2_000), "its lease has not ended yet");
    let closes_ms = (120..).find(|now_ms| cores.is_fenced(entry.seq, *now_ms)).expect("it closes");
    assert_eq!(closes_ms, 110 + LEASE_MS + 40);
    assert!(!cores.serves(loaded, "a", closes_ms), "acknowledged, and still served");
    assert!(cores.serves(loaded, "a", 100 + LEASE_MS - 1) && !cores.serves(loaded, "a", 100 + LEASE_MS));
}

/// Answers are lost one way: the gateway renews for ever and applies nothing. What it holds ends with the lease known at the issue.
#[test]
fn r05_renewals_that_report_nothing_do_not_hold_a_fence_open() {
    let mut cores = Cores::new();
    cores.renew(0);
    let entry = cores.issue(Covered::key("a"), 10);
    for now_ms in (100..LEASE_MS + 40).step_by(100) {
        let renewal = cores.send(now_ms);
        cores.answer(renewal, now_ms);
        assert!(!cores.is_fenced(entry.seq, now_ms), "at {now_ms}");
    }
    assert!(cores.is_fenced(entry.seq, LEASE_MS + 40));
}

/// A gateway is cut off while a load is under way. The fence closes by the end of its lease, so it has applied nothing: only that it has no
/// lease tells the next request that the load may be old.
#[tokio::test]
async fn r05_request_without_a_lease_joins_no_earlier_load() {
    let system = System::with(1, SHORT_LEASE_MS).await;
    system.change("a", 1);
    let _cut = black_hole(&system);
    let held = system.cache.hold_answers("/read/a");
    let overtaking = async {
        held.caught(1).await;
        system.change("a", 2);
        system.invalidate(json!({"keys": ["a"]})).await;
        held.let_others_pass();
        assert_eq!(system.data(0, "a").await, json!(2));
        assert_eq!(system.cache.asked("/read/a"), 2, "it has begun a load of its own");
        held.release();
    };
    tokio::join!(system.get(0, "a"), overtaking);
    assert_eq!(system.data(0, "a").await, json!(2));
}

/// The cache-svc dies when a write is in the store's log and not yet sequenced; nothing of it was ever announced.
#[tokio::test]
async fn r06_write_whose_sequencer_died_is_fenced_by_the_next_one() {
    let mut system = System::with(1, SHORT_LEASE_MS).await;
    system.change("a", 1);
    system.near(0, "a").await;
    system.broker.stop();
    let log = system.store.hold_answers("/log");
    let mut write = pin!(system.write("a", 2));
    tokio::select! {
        told = &mut write => panic!("acknowledged without a sequencer: {told:?}"),
        () = is_recorded(&system) => {}
    }
    system.end_sequencer().await;
    log.release();
    let (told, ()) = tokio::join!(write, system.replace_sequencer());
    assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)), "{told:?}");
    assert_eq!(system.data(0, "a").await, json!(2));
}
