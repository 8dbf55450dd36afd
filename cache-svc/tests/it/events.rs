//! The broker's side: invalidations that anyone publishes, and the announcements to the gateways.

use axum::body::Bytes;
use chassis::broker::{Event, Message, Verdict};
use chassis::testing::wait_until;
use protocol::envelope::Invalidated;
use protocol::ids::{Epoch, Seq};
use protocol::topology::{CACHE_INVALIDATE, CACHE_INVALIDATED, CACHE_REJECTED, REASON_HEADER};
use serde_json::{Value, json};

use crate::cache::{SOON, TestCache};
use crate::store::ScriptedStore;

fn event(body: &str) -> Message {
    Message {
        exchange: CACHE_INVALIDATE.into(),
        routing_key: String::new(),
        message_id: String::new(),
        kind: "".into(),
        content_type: None,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        persistent: true,
        mandatory: true,
    }
}

#[tokio::test]
async fn published_event_invalidates() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let broker = cache.broker_client();
    store.change("a", "1");
    for body in [r#"{"key":"a"}"#, r#"{"keys":["b","a"]}"#, r#"{"all":true}"#] {
        cache.read("a").await;
        assert_eq!(broker.publish(event(body)).await, Verdict::Sent);
        let gone = async || cache.get("/cache/a").await.body["value"] == Value::Null;
        wait_until(SOON, "it is invalidated", gone).await;
    }
}

#[tokio::test]
async fn garbage_is_parked_with_its_reason_and_holds_up_nothing() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let broker = cache.broker_client();
    store.change("a", "1");
    cache.read("a").await;
    let mut parked = broker.consume(CACHE_REJECTED);
    for (body, reason) in [("garbage", "not-json"), (r#"{"v":9,"key":"a"}"#, "unknown-version"), ("{}", "empty")] {
        assert_eq!(broker.publish(event(body)).await, Verdict::Sent);
        let delivery = tokio::time::timeout(SOON, parked.next()).await.expect("it is parked");
        assert_eq!(delivery.body, body.as_bytes(), "unchanged");
        assert!(delivery.header(REASON_HEADER).expect("a reason").starts_with(reason));
        delivery.ack();
    }
    assert_eq!(cache.get("/cache/a").await.body["value"], json!(1));
    assert_eq!(broker.publish(event(r#"{"key":"a"}"#)).await, Verdict::Sent);
    wait_until(SOON, "the next one is taken", async || cache.get("/cache/a").await.body["value"] == Value::Null).await;
}

#[tokio::test]
async fn standby_takes_in_nothing() {
    let store = ScriptedStore::start().await;
    store.set(|inner| inner.away = true);
    let cache = TestCache::start(&store, &[]).await;
    cache.stands_by().await;
    let broker = cache.broker_client();
    assert_eq!(broker.publish(event(r#"{"key":"a"}"#)).await, Verdict::Sent);
    let ready = broker.depth(protocol::topology::CACHE_INTAKE).await;
    assert_eq!(ready, Some(1), "it waits for a sequencer");
    store.set(|inner| inner.away = false);
    cache.is_sequencer().await;
    let taken = async || broker.depth(protocol::topology::CACHE_INTAKE).await == Some(0);
    wait_until(SOON, "it is taken in", taken).await;
}

#[tokio::test]
async fn each_invalidation_is_announced_with_its_place() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let mut announcements = cache.broker_client().subscribe(CACHE_INVALIDATED);
    assert!(matches!(announcements.next().await, Event::Gap), "it is subscribed");
    assert_eq!(cache.delete("/cache/a").await.status, 200);
    store.write("b", "1");
    for (seq, key) in [(1, "a"), (2, "b")] {
        let next = async {
            loop {
                if let Event::Message(body) = announcements.next().await {
                    return body;
                }
            }
        };
        let body = tokio::time::timeout(SOON, next).await.expect("it is announced");
        let event = Invalidated::decode(&body).expect("an event");
        assert_eq!((event.epoch, event.seq, event.covered.keys), (Epoch(1), Seq(seq), vec![key.to_owned()]));
    }
}

#[tokio::test]
async fn invalidations_are_fenced_without_the_broker() {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    cache.broker.stop();
    assert_eq!(cache.delete("/cache/a").await.body["fenced"], json!(true));
    let position = store.write("b", "1");
    wait_until(SOON, "the write is fenced", async || store.inner().fenced_through == position).await;
}
