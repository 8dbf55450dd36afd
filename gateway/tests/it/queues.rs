//! Queues over HTTP: listed as the store has them, paused and resumed by name.

use crate::gateway::TestGateway;

#[tokio::test]
async fn queues_are_listed_as_the_store_has_them() {
    let gateway = TestGateway::start().await;
    let told = gateway.get("/queues").await;
    assert_eq!((told.status, told.header("cache-control")), (200, Some("no-cache")), "{told:?}");
    let queue = &told.body["queues"][0];
    assert_eq!((queue["queue"].as_str(), queue["paused"].as_bool()), (Some("default"), Some(false)));
    assert_eq!(queue["depth"], serde_json::json!({"scheduled": 0, "queued": 0, "running": 0}));
    assert!(queue.get("oldest").is_none());
}

#[tokio::test]
async fn a_full_queue_is_a_429_that_says_when_to_come_back() {
    let gateway = TestGateway::start().await;
    gateway.store.inner().full = true;
    let told = gateway.submit(r#"{"task":"noop"}"#).await;
    assert_eq!((told.status, told.problem(), told.header("retry-after")), (429, "queue-full", Some("5")), "{told:?}");
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_by_its_name() {
    let gateway = TestGateway::start().await;
    let post = async |path: &str| gateway.post(path, &[], "").await;
    let told = post("/queues/default/pause").await;
    assert_eq!((told.status, told.body["paused"].as_bool()), (200, Some(true)), "{told:?}");
    assert!(told.body["paused_at"].is_string());
    let told = post("/queues/default/resume").await;
    assert_eq!((told.status, &told.body), (200, &serde_json::json!({"queue": "default", "paused": false})));
    for unknown in ["/queues/nope/pause", "/queues/nope/resume", "/queues/a%20b/pause", "/queues/default/stop"] {
        let told = post(unknown).await;
        assert_eq!((told.status, told.problem()), (404, "not-found"), "{unknown}");
    }
    let told = gateway.get("/queues/default/pause").await;
    assert_eq!((told.status, told.header("allow")), (405, Some("POST")));
}
