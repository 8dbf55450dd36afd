//! Every status of the table: what is refused, how it is called, and where the fault lies.

use std::time::Duration;

use http::Method;
use protocol::api::Status;
use protocol::ids::JobId;
use tokio::time::Instant;

use crate::gateway::{TestGateway, Told, call};

fn check(told: &Told, status: u16, problem: &str, pointers: &[&str]) {
    assert_eq!((told.status, told.problem()), (status, problem), "{told:?}");
    assert_eq!(told.header("content-type"), Some("application/problem+json"), "{told:?}");
    assert_eq!(told.pointers(), pointers, "{told:?}");
    assert_eq!(told.body["status"], status);
}

#[tokio::test]
async fn bodies_that_are_no_submit_are_refused_with_the_place_of_the_fault() {
    let gateway = TestGateway::start().await;
    let refused = async |body: &str, status: u16, problem: &str, pointers: &[&str]| {
        check(&gateway.submit(body).await, status, problem, pointers);
    };
    refused("", 400, "bad-json", &[]).await;
    refused("{\"task\":", 400, "bad-json", &[]).await;
    refused("[]", 422, "invalid", &[""]).await;
    refused("{}", 422, "invalid", &["/task"]).await;
    refused(r#"{"task":7}"#, 422, "invalid", &["/task"]).await;
    refused(r#"{"task":"a b"}"#, 422, "invalid", &["/task"]).await;
    refused(r#"{"task":""}"#, 422, "invalid", &["/task"]).await;
    refused(r#"{"task":"a","unique_key":""}"#, 422, "invalid", &["/unique_key"]).await;
    refused(r#"{"task":"a","unique_key":"a\nb"}"#, 422, "invalid", &["/unique_key"]).await;
    let long_key = format!(r#"{{"task":"a","unique_key":"{}"}}"#, "u".repeat(256));
    refused(&long_key, 422, "invalid", &["/unique_key"]).await;
    refused(r#"{"task":"a","nice_key":"u"}"#, 422, "invalid", &["/nice_key"]).await;
    refused(r#"{"task":"a","priority":"urgent"}"#, 422, "invalid", &["/priority"]).await;
    refused(r#"{"task":"a","delay_ms":-1}"#, 422, "invalid", &["/delay_ms"]).await;
    refused(r#"{"task":"a","run_at":"soon"}"#, 422, "invalid", &["/run_at"]).await;
    refused(r#"{"task":"a","delay_ms":1,"run_at":"2030-01-01T00:00:00Z"}"#, 422, "invalid", &["/run_at"]).await;
    refused(r#"{"task":"a","max_attempts":0}"#, 422, "invalid", &["/max_attempts"]).await;
    refused(r#"{"task":"a","start_deadline_ms":0}"#, 422, "invalid", &["/start_deadline_ms"]).await;
    refused(r#"{"task":"a","start_deadline_ms":31622400001}"#, 422, "invalid", &["/start_deadline_ms"]).await;
    refused(r#"{"task":"a","queue":"nope"}"#, 422, "invalid", &["/queue"]).await;
    refused(r#"{"task":"a","queue":"a b"}"#, 422, "invalid", &["/queue"]).await;
    let long_key = format!(r#"{{"task":"a","invalidates":["ok","{}"]}}"#, "k".repeat(257));
    refused(&long_key, 422, "invalid", &["/invalidates/1"]).await;
    let deep = format!(r#"{{"task":"a","payload":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    refused(&deep, 422, "invalid", &["/payload"]).await;
    assert_eq!(gateway.store.inner().creates.len(), 0);
}

#[tokio::test]
async fn an_unknown_queue_is_told_the_known_ones() {
    let gateway = TestGateway::start().await;
    let told = gateway.submit(r#"{"task":"a","queue":"nope"}"#).await;
    assert_eq!(told.body["errors"][0]["detail"], "there is no queue `nope`; the queues are default, reports");
}

#[tokio::test]
async fn requests_of_the_wrong_form_are_refused_by_name() {
    let gateway = TestGateway::start().await;
    let send = async |method: Method, path: &str, headers: &[(&'static str, &str)], body: &str| {
        gateway.send(call(method, path, headers, body)).await
    };
    let task = r#"{"task":"a"}"#;
    let told = send(Method::POST, "/longtask", &[("content-type", "text/plain")], task).await;
    check(&told, 415, "unsupported-media-type", &[]);
    let large = format!(r#"{{"task":"a","payload":"{}"}}"#, "x".repeat(1 << 20));
    check(&send(Method::POST, "/longtask", &[], &large).await, 413, "payload-too-large", &[]);
    check(&send(Method::POST, "/longtask", &[("idempotency-key", "\"")], task).await, 400, "bad-request", &[]);
    check(
        &send(Method::POST, "/longtask", &[("idempotency-key", &"k".repeat(256))], task).await,
        400,
        "bad-request",
        &[],
    );
    let told = send(Method::GET, "/longtask", &[], "").await;
    check(&told, 405, "method-not-allowed", &[]);
    assert_eq!(told.header("allow"), Some("POST"));
    let told = send(Method::POST, &format!("/jobs/{}", JobId::generate()), &[], "").await;
    check(&told, 405, "method-not-allowed", &[]);
    assert_eq!(told.header("allow"), Some("GET,HEAD,PUT,DELETE"));
    let told = send(Method::POST, "/longtask", &[("x-large", &"h".repeat(20_000))], task).await;
    assert_eq!(told.status, 431);
    // Not built yet, so not promised.
    for path in ["/queues/default", "/nowhere", "/jobs/", "/longtask/x"] {
        check(&send(Method::GET, path, &[], "").await, 404, "not-found", &[]);
    }
}

#[tokio::test]
async fn ids_that_name_no_job_are_404() {
    let gateway = TestGateway::start().await;
    for id in ["7", "not-a-uuid", "01890000-0000-7000-8000-00000000000g", &JobId::generate().to_string()] {
        check(&gateway.get(&format!("/jobs/{id}")).await, 404, "not-found", &[]);
        check(&gateway.get(&format!("/jobs/{id}/result")).await, 404, "not-found", &[]);
        check(&gateway.get(&format!("/jobs/{id}/explain")).await, 404, "not-found", &[]);
        check(&gateway.post(&format!("/jobs/{id}/cancel"), &[], "").await, 404, "not-found", &[]);
        check(&gateway.post(&format!("/jobs/{id}/retry"), &[], "").await, 404, "not-found", &[]);
    }
    check(&gateway.send(call(Method::PUT, "/jobs/7", &[], r#"{"task":"a"}"#)).await, 404, "not-found", &[]);
}

#[tokio::test]
async fn bad_query_parameters_are_named() {
    let gateway = TestGateway::start().await;
    let refused = async |query: &str, pointer: &str| {
        check(&gateway.get(&format!("/jobs?{query}")).await, 422, "invalid", &[pointer]);
    };
    refused("status=lost", "/status").await;
    refused("limit=0", "/limit").await;
    refused("limit=501", "/limit").await;
    refused("limit=many", "/limit").await;
    refused("queue=a%20b", "/queue").await;
    refused("task=", "/task").await;
    refused("order=oldest", "/order").await;
    refused("status=queued&status=running", "/status").await;
    let told = gateway.get("/jobs?status=queued&queue=default&limit=500&cursor=7").await;
    assert_eq!((told.status, told.text.as_str()), (200, r#"{"jobs":[],"next_cursor":null}"#));
    assert_eq!(gateway.store.inner().listed.as_deref(), Some("status=queued&queue=default&limit=500&cursor=7"));
}

#[tokio::test]
async fn what_has_ended_cannot_be_cancelled_nor_what_succeeded_be_retried() {
    let gateway = TestGateway::start().await;
    let post = async |job_id: JobId, what: &str| gateway.post(&format!("/jobs/{job_id}/{what}"), &[], "").await;
    let queued = gateway.store.has_job(Status::Queued);
    let told = post(queued, "cancel").await;
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("cancelled")));
    check(&post(queued, "cancel").await, 409, "conflict", &[]);
    let running = gateway.store.has_job(Status::Running);
    let told = post(running, "cancel").await;
    assert_eq!((told.status, told.header("retry-after")), (202, Some("1")));
    assert_eq!(told.header("location"), Some(format!("/jobs/{running}").as_str()));
    let told = post(gateway.store.has_job(Status::Failed), "retry").await;
    assert_eq!((told.status, told.header("retry-after")), (202, Some("1")));
    check(&post(gateway.store.has_job(Status::Succeeded), "retry").await, 409, "conflict", &[]);
}

#[tokio::test]
async fn without_the_store_everything_is_a_503_that_says_when_to_come_back() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    gateway.store.inner().away = true;
    let answers = [
        gateway.submit(r#"{"task":"a"}"#).await,
        gateway.get(&format!("/jobs/{job_id}")).await,
        gateway.post(&format!("/jobs/{job_id}/cancel"), &[], "").await,
    ];
    for told in &answers {
        check(told, 503, "unavailable", &[]);
        assert!(told.header("retry-after").is_some(), "{told:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_a_503_within_the_deadline() {
    let gateway = TestGateway::start_with(&[("LONGSHORE_STORE_DEADLINE_MS", "200")]).await;
    gateway.store.inner().silent = true;
    let begin = Instant::now();
    check(&gateway.submit(r#"{"task":"a"}"#).await, 503, "unavailable", &[]);
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn bodies_that_would_take_too_much_memory_are_told_to_come_back() {
    let settings = [("LONGSHORE_BODIES_BYTES_MAX", "1048576"), ("LONGSHORE_STORE_DEADLINE_MS", "1000")];
    let gateway = TestGateway::start_with(&settings).await;
    gateway.store.inner().silent = true;
    let large = format!(r#"{{"task":"a","payload":"{}"}}"#, "x".repeat(900_000));
    let (one, other) = tokio::join!(gateway.submit(&large), gateway.submit(&large));
    let mut told = [one, other];
    told.sort_by_key(|told| told.status);
    check(&told[0], 429, "rate-limited", &[]);
    assert!(told[0].header("retry-after").is_some());
    check(&told[1], 503, "unavailable", &[]);
    gateway.store.inner().silent = false;
    assert_eq!(gateway.submit(&large).await.status, 202);
}

#[tokio::test]
async fn what_was_purged_is_gone_and_what_has_not_ended_is_kept() {
    let gateway = TestGateway::start().await;
    let purge = async |job_id: JobId| gateway.send(call(Method::DELETE, &format!("/jobs/{job_id}"), &[], "")).await;
    check(&purge(gateway.store.has_job(Status::Running)).await, 409, "conflict", &[]);
    check(&purge(JobId::generate()).await, 404, "not-found", &[]);
    let ended = gateway.store.has_job(Status::Succeeded);
    let told = purge(ended).await;
    assert_eq!((told.status, told.text.as_str()), (204, ""));
    check(&purge(ended).await, 410, "job-expired", &[]);
    for path in ["", "/result", "/payload", "/logs", "/events"] {
        check(&gateway.get(&format!("/jobs/{ended}{path}")).await, 410, "job-expired", &[]);
    }
}
