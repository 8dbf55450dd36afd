//! Reads through the shared cache: one load at a time, nothing kept that an invalidation overtook, exact voiding, overrides, refusals.

use chassis::testing::wait_until;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cache::{SOON, TestCache};
use crate::store::ScriptedStore;

async fn seated() -> (ScriptedStore, TestCache) {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    (store, cache)
}

fn from(source: &str, value: Value) -> (Value, String) {
    (value, source.to_owned())
}

#[tokio::test]
async fn loaded_value_is_held_until_it_is_invalidated() {
    let (store, cache) = seated().await;
    store.change("a", "{\"n\": 1}");
    assert_eq!(cache.read("a").await, from("store", json!({"n": 1})));
    store.change("a", "2");
    assert_eq!(cache.read("a").await, from("shared", json!({"n": 1})));
    assert_eq!(cache.delete("/cache/a").await.status, 200);
    assert_eq!(cache.read("a").await, from("store", json!(2)));
    assert_eq!(cache.read("a").await, from("shared", json!(2)), "an invalidated key is cached again");
    assert_eq!(store.loads("a"), 2);
}

#[tokio::test]
async fn absence_and_null_are_held_and_told_apart() {
    let (store, cache) = seated().await;
    store.change("null", "null");
    for (key, found) in [("null", true), ("absent", false)] {
        for source in ["store", "shared"] {
            let told = cache.get(&format!("/read/{key}")).await;
            assert_eq!((told.status, &told.body["found"], &told.body["source"]), (200, &json!(found), &json!(source)));
        }
    }
}

#[tokio::test]
async fn many_readers_share_one_load() {
    let (store, cache) = seated().await;
    store.change("a", "1");
    store.set(|inner| inner.slow_loads = true);
    let readers = join_all((0..20).map(|_| cache.read("a")));
    let release = async {
        wait_until(SOON, "the load is under way", async || store.loads("a") > 0).await;
        store.set(|inner| inner.slow_loads = false);
    };
    let (values, ()) = tokio::join!(readers, release);
    assert!(values.iter().all(|(value, _)| *value == json!(1)));
    assert!(values.iter().any(|(_, source)| source == "store"));
    assert_eq!(store.loads("a"), 1);
}

#[tokio::test]
async fn load_that_an_invalidation_overtook_is_neither_joined_nor_kept() {
    let (store, cache) = seated().await;
    store.change("a", "\"old\"");
    store.set(|inner| inner.slow_loads = true);
    let overtaking = async {
        wait_until(SOON, "the old load is under way", async || store.loads("a") == 1).await;
        store.change("a", "\"new\"");
        assert_eq!(cache.delete("/cache/a").await.body["fenced"], json!(true));
        // After the acknowledgement: it must not get what the old load brings.
        let release = async {
            wait_until(SOON, "a second load is under way", async || store.loads("a") == 2).await;
            store.set(|inner| inner.slow_loads = false);
        };
        tokio::join!(cache.read("a"), release).0
    };
    let (old, new) = tokio::join!(cache.read("a"), overtaking);
    assert_eq!(old, from("store", json!("old")), "it began before");
    assert_eq!(new, from("store", json!("new")));
    assert_eq!(cache.read("a").await, from("shared", json!("new")));
}

#[tokio::test]
async fn load_that_a_logged_write_overtook_is_not_kept() {
    let (store, cache) = seated().await;
    store.change("a", "\"old\"");
    store.set(|inner| inner.slow_loads = true);
    let overtaking = async {
        wait_until(SOON, "the load is under way", async || store.loads("a") == 1).await;
        let position = store.write("a", "\"new\"");
        wait_until(SOON, "the write is fenced", async || store.inner().fenced_through == position).await;
        store.set(|inner| inner.slow_loads = false);
    };
    let (old, ()) = tokio::join!(cache.read("a"), overtaking);
    assert_eq!(old, from("store", json!("old")));
    assert_eq!(cache.read("a").await, from("store", json!("new")));
}

#[tokio::test]
async fn invalidation_voids_exactly_what_it_covers() {
    let (store, cache) = seated().await;
    let held = async |keys: &[&str]| {
        let mut held = Vec::new();
        for &key in keys {
            if cache.get(&format!("/cache/{key}")).await.body["value"] != Value::Null {
                held.push(key.to_owned());
            }
        }
        held
    };
    let keys = ["user:1", "user:2", "users", "other"];
    store.tag("user:1", &["person", "first"]);
    store.tag("user:2", &["person"]);
    let check = async |form: Value, left: &[&str]| {
        for key in keys {
            store.change(key, "1");
            cache.read(key).await;
        }
        let told = cache.post("/cache:invalidate", form.clone()).await;
        assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)), "{form}");
        assert_eq!(held(&keys).await, left, "{form}");
    };
    check(json!({"keys": ["user:1", "other"]}), &["user:2", "users"]).await;
    check(json!({"prefix": "user:"}), &["users", "other"]).await;
    check(json!({"tags": ["nobody"]}), &keys).await;
    check(json!({"tags": ["person"]}), &["users", "other"]).await;
    check(json!({"all": true}), &[]).await;
}

#[tokio::test]
async fn override_is_held_until_the_next_invalidation() {
    let (store, cache) = seated().await;
    store.change("a", "1");
    assert_eq!(cache.get("/cache/a").await.body, json!({"value": null}), "looking loads nothing");
    assert_eq!(store.loads("a"), 0);
    assert_eq!(cache.read("a").await, from("store", json!(1)));
    let told = cache.post("/cache/a", json!({"value": {"by": "hand"}})).await;
    assert_eq!((told.status, &told.body["status"]), (200, &json!("ok")));
    assert_eq!(cache.get("/cache/a").await.body, json!({"value": {"by": "hand"}}));
    assert_eq!(cache.read("a").await, from("shared", json!({"by": "hand"})));
    let told = cache.delete("/cache/a").await;
    assert_eq!(told.body["status"], json!("deleted"));
    assert_eq!(cache.get("/cache/a").await.body, json!({"value": null}));
}

#[tokio::test]
async fn override_is_not_overwritten_by_a_load_that_began_before_it() {
    let (store, cache) = seated().await;
    store.change("a", "1");
    store.set(|inner| inner.slow_loads = true);
    let overriding = async {
        wait_until(SOON, "the load is under way", async || store.loads("a") == 1).await;
        assert_eq!(cache.post("/cache/a", json!({"value": 2})).await.status, 200);
        store.set(|inner| inner.slow_loads = false);
    };
    let (loaded, ()) = tokio::join!(cache.read("a"), overriding);
    assert_eq!(loaded, from("store", json!(1)), "it began before");
    assert_eq!(cache.read("a").await, from("shared", json!(2)));
}

#[tokio::test]
async fn bad_requests_are_named() {
    let (_store, cache) = seated().await;
    let long = "x".repeat(257);
    let check = async |told: crate::cache::Told, status: u16, problem: &str| {
        assert_eq!((told.status, told.problem()), (status, problem), "{told:?}");
    };
    check(cache.delete(&format!("/cache/{long}")).await, 422, "invalid").await;
    check(cache.delete("/cache/a?wait=7").await, 422, "invalid").await;
    check(cache.post("/cache:invalidate", json!({})).await, 422, "invalid").await;
    check(cache.post("/cache:invalidate", json!({"keys": [""]})).await, 422, "invalid").await;
    check(cache.post("/cache:invalidate", json!({"key": "a"})).await, 422, "invalid").await;
    check(cache.post("/cache/a", json!({"data": 1})).await, 422, "invalid").await;
    check(cache.get("/cache").await, 404, "not-found").await;
}

#[tokio::test]
async fn store_that_is_away_is_said_and_not_remembered() {
    let (store, cache) = seated().await;
    store.change("a", "1");
    store.set(|inner| inner.away = true);
    let told = cache.get("/read/a").await;
    assert_eq!(told.status, 503, "{told:?}");
    store.set(|inner| inner.away = false);
    cache.is_sequencer().await;
    assert_eq!(cache.read("a").await, from("store", json!(1)));
}

/// 1 is being loaded when 2 is written, which the sequencer does not know yet; a reader who must have 2 joins, and then the load ends. Gives what
/// both got.
async fn written_during_a_load(store: &ScriptedStore, cache: &TestCache) -> (Value, Value) {
    store.write("a", "1");
    store.set(|inner| inner.slow_loads = true);
    let begun = store.loads("a");
    let writing = async {
        wait_until(SOON, "the old load is under way", async || store.loads("a") == begun + 1).await;
        store.change("a", "2");
        store.go_on();
        let path = format!("/read/a?at_least={}", store.place());
        let own = cache.get(&path);
        // It joins the old load first; when that has brought too little, it makes one of its own.
        let release = async { store.set(|inner| inner.slow_loads = false) };
        tokio::join!(own, release).0
    };
    let ((old, _), own) = tokio::join!(cache.read("a"), writing);
    assert_eq!((own.status, &own.body["source"]), (200, &json!("store")));
    (old, own.body["data"].clone())
}

#[tokio::test]
async fn read_that_must_be_as_new_as_a_write_passes_what_is_held_and_what_is_loaded() {
    let (store, cache) = seated().await;
    assert_eq!(written_during_a_load(&store, &cache).await, (json!(1), json!(2)));
    let at_least = async |place: String| cache.get(&format!("/read/a?at_least={place}")).await;
    let told = at_least(store.place().to_string()).await;
    assert_eq!((told.status, &told.body["data"], &told.body["source"]), (200, &json!(2), &json!("shared")));
    let mut beyond = store.place();
    beyond.position = beyond.position.next();
    assert_eq!(at_least(beyond.to_string()).await.status, 503, "rather than an older value");
    assert_eq!(at_least("x".to_owned()).await.problem(), "invalid");
}

#[tokio::test]
async fn older_load_does_not_replace_a_newer_one() {
    let (store, cache) = seated().await;
    assert_eq!(written_during_a_load(&store, &cache).await.1, json!(2));
    assert_eq!(cache.read("a").await, from("shared", json!(2)));
}

#[tokio::test]
async fn loads_at_once_are_bounded_and_the_others_wait() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::start(&store, &[("LONGSHORE_LOADS_MAX", "2")]).await;
    cache.is_sequencer().await;
    let keys = ["a", "b", "c", "d", "e"];
    for key in keys {
        store.change(key, "1");
    }
    store.set(|inner| inner.slow_loads = true);
    let begun = || keys.iter().map(|key| store.loads(key)).sum::<usize>();
    let reading = join_all(keys.iter().map(|key| cache.read(key)));
    let release = async {
        wait_until(SOON, "two are under way", async || begun() == 2).await;
        assert_eq!(store.inner().under_way_max, 2);
        store.set(|inner| inner.slow_loads = false);
    };
    let (values, ()) = tokio::join!(reading, release);
    assert!(values.iter().all(|(value, _)| *value == json!(1)));
    assert_eq!((begun(), store.inner().under_way_max), (5, 2));
}
