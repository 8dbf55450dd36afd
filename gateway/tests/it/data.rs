//! Reads from the near cache, which never lie after an acknowledgement; writes and invalidations.

use std::time::Duration;

use chassis::broker::{self, ConnectOptions, Message, Program, Source as BrokerSource, Verdict};
use chassis::client::Call;
use chassis::testing::wait_until;
use futures_util::future::join_all;
use http::Method;
use protocol::cache_api::Source;
use protocol::envelope::{Covered, Invalidated};
use protocol::ids::{Epoch, Seq};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::gateway::{SOON, TestGateway, Told, call};
use crate::sequencer::{LEASE_MS, ScriptedSequencer};

const NEAR_HIT: &str = "longshore-near; hit";

async fn started() -> (ScriptedSequencer, TestGateway) {
    let sequencer = ScriptedSequencer::start().await;
    let cache_url = sequencer.address.to_string();
    let gateway = TestGateway::start_with(&[("LONGSHORE_CACHE_URL", &cache_url)]).await;
    (sequencer, gateway)
}

fn is_near_hit(told: &Told) -> bool {
    told.header("cache-status") == Some(NEAR_HIT)
}

/// Waits until the near cache holds the key under a valid lease.
pub(crate) async fn held(gateway: &TestGateway, key: &str) {
    let path = format!("/data/{key}");
    wait_until(SOON, "the near cache holds it", async || is_near_hit(&gateway.get(&path).await)).await;
}

async fn data(gateway: &TestGateway, key: &str) -> Value {
    let told = gateway.get(&format!("/data/{key}")).await;
    assert_eq!(told.status, 200, "{told:?}");
    told.body["data"].clone()
}

#[tokio::test]
async fn near_hit_asks_nobody() {
    let (sequencer, gateway) = started().await;
    sequencer.value("my_data", "{\"a\":  1}");
    let first = gateway.get("/data").await;
    assert_eq!((first.status, first.text.as_str()), (200, "{\"cached\":false,\"data\":{\"a\":  1}}"));
    held(&gateway, "my_data").await;
    let reads = sequencer.inner().reads;
    for _ in 0..5 {
        let told = gateway.get("/data").await;
        assert_eq!((told.status, told.text.as_str()), (200, "{\"cached\":true,\"data\":{\"a\":  1}}"));
        assert_eq!((told.header("cache-control"), told.header("etag")), (Some("no-cache"), first.header("etag")));
    }
    assert_eq!(sequencer.inner().reads, reads);
    let tag = http::HeaderValue::from_str(first.header("etag").expect("a tag")).expect("a value");
    let told = gateway.send(Call::get("/data").header(http::header::IF_NONE_MATCH, tag)).await;
    assert_eq!((told.status, told.text.as_str()), (304, ""));
}

#[tokio::test]
async fn shared_hit_counts_as_cached() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "1");
    sequencer.set(|inner| inner.source = Source::Shared);
    assert_eq!(gateway.get("/data/a").await.body, json!({"cached": true, "data": 1}));
}

#[tokio::test]
async fn absent_key_is_404_from_every_tier() {
    let (_sequencer, gateway) = started().await;
    for _ in 0..3 {
        let told = gateway.get("/data/nobody").await;
        assert_eq!((told.status, told.problem()), (404, "not-found"));
    }
    let told = gateway.get(&format!("/data/{}", "x".repeat(257))).await;
    assert_eq!((told.status, told.problem()), (422, "invalid"));
}

#[tokio::test]
async fn invalidated_key_is_read_again_and_others_stay() {
    let (sequencer, gateway) = started().await;
    for key in ["a", "b"] {
        sequencer.value(key, "1");
        held(&gateway, key).await;
    }
    sequencer.invalidate("a", "2").await;
    assert!(is_near_hit(&gateway.get("/data/b").await));
    assert_eq!(gateway.get("/data/a").await.body, json!({"cached": false, "data": 2}));
    assert_eq!(gateway.get("/data/a").await.body, json!({"cached": true, "data": 2}));
}

#[tokio::test]
async fn new_term_drops_everything() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "1");
    held(&gateway, "a").await;
    sequencer.value("a", "2");
    sequencer.grant(2);
    wait_until(SOON, "it is read again", async || data(&gateway, "a").await == json!(2)).await;
}

#[tokio::test]
async fn gateway_that_is_cut_off_serves_nothing_after_its_lease() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "1");
    held(&gateway, "a").await;
    let start = Instant::now();
    sequencer.set(|inner| inner.cut_off = true);
    sequencer.invalidate("a", "2").await;
    assert!(start.elapsed() < Duration::from_millis(LEASE_MS + 500));
    for _ in 0..5 {
        assert_eq!(gateway.get("/data/a").await.body, json!({"cached": false, "data": 2}), "acknowledged");
    }
    sequencer.set(|inner| inner.cut_off = false);
    held(&gateway, "a").await;
    assert_eq!(data(&gateway, "a").await, json!(2));
}

#[tokio::test]
async fn many_readers_share_one_load() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "1");
    held(&gateway, "a").await;
    sequencer.invalidate("a", "2").await;
    let reads = sequencer.inner().reads;
    sequencer.set(|inner| inner.slow_reads = true);
    let readers = join_all((0..20).map(|_| gateway.get("/data/a")));
    let release = async {
        wait_until(SOON, "a load is under way", async || sequencer.inner().reads > reads).await;
        sequencer.set(|inner| inner.slow_reads = false);
    };
    let (told, ()) = tokio::join!(readers, release);
    assert!(told.iter().all(|told| told.body["data"] == json!(2)));
    let collapsed = |told: &&Told| told.header("cache-status").is_some_and(|status| status.ends_with("collapsed"));
    let joined = told.iter().filter(collapsed);
    assert!(joined.clone().count() > 0 && joined.clone().all(|told| told.body["cached"] == json!(false)));
    assert_eq!(sequencer.inner().reads, reads + 1);
}

#[tokio::test]
async fn request_after_an_acknowledgement_joins_no_earlier_load() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "0");
    held(&gateway, "a").await;
    sequencer.invalidate("a", "1").await;
    overtaken(&sequencer, &gateway).await;
}

#[tokio::test]
async fn request_without_a_lease_joins_no_earlier_load() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "0");
    held(&gateway, "a").await;
    sequencer.invalidate("a", "1").await;
    sequencer.set(|inner| inner.cut_off = true);
    overtaken(&sequencer, &gateway).await;
}

/// A load of `a` is under way when 2 is written and acknowledged: who asks then gets 2.
async fn overtaken(sequencer: &ScriptedSequencer, gateway: &TestGateway) {
    let reads = sequencer.inner().reads;
    sequencer.set(|inner| inner.slow_reads = true);
    let overtaking = async {
        wait_until(SOON, "the old load is under way", async || sequencer.inner().reads == reads + 1).await;
        sequencer.invalidate("a", "2").await;
        let release = async {
            wait_until(SOON, "a second load is under way", async || sequencer.inner().reads == reads + 2).await;
            sequencer.set(|inner| inner.slow_reads = false);
        };
        tokio::join!(data(gateway, "a"), release).0
    };
    let (old, new) = tokio::join!(data(gateway, "a"), overtaking);
    assert_eq!((old, new), (json!(1), json!(2)));
    assert_eq!(data(gateway, "a").await, json!(2), "and the old load left nothing behind");
}

#[tokio::test]
async fn announcement_voids_ahead_of_the_renewal_and_only_in_its_epoch() {
    let (sequencer, gateway) = started().await;
    for key in ["a", "b"] {
        sequencer.value(key, "1");
        held(&gateway, key).await;
    }
    let source = BrokerSource::Embedded(gateway.broker.clone());
    let broker = broker::connect(&source, ConnectOptions::new(Program::Up, Vec::new())).expect("embedded");
    for (epoch, key) in [(7, "a"), (1, "b")] {
        let event = Invalidated::new(Epoch(epoch), Seq(99), Covered::key(key));
        assert_eq!(broker.publish(Message::invalidated(&event)).await, Verdict::Sent);
    }
    wait_until(SOON, "b is void", async || !is_near_hit(&gateway.get("/data/b").await)).await;
    assert!(is_near_hit(&gateway.get("/data/a").await), "of an epoch that it does not hold");
}

#[tokio::test]
async fn without_a_sequencer_reads_come_from_the_store_and_are_not_kept() {
    let (sequencer, gateway) = started().await;
    sequencer.set(|inner| (inner.stands_by, inner.cut_off) = (true, true));
    gateway.store.value("a", "1");
    assert_eq!(gateway.get("/data/a").await.body, json!({"cached": false, "data": 1}));
    gateway.store.value("a", "2");
    assert_eq!(gateway.get("/data/a").await.body, json!({"cached": false, "data": 2}));
    let told = gateway.send(Call::delete("/cache/a")).await;
    assert_eq!((told.status, told.problem()), (503, "not-sequencer"), "not acknowledged by anybody");
}

#[tokio::test]
async fn write_is_acknowledged_when_the_store_says_that_it_is_fenced() {
    let (_sequencer, gateway) = started().await;
    let put = gateway.send(call(Method::PUT, "/data/a", &[], r#"{"data": 1}"#));
    let fencing = async {
        wait_until(SOON, "the write is recorded", async || gateway.store.writes() == 1).await;
        gateway.store.fence();
    };
    let (told, ()) = tokio::join!(put, fencing);
    assert_eq!((told.status, told.body), (200, json!({"version": 1, "fenced": true})));
    let told = gateway.send(call(Method::PUT, "/data/a?wait=0", &[], r#"{"data": 2}"#)).await;
    assert_eq!((told.status, told.body), (202, json!({"version": 2, "fenced": false})));
}

#[tokio::test]
async fn unfenced_write_is_said_to_be_durable() {
    let (_sequencer, gateway) = started().await;
    let start = Instant::now();
    let told = gateway.send(call(Method::PUT, "/data/a", &[], r#"{"data": 1}"#)).await;
    assert_eq!((told.status, told.problem()), (503, "fence-timeout"));
    assert_eq!((&told.body["durable"], &told.body["version"]), (&json!(true), &json!(1)));
    assert!((4_900..7_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert!(told.header("retry-after").is_some());
}

#[tokio::test]
async fn invalidation_is_acknowledged_when_it_is_fenced() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "1");
    held(&gateway, "a").await;
    sequencer.value("a", "2");
    let told = gateway.send(Call::delete("/cache/a")).await;
    assert_eq!((told.status, told.body), (200, json!({"status": "deleted", "seq": 1, "fenced": true})));
    assert_eq!(data(&gateway, "a").await, json!(2));
    let told = gateway.send(Call::delete("/cache/a?wait=0")).await;
    assert_eq!((told.status, &told.body["fenced"]), (202, &json!(false)));
    let told = gateway.post("/cache:invalidate", &[], r#"{"keys":["a"],"prefix":"b"}"#).await;
    assert_eq!((told.status, &told.body["fenced"]), (200, &json!(true)));
    let told = gateway.post("/cache:invalidate", &[], "{}").await;
    assert_eq!((told.status, told.problem()), (422, "invalid"));
}

#[tokio::test]
async fn drained_gateway_gives_its_lease_back() {
    let (sequencer, gateway) = started().await;
    sequencer.value("a", "1");
    held(&gateway, "a").await;
    gateway.drain().await;
    assert!(sequencer.inner().left);
    let start = Instant::now();
    sequencer.invalidate("a", "2").await;
    assert!(start.elapsed() < Duration::from_millis(LEASE_MS / 2), "no fence waits for it");
}
