//! The console's files and its one stream: small, of this gateway alone, and made only while somebody watches.

use chassis::client::Call;
use chassis::testing::{EventSource, wait_until};
use http::header::IF_NONE_MATCH;
use http::{HeaderValue, Method};
use serde_json::Value;

use crate::gateway::{SOON, TestGateway};

async fn watch(gateway: &TestGateway) -> EventSource {
    EventSource::open(gateway.address, "/console/events", None).await.expect("an answer")
}

async fn snapshot(source: &mut EventSource) -> Value {
    let event = tokio::time::timeout(SOON, source.next()).await.expect("in time").expect("whole").expect("an event");
    assert_eq!(event.event, "overview");
    serde_json::from_str(&event.data).expect("JSON")
}

#[tokio::test]
async fn pages_and_files_are_of_this_gateway_and_asked_for_anew() {
    let gateway = TestGateway::start().await;
    let job = "/console/jobs/018bcfe5-6800-7000-8000-000000000000";
    for page in ["/console", "/console/", "/console/jobs", "/console/failed", "/console/cache?key=a", job] {
        let told = gateway.get(page).await;
        assert_eq!((told.status, told.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
        let policy = told.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    }
    let script = gateway.get("/console/assets/main.js").await;
    assert_eq!((script.status, script.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    assert_eq!(script.header("cache-control"), Some("no-cache"));
    let tag = HeaderValue::from_str(script.header("etag").expect("a tag")).expect("a value");
    let again = gateway.send(Call::get("/console/assets/main.js").header(IF_NONE_MATCH, tag)).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    for unknown in ["/console/nothing", "/console/assets/nothing.js", "/console/jobs/7", "/console/assets/..%2Fmod.rs"]
    {
        let told = gateway.get(unknown).await;
        assert_eq!((told.status, told.problem()), (404, "not-found"), "{unknown}");
    }
    let told = gateway.send(Call::new(Method::POST, "/console", false)).await;
    assert_eq!(told.status, 405);
}

#[tokio::test]
async fn the_overview_is_made_once_for_all_who_watch() {
    let gateway = TestGateway::start().await;
    let mut first = watch(&gateway).await;
    assert_eq!(first.status, 200, "{}", first.head);
    let shown = snapshot(&mut first).await;
    assert_eq!(shown["store"]["queues"][0]["queue"], "default", "{shown}");
    assert_eq!(shown["store"]["workers"]["sessions"], 0);
    assert_eq!(shown["balancer"], serde_json::json!({"state": "not_configured"}));
    assert!(shown["rates"]["window_s"].is_number() && shown["store"]["place"].is_string(), "{shown}");

    let mut second = watch(&gateway).await;
    let before = gateway.store.inner().queue_reads;
    for _ in 0..2 {
        snapshot(&mut first).await;
        snapshot(&mut second).await;
    }
    let made = gateway.store.inner().queue_reads - before;
    assert!(made <= 3, "{made} for two snapshots, shown to two");

    gateway.store.inner().away = true;
    let mut away = snapshot(&mut first).await;
    while !away["store"].is_null() {
        away = snapshot(&mut first).await;
    }
    gateway.store.inner().away = false;

    drop((first, second));
    let mut third = watch(&gateway).await;
    while snapshot(&mut third).await["store"].is_null() {}
    gateway.drain().await;
    while third.next().await.expect("a whole answer").is_some() {}
}

#[tokio::test]
async fn watchers_are_bounded_with_the_other_streams() {
    let gateway = TestGateway::start_with(&[("LONGSHORE_STREAMS_MAX", "1")]).await;
    let first = watch(&gateway).await;
    let told = gateway.get("/console/events").await;
    assert_eq!((told.status, told.problem()), (429, "rate-limited"));
    drop(first);
    wait_until(SOON, "its place is free", async || watch(&gateway).await.status == 200).await;
}

#[tokio::test]
async fn the_balancer_is_shown_as_it_answers() {
    let balancer = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = balancer.local_addr().expect("bound").to_string();
    let gateway = TestGateway::start_with(&[("LONGSHORE_LB_ADMIN_URL", &address)]).await;
    let mut source = watch(&gateway).await;
    let tasks = chassis::task::Tasks::new();
    drop(balancer);
    assert_eq!(snapshot(&mut source).await["balancer"]["state"], "away");
    let balancer = tokio::net::TcpListener::bind(&address).await.expect("the same port");
    let router = axum::Router::new().route("/backends", axum::routing::get(|| async { r#"{"backends":[]}"# }));
    tasks.spawn("balancer", async move {
        axum::serve(balancer, router).await.expect("it serves");
    });
    let mut shown = snapshot(&mut source).await;
    while shown["balancer"]["state"] != "up" {
        shown = snapshot(&mut source).await;
    }
    assert_eq!(shown["balancer"]["view"], serde_json::json!({"backends": []}));
    tasks.stop();
}
