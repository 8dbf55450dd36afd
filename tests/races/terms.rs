//! Beginnings: of a gateway, which fills its near cache before it has a lease (R8), and of a sequencer, which knows nothing of what its
//! predecessor granted, and may still be believed to be one when it is not (R16).

use protocol::envelope::Covered;
use protocol::ids::Position;
use protocol::invalidation::near::Taken;
use protocol::invalidation::sequencer::{Grant, Refusal, Sequencer, Settings};
use serde_json::json;

use crate::cores::{Cores, LEASE_MS, grant, term};
use crate::system::{LONG_LEASE_MS, System};

/// A gateway loads a key before its first renewal is answered; the key is invalidated, for which nobody waits, since it holds no lease;
/// then it gets one.
#[tokio::test]
async fn r08_what_was_loaded_before_the_first_lease_is_not_served_under_it() {
    let mut system = System::without_gateways(LONG_LEASE_MS).await;
    let held = system.cache.hold_questions("/renewals");
    system.start_gateway().await;
    system.change("a", 1);
    for _ in 0..2 {
        let told = system.get(0, "a").await;
        assert!(!told.is_near() && told.body["data"] == json!(1), "{told:?}");
    }
    system.change("a", 2);
    system.invalidate(json!({"keys": ["a"]})).await;
    held.release();
    system.near(0, "my_data").await;
    assert_eq!(system.data(0, "a").await, json!(2));
}

/// The sequencer is replaced by one that knows no holder, while a gateway that is cut off still has a lease of the first.
#[tokio::test]
async fn r16_fence_after_a_restart_waits_for_the_leases_of_the_predecessor() {
    let mut system = System::with(1, 3_000).await;
    system.change("a", 1);
    system.near(0, "a").await;
    system.broker.stop();
    let cut = [system.cache.hold_questions("/renewals"), system.cache.hold_answers("/renewals")];
    system.end_sequencer().await;
    system.replace_sequencer().await;
    system.change("a", 2);
    system.invalidate(json!({"keys": ["a"]})).await;
    assert_eq!(system.data(0, "a").await, json!(2), "the gateway's lease is not over, or its fence closed too soon");
    drop(cut);
    system.near(0, "a").await;
    assert_eq!(system.data(0, "a").await, json!(2));
}

/// The sequence begins again at the next sequencer: the same numbers, of other invalidations.
#[test]
fn r16_another_term_voids_everything_though_its_numbers_come_again() {
    let mut cores = Cores::new();
    cores.renew(0);
    cores.issue(Covered::key("a"), 10);
    cores.renew(10);
    let loaded = cores.generations.now();
    assert!(cores.serves(loaded, "a", 20));
    cores.sequencer.granted(&grant(2, true), 20, 20);
    let second = cores.issue(Covered::key("a"), 20);
    assert_eq!(Some(second.seq), Some(cores.gateway.applied()), "the number that the gateway has applied already");
    assert_eq!(cores.renew(30), Taken::Flushed);
    assert!(!cores.serves(loaded, "a", 30));
}

/// A sequencer stops; another one takes over; the first goes on, and a DELETE waits in its socket. All its holders have long ended.
#[test]
fn r16_replaced_sequencer_that_wakes_up_acknowledges_nothing() {
    let mut sequencer = Sequencer::new(Settings::with_lease(LEASE_MS));
    sequencer.granted(&Grant { lease_ms: 2_000, ..grant(1, false) }, 0, 100);
    let before = sequencer.issue(1_999, Covered::key("a")).expect("it is the sequencer");
    let late_ms = 60_000;
    assert_eq!(sequencer.issue(late_ms, Covered::key("a")), Err(Refusal::NotSequencer));
    assert_eq!(sequencer.fenced(late_ms), None, "nor what it had issued: {before:?}");
    assert_eq!(sequencer.begin_load(late_ms), Err(Refusal::NotSequencer));
    // The store's next answer says so: what it knew is void.
    sequencer.end(term(1));
    assert_eq!((sequencer.term(), sequencer.cursor()), (None, None));
}

/// A write is recorded after the grant and before the new sequencer reads the log. In between a gateway has filled its cache under a lease.
#[test]
fn r16_write_after_the_grant_is_not_taken_for_covered_by_it() {
    let mut cores = Cores::new();
    cores.sequencer.granted(&Grant { head: Position(7), fenced_through: Position(5), ..grant(2, true) }, 0, 0);
    let waited_ms = LEASE_MS + 40;
    cores.renew(waited_ms);
    let loaded = cores.generations.now();
    assert_eq!(cores.sequencer.fenced_position(waited_ms), Some(Position(7)), "what lay in the log at the grant");
    cores.sequencer.issue_logged(term(2), Position(8), Covered::key("a")).expect("later than the grant");
    assert!(cores.serves(loaded, "a", waited_ms));
    assert_eq!(cores.sequencer.fenced_position(waited_ms), None);
    cores.renew(waited_ms + 10);
    cores.renew(waited_ms + 20);
    assert!(!cores.serves(loaded, "a", waited_ms + 20));
    assert_eq!(cores.sequencer.fenced_position(waited_ms + 20), Some(Position(8)));
}
