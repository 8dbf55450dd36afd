//! The sequencer's lease: one at a time, given back at a drain, lost with the store, never by an exit.

use std::time::Duration;

use chassis::testing::wait_until;
use protocol::ids::Epoch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cache::{Holder, LEASE, MARGIN, SOON, TestCache};
use crate::store::ScriptedStore;

#[tokio::test]
async fn standby_does_nothing_of_a_sequencer() {
    let store = ScriptedStore::start().await;
    let _sequencer = TestCache::seated(&store).await;
    let standby = TestCache::start(&store, &[]).await;
    standby.stands_by().await;
    let check = |told: crate::cache::Told| assert_eq!((told.status, told.problem()), (503, "not-sequencer"));
    check(standby.get("/read/a").await);
    check(standby.get("/cache/a").await);
    check(standby.delete("/cache/a").await);
    check(standby.post("/cache/a", json!({"value": 1})).await);
    check(standby.post("/cache:invalidate", json!({"all": true})).await);
    check(standby.post("/renewals", Holder::new().request(0)).await);
    assert_eq!(standby.get("/live").await.status, 200, "and it does not exit for that");
    assert_eq!(store.inner().holding.epoch, Epoch(1), "nor does it take turns");
}

#[tokio::test]
async fn drained_sequencer_hands_over_at_once_and_its_holders_are_waited_for() {
    let store = ScriptedStore::start().await;
    let first = TestCache::seated(&store).await;
    let second = TestCache::start(&store, &[]).await;
    second.stands_by().await;
    let start = Instant::now();
    Holder::of(&first).await;
    first.drain().await;
    second.is_sequencer().await;
    assert_eq!(store.inner().holding.epoch, Epoch(2));
    // It knows no holder. The first one's may serve until the end of their leases.
    assert_eq!(second.delete("/cache/a").await.body["fenced"], json!(true));
    assert!(start.elapsed() >= LEASE + MARGIN, "{:?}", start.elapsed());
}

#[tokio::test]
async fn write_before_a_grant_is_fenced_by_the_restart_wait() {
    let store = ScriptedStore::start().await;
    let first = TestCache::seated(&store).await;
    first.drain().await;
    let position = store.write("a", "1");
    let second = TestCache::seated(&store).await;
    wait_until(SOON, "the write is fenced", async || store.inner().fenced_through == position).await;
    drop(second);
}

#[tokio::test]
async fn silent_sequencer_is_replaced_and_has_stopped_by_then() {
    let store = ScriptedStore::start().await;
    store.set(|inner| inner.lease_ms = 800);
    let silent = TestCache::seated(&store).await;
    let standby = TestCache::start(&store, &[]).await;
    standby.stands_by().await;
    store.set(|inner| inner.cut_off = inner.holding.holder);
    let replaced = async || {
        // In this order: what answers second began later.
        let taken_over = standby.get("/cache/any").await.status == 200;
        let acts = silent.get("/cache/any").await.status == 200;
        assert!(!(taken_over && acts), "two sequencers at a time");
        taken_over
    };
    wait_until(SOON, "the standby is sequencer", replaced).await;
    assert_eq!(store.inner().holding.epoch, Epoch(2));
    store.set(|inner| inner.cut_off = None);
    silent.stands_by().await;
    let told = silent.delete("/cache/a").await;
    assert_eq!((told.status, told.problem()), (503, "not-sequencer"), "though all its holders have ended");
}

#[tokio::test]
async fn sequencer_cut_off_from_the_store_stops_within_its_lease_and_goes_on_in_its_epoch() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let mut holder = Holder::of(&cache).await;
    let term = holder.term;
    store.change("a", "1");
    cache.read("a").await;
    store.set(|inner| inner.away = true);
    cache.stands_by().await;
    assert_eq!(cache.get("/read/a").await.problem(), "not-sequencer", "not even what it holds");
    assert_eq!(cache.post("/renewals", holder.request(0)).await.problem(), "not-sequencer");
    store.set(|inner| inner.away = false);
    cache.is_sequencer().await;
    let answer = holder.renew(&cache, 0).await;
    assert_eq!((Some(answer.term), answer.flush), (term, false), "nobody else was sequencer");
    assert_eq!(cache.read("a").await.1, "shared");
}

#[tokio::test]
async fn restored_store_flushes_everything_even_if_the_epoch_comes_again() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let mut holder = Holder::of(&cache).await;
    store.change("a", "1");
    cache.read("a").await;
    let before = holder.term.expect("it has its lease");
    store.restore();
    wait_until(SOON, "it is granted anew", async || store.inner().holding.epoch == Epoch(1)).await;
    cache.is_sequencer().await;
    let flushed = async || {
        let told = cache.post("/renewals", holder.request(0)).await;
        told.status == 200 && told.body["flush"] == json!(true)
    };
    wait_until(SOON, "the holder flushes", flushed).await;
    let after = holder.renew(&cache, 0).await.term;
    assert_eq!(after.epoch, before.epoch);
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(cache.get("/cache/a").await.body, json!({"value": Value::Null}));
}

#[tokio::test]
async fn fence_of_a_term_that_ended_is_not_acknowledged() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    Holder::of(&cache).await;
    let deleting = cache.delete("/cache/a");
    let ending = async {
        let told = async || cache.post("/renewals", Holder::new().request(0)).await.body["through"] == json!(1);
        wait_until(SOON, "it is sequenced", told).await;
        store.restore();
    };
    let (told, ()) = tokio::join!(deleting, ending);
    assert_eq!((told.status, told.problem()), (503, "not-sequencer"));
    tokio::time::timeout(Duration::from_secs(10), cache.is_sequencer()).await.expect("it goes on in a new term");
}
