//! Fences: closed by reports or by the end of leases, for invalidations over HTTP and for writes in the store's log.

use std::time::Duration;

use chassis::testing::wait_until;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::time::Instant;

use crate::cache::{Holder, LEASE, MARGIN, SOON, TestCache};
use crate::store::ScriptedStore;

#[tokio::test]
async fn delete_is_fenced_at_once_without_holders() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let told = cache.delete("/cache/my_data").await;
    assert_eq!((told.status, told.body), (200, json!({"status": "deleted", "seq": 1, "fenced": true})));
}

#[tokio::test]
async fn delete_is_fenced_when_the_holder_has_applied_it() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let mut holder = Holder::of(&cache).await;
    let start = Instant::now();
    let renewing = async {
        let answer = holder.renew(&cache, 500).await;
        let keys: Vec<_> = answer.entries.iter().flat_map(|entry| &entry.covered.keys).collect();
        assert_eq!(keys, ["my_data"], "it waits for news, and is told");
        holder.renew(&cache, 0).await;
    };
    let (told, ()) = tokio::join!(cache.delete("/cache/my_data"), renewing);
    assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)));
    assert!(start.elapsed() < LEASE, "the report closes it, not the end of the lease");
}

#[tokio::test]
async fn delete_waits_for_the_lease_of_a_silent_holder_and_no_longer() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let before = Instant::now();
    Holder::of(&cache).await;
    let told = cache.delete("/cache/my_data").await;
    assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)));
    assert!(before.elapsed() >= LEASE + MARGIN, "{:?}", before.elapsed());
}

#[tokio::test]
async fn gateway_that_leaves_is_not_waited_for() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    Holder::of(&cache).await.leave(&cache).await;
    let start = Instant::now();
    assert_eq!(cache.delete("/cache/my_data").await.status, 200);
    assert!(start.elapsed() < LEASE);
}

#[tokio::test]
async fn unfenced_answer_comes_at_once() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    Holder::of(&cache).await;
    let start = Instant::now();
    let told = cache.delete("/cache/my_data?wait=0").await;
    assert_eq!((told.status, &told.body["fenced"]), (202, &json!(false)));
    assert!(start.elapsed() < LEASE);
}

#[tokio::test]
async fn logged_write_is_posted_when_every_holder_has_applied_it() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let mut holder = Holder::of(&cache).await;
    let position = store.write("my_data", "1");
    while holder.renew(&cache, 500).await.entries.is_empty() {}
    assert!(store.inner().fenced_through < position, "telling is not applying");
    holder.renew(&cache, 0).await;
    wait_until(SOON, "the fence is posted", async || store.inner().fenced_through == position).await;
}

#[tokio::test]
async fn other_changes_in_the_log_cost_no_post() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    for _ in 0..5 {
        store.go_on();
    }
    let position = store.write("my_data", "1");
    wait_until(SOON, "the fence is posted", async || store.inner().fenced_through == position).await;
    assert_eq!(store.inner().posts, 1);
    drop(cache);
}

#[tokio::test]
async fn slow_post_holds_up_no_other_fence() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    store.set(|inner| inner.slow_posts = true);
    let position = store.write("a", "1");
    // Sequenced after the write: its own fence closes though the write's post hangs.
    wait_until(SOON, "the write is sequenced", async || cache.delete("/cache/b?wait=0").await.body["seq"] != json!(1))
        .await;
    let start = Instant::now();
    assert_eq!(cache.delete("/cache/b").await.status, 200);
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    store.set(|inner| inner.slow_posts = false);
    wait_until(SOON, "the fence is posted", async || store.inner().fenced_through == position).await;
}

#[tokio::test]
async fn waiting_fences_are_bounded_and_hold_up_no_renewal() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::start(&store, &[("LONGSHORE_FENCES_MAX", "2")]).await;
    cache.is_sequencer().await;
    let mut holder = Holder::of(&cache).await;
    let mut deletes: FuturesUnordered<_> =
        ["/cache/a", "/cache/b", "/cache/c"].map(|key| cache.delete(key)).into_iter().collect();
    let refused = deletes.next().await.expect("one has no place to wait");
    assert_eq!((refused.status, refused.problem()), (503, "unavailable"));
    holder.renew(&cache, 0).await;
    holder.renew(&cache, 0).await;
    while let Some(told) = deletes.next().await {
        assert_eq!(told.status, 200, "a renewal needs no place: {told:?}");
    }
}

#[tokio::test]
async fn holder_too_far_behind_flushes() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let mut holder = Holder::of(&cache).await;
    let keys: Vec<String> = (0..1_000).map(|number| format!("key-{number}")).collect();
    for _ in 0..5 {
        assert_eq!(cache.post("/cache:invalidate?wait=0", json!({ "keys": keys })).await.status, 202);
    }
    let answer = holder.renew(&cache, 0).await;
    assert!(answer.flush && answer.entries.is_empty());
    assert!(!holder.renew(&cache, 0).await.flush);
}
