//! What a reader may demand: to see its own write, a stale answer rather than none; and the forms in which data are written and read.

use chassis::client::Call;
use chassis::testing::wait_until;
use http::{HeaderName, HeaderValue, Method};
use protocol::ids::{Incarnation, Place, Position};
use serde_json::json;
use uuid::Uuid;

use crate::data::held;
use crate::gateway::{SOON, TestGateway, Told, call};
use crate::sequencer::ScriptedSequencer;

const NEAR_HIT: Option<&str> = Some("longshore-near; hit");

async fn started(settings: &[(&str, &str)]) -> (ScriptedSequencer, TestGateway) {
    let sequencer = ScriptedSequencer::start().await;
    let cache_url = sequencer.address.to_string();
    let settings: Vec<_> = settings.iter().copied().chain([("LONGSHORE_CACHE_URL", cache_url.as_str())]).collect();
    let gateway = TestGateway::start_with(&settings).await;
    (sequencer, gateway)
}

const fn place(history: u128, position: u64) -> Place {
    Place { incarnation: Incarnation(Uuid::from_u128(history)), position: Position(position) }
}

async fn read_with(gateway: &TestGateway, path: &str, header: &'static str, value: &str) -> Told {
    let value = HeaderValue::from_str(value).expect("a value");
    gateway.send(Call::get(path).header(HeaderName::from_static(header), value)).await
}

#[tokio::test]
async fn read_with_the_token_of_a_write_is_never_answered_with_what_is_older() {
    let (sequencer, gateway) = started(&[]).await;
    sequencer.value("a", "1");
    sequencer.set(|inner| inner.read_at = Some(place(1, 5)));
    held(&gateway, "a").await;
    let read =
        async |position: u64| read_with(&gateway, "/data/a", "longshore-token", &place(1, position).to_string()).await;
    assert_eq!(read(5).await.header("cache-status"), NEAR_HIT, "it is not older");
    sequencer.value("a", "2");
    sequencer.set(|inner| inner.read_at = Some(place(1, 7)));
    let told = read(6).await;
    assert_eq!((told.status, &told.body["data"]), (200, &json!(2)), "before any invalidation has come");
    assert_eq!(sequencer.inner().asked.last(), Some(&Some(place(1, 6))), "the shared cache is told as well");
    assert_eq!(read(7).await.header("cache-status"), NEAR_HIT);
    let told = read(8).await;
    assert_eq!((told.status, told.problem()), (503, "unavailable"), "rather than an older value");
    sequencer.set(|inner| inner.read_at = None);
    assert_eq!(read(8).await.status, 503, "nobody knows how new it is");
}

#[tokio::test]
async fn token_of_another_history_of_the_store_always_reads_through() {
    let (sequencer, gateway) = started(&[]).await;
    sequencer.value("a", "1");
    sequencer.set(|inner| inner.read_at = Some(place(2, 5)));
    held(&gateway, "a").await;
    let reads = sequencer.inner().reads;
    let told = read_with(&gateway, "/data/a", "longshore-token", &place(1, 900).to_string()).await;
    assert_eq!((told.status, sequencer.inner().reads), (200, reads + 1));
    let told = read_with(&gateway, "/data/a", "longshore-token", "42").await;
    assert_eq!((told.status, told.problem()), (400, "bad-request"), "{told:?}");
}

#[tokio::test]
async fn every_answer_to_a_write_has_its_token() {
    let (_sequencer, gateway) = started(&[]).await;
    let token = |told: &Told| told.header("longshore-token").and_then(|token| token.parse::<Place>().ok());
    let told = gateway.send(call(Method::PUT, "/data/a?wait=0", &[], r#"{"data": 1, "tags": ["t"]}"#)).await;
    let first = token(&told).expect("a token");
    let told = gateway.send(call(Method::PUT, "/data/a", &[], r#"{"data": 2}"#)).await;
    assert_eq!(told.problem(), "fence-timeout");
    let second = token(&told).expect("a token, though it is not acknowledged");
    assert!(second.reaches(first) && !first.reaches(second), "{first} {second}");
}

#[tokio::test]
async fn stale_answer_is_given_where_both_sides_agreed_and_labelled() {
    let (sequencer, gateway) = started(&[("LONGSHORE_STALE_IF_ERROR", "a=60")]).await;
    for key in ["a", "b"] {
        sequencer.value(key, "1");
        held(&gateway, key).await;
    }
    sequencer.set(|inner| (inner.stands_by, inner.cut_off) = (true, true));
    gateway.store.inner().away = true;
    let refused = async || gateway.get("/data/a").await.status == 503;
    wait_until(SOON, "the near lease has ended", refused).await;
    let told = read_with(&gateway, "/data/a", "cache-control", "stale-if-error=30").await;
    assert_eq!((told.status, told.body.clone()), (200, json!({"cached": true, "stale": true, "data": 1})));
    let status = told.header("cache-status").expect("a status");
    assert!(
        status.starts_with("longshore-near; hit; ttl=-") && status.ends_with("; detail=stale-if-error"),
        "{status}"
    );
    assert_eq!(gateway.get("/data/a").await.status, 503, "who does not ask for it gets none");
    assert_eq!(read_with(&gateway, "/data/a", "cache-control", "stale-if-error=0").await.status, 503);
    assert_eq!(read_with(&gateway, "/data/b", "cache-control", "stale-if-error=30").await.status, 503, "not permitted");
    gateway.store.inner().away = false;
    gateway.store.value("a", "2");
    let told = read_with(&gateway, "/data/a", "cache-control", "stale-if-error=30").await;
    assert_eq!(told.body, json!({"cached": false, "data": 2}), "no stale answer where there is another");
}

#[tokio::test]
async fn bytes_are_written_with_a_media_type_and_few_tags() {
    let (_sequencer, gateway) = started(&[]).await;
    let put =
        async |headers: &[(&'static str, &str)]| gateway.send(call(Method::PUT, "/bytes/a?wait=0", headers, "x")).await;
    assert_eq!(put(&[("content-type", "image/png")]).await.status, 202);
    assert_eq!(
        put(&[("content-type", "text/plain; charset=utf-8"), ("cache-groups", "\"t\", \"u\"")]).await.status,
        202
    );
    let told = put(&[("content-type", "png")]).await;
    assert_eq!((told.status, told.problem()), (415, "unsupported-media-type"));
    let told = put(&[("content-type", "image/png"), ("cache-groups", "t")]).await;
    assert_eq!((told.status, told.problem()), (400, "bad-request"));
    let many = json!({"data": 1, "tags": vec!["t"; 33]}).to_string();
    let told = gateway.send(call(Method::PUT, "/data/a", &[], &many)).await;
    assert_eq!((told.status, told.pointers()), (422, vec!["/tags"]));
    let told = gateway.send(call(Method::PUT, "/data/a", &[], r#"{"data": 1, "tags": [""]}"#)).await;
    assert_eq!((told.status, told.pointers()), (422, vec!["/tags/0"]));
}

#[tokio::test]
async fn inspection_says_what_would_be_served_and_fills_nothing() {
    let (sequencer, gateway) = started(&[]).await;
    sequencer.value("a", "1");
    held(&gateway, "a").await;
    let reads = sequencer.inner().reads;
    let view = sequencer.inspect("a").await;
    let near = view.held.expect("held");
    assert!(near.would_serve && near.current && !near.expired && !near.absent, "{near:?}");
    assert!(view.lease.valid && view.lease.term.is_some());
    assert_eq!(sequencer.inspect("b").await.held, None);
    sequencer.invalidate("a", "2").await;
    let near = sequencer.inspect("a").await.held.expect("still there");
    assert!(!near.would_serve && !near.current, "{near:?}");
    assert!(near.generations.key > near.generations.loaded);
    assert_eq!(sequencer.inner().reads, reads);
}
