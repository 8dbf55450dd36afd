//! A client's own writes (R15), read by the token that they returned while no cache has heard of them.

use serde_json::json;

use crate::system::{LONG_LEASE_MS, System};

/// 1 is held everywhere; 2 is written, and its entry of the log does not come to the sequencer. Others go on with 1, the writer gets 2.
#[tokio::test]
async fn r15_writer_reads_its_own_write_before_any_cache_has_heard_of_it() {
    let system = System::with(2, LONG_LEASE_MS).await;
    system.put("a", 1).await;
    for gateway in 0..2 {
        system.near(gateway, "a").await;
    }
    let held = system.store.hold_answers("/log");
    let token = system.write_unfenced("a", 2).await;
    held.caught(1).await;
    assert_eq!(system.data(1, "a").await, json!(1), "nobody has heard of it, and it is not acknowledged");
    for gateway in 0..2 {
        assert_eq!(system.data_for(gateway, "a", &token).await, json!(2));
    }
    assert_eq!(system.data(1, "a").await, json!(2), "and nobody gets the older one again");
    held.release();
}

/// A load has read 1 and is under way when 2 is written; the writer's read joins it, and is not answered with what it brings.
#[tokio::test]
async fn r15_load_that_began_before_a_write_does_not_answer_its_writer() {
    let system = System::start().await;
    system.put("a", 1).await;
    let (log, load) = (system.store.hold_answers("/log"), system.store.hold_answers("/data/a"));
    let writing = async {
        load.caught(1).await;
        let token = system.write_unfenced("a", 2).await;
        let own = system.data_for(0, "a", &token);
        let releasing = async { load.release() };
        tokio::join!(own, releasing).0
    };
    let (old, own) = tokio::join!(system.data(0, "a"), writing);
    assert_eq!((old, own), (json!(1), json!(2)));
    log.release();
}
