//! What a client is told when it submits, and what the store is asked.

use http::Method;
use protocol::api::{Priority, Status};
use protocol::ids::JobId;

use crate::gateway::{TestGateway, call};

#[tokio::test]
async fn a_submit_is_recorded_and_answered_with_where_to_look() {
    let gateway = TestGateway::start().await;
    let told = gateway.submit(r#"{"task":"report_1"}"#).await;
    assert_eq!(told.status, 202, "{told:?}");
    let id = told.body["job_id"].as_str().expect("an id");
    assert_eq!(told.header("location"), Some(format!("/jobs/{id}").as_str()));
    assert_eq!(told.header("retry-after"), Some("1"));
    assert_eq!(told.header("content-type"), Some("application/json"));
    assert_eq!(told.header("idempotent-replayed"), None);
    assert_eq!((told.body["task"].as_str(), told.body["status"].as_str()), (Some("report_1"), Some("queued")));
    assert_eq!(told.body["links"]["self"], format!("/jobs/{id}"));
    assert!(told.header("x-request-id").is_some());
}

#[tokio::test]
async fn every_field_reaches_the_store() {
    let gateway = TestGateway::start().await;
    let body = r#"{"task":"t","payload":{"b": 1.50,"a":[]},"queue":"reports","priority":"high","delay_ms":60000,
        "max_attempts":7,"timeout_ms":2500,"start_deadline_ms":9000,"invalidates":["my_data","other"]}"#;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("idempotency-key", "\"k 1\""), ("traceparent", traceparent)];
    let told = gateway.post("/longtask", &headers, body).await;
    assert_eq!((told.status, told.body["status"].as_str()), (202, Some("scheduled")), "{told:?}");
    assert_eq!(told.header("retry-after"), Some("60"));
    let inner = gateway.store.inner();
    let create = inner.creates.first().expect("one create");
    assert_eq!(create.payload.as_ref().map(|payload| payload.get()), Some(r#"{"b": 1.50,"a":[]}"#));
    assert_eq!((create.queue.as_str(), create.priority), ("reports", Priority::High));
    assert_eq!((create.max_attempts, create.timeout_ms, create.start_deadline_ms), (7, Some(2_500), Some(9_000)));
    assert_eq!(create.invalidates.len(), 2);
    assert_eq!(create.idempotency_key.as_deref(), Some("k 1"));
    assert_eq!((create.delay_ms, create.run_at, create.wants_bell), (Some(60_000), None, false));
    // The same trace, one step further.
    let trace = create.trace.as_deref().expect("a trace");
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace != traceparent, "{trace}");
}

#[tokio::test]
async fn a_repeated_key_is_the_same_job_in_its_present_state() {
    let gateway = TestGateway::start().await;
    let headers = [("idempotency-key", "k")];
    let first = gateway.post("/longtask", &headers, r#"{"task":"noop","payload":{"a":1,"b":2}}"#).await;
    let job_id: JobId = first.body["job_id"].as_str().expect("an id").parse().expect("an id");
    gateway.store.change(job_id, |job| job.status = Status::Running);
    let again = gateway.post("/longtask", &headers, r#"{"payload":{"b":2,"a":1},"task":"noop"}"#).await;
    assert_eq!((again.status, again.body["job_id"].as_str()), (202, first.body["job_id"].as_str()));
    assert_eq!(again.body["status"], "running");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = gateway.post("/longtask", &headers, r#"{"task":"noop","payload":{"a":2}}"#).await;
    assert_eq!((other.status, other.problem()), (422, "idempotency-mismatch"));
}

#[tokio::test]
async fn a_put_names_its_job_by_its_id() {
    let gateway = TestGateway::start().await;
    let path = format!("/jobs/{}", JobId::generate());
    let put = async |body: &str| gateway.send(call(Method::PUT, &path, &[], body)).await;
    let first = put(r#"{"task":"noop"}"#).await;
    assert_eq!((first.status, first.header("location")), (202, Some(path.as_str())));
    assert_eq!(first.body["links"]["self"], path);
    let again = put(r#"{"task":"noop","priority":"normal"}"#).await;
    assert_eq!((again.status, again.body["status"].as_str()), (200, Some("queued")));
    assert_eq!((again.header("location"), again.header("idempotent-replayed")), (Some(path.as_str()), None));
    let other = put(r#"{"task":"other"}"#).await;
    assert_eq!((other.status, other.problem()), (409, "conflict"));
    let keyed = gateway.send(call(Method::PUT, &path, &[("idempotency-key", "k")], r#"{"task":"noop"}"#)).await;
    assert_eq!((keyed.status, keyed.problem()), (400, "bad-request"));
}

#[tokio::test]
async fn a_held_unique_key_is_a_conflict_that_names_its_holder() {
    let gateway = TestGateway::start().await;
    let body = r#"{"task":"noop","unique_key":"customer 7"}"#;
    let first = gateway.submit(body).await;
    assert_eq!(first.status, 202, "{first:?}");
    let holder = first.body["job_id"].as_str().expect("an id");
    let told = gateway.submit(body).await;
    assert_eq!((told.status, told.problem()), (409, "unique-conflict"), "{told:?}");
    assert_eq!(told.body["job_id"].as_str(), Some(holder));
    assert_eq!(told.body["links"]["self"], format!("/jobs/{holder}"));
    let inner = gateway.store.inner();
    assert_eq!(inner.creates[0].unique_key.as_ref().map(|key| key.as_str()), Some("customer 7"));
}

#[tokio::test]
async fn large_payloads_are_taken_side_by_side() {
    let gateway = TestGateway::start().await;
    let body = format!(r#"{{"task":"noop","payload":"{}"}}"#, "x".repeat(1_000_000));
    let answers = futures_util::future::join_all((0..12).map(|_| gateway.submit(&body))).await;
    assert!(answers.iter().all(|told| told.status == 202), "{answers:?}");
    let inner = gateway.store.inner();
    assert_eq!(inner.creates.len(), 12);
    let lengths = inner.creates.iter().filter_map(|create| create.payload.as_ref()).map(|payload| payload.get().len());
    assert!(lengths.into_iter().all(|length| length == 1_000_002));
}

#[tokio::test]
async fn respond_async_is_said_to_be_applied() {
    let gateway = TestGateway::start().await;
    let told = gateway.post("/longtask", &[("prefer", "respond-async")], r#"{"task":"noop"}"#).await;
    assert_eq!((told.status, told.header("preference-applied")), (202, Some("respond-async")));
}
