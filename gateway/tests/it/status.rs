//! Reading jobs: the store's bytes unchanged, with what HTTP wants around them.

use chassis::client::Call;
use http::{HeaderValue, Method};
use protocol::api::Status;

use crate::gateway::TestGateway;

#[tokio::test]
async fn a_job_is_shown_with_its_tag_and_a_time_to_look_again() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let path = format!("/jobs/{job_id}");
    let first = gateway.get(&path).await;
    assert_eq!((first.status, first.header("retry-after")), (200, Some("1")));
    assert_eq!((first.header("cache-control"), first.header("vary")), (Some("no-cache"), Some("prefer")));
    let tag = first.header("etag").expect("a tag").to_owned();
    let ask = async |tag: &str| {
        gateway.send(Call::get(&path).header("if-none-match", HeaderValue::from_str(tag).expect("a tag"))).await
    };
    let unchanged = ask(&tag).await;
    assert_eq!((unchanged.status, unchanged.text.as_str(), unchanged.header("etag")), (304, "", Some(tag.as_str())));
    gateway.store.end(job_id, Status::Succeeded);
    let changed = ask(&tag).await;
    assert_eq!((changed.status, changed.header("retry-after")), (200, None));
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let told = gateway.send(Call::new(Method::HEAD, format!("/jobs/{job_id}"), true)).await;
    assert_eq!((told.status, told.text.as_str()), (200, ""));
    assert!(told.header("etag").is_some());
}

#[tokio::test]
async fn an_explanation_is_passed_on() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Queued);
    let told = gateway.get(&format!("/jobs/{job_id}/explain")).await;
    assert_eq!((told.status, told.text.as_str()), (200, r#"{"reason":"It waits."}"#));
    assert_eq!(told.header("cache-control"), Some("no-cache"));
}

#[tokio::test]
async fn a_result_is_passed_on_as_it_was_given() {
    let gateway = TestGateway::start().await;
    let read = async |status| gateway.get(&format!("/jobs/{}/result", gateway.store.has_job(status))).await;
    let given = read(Status::Succeeded).await;
    assert_eq!((given.status, given.text.as_str()), (200, "{\"a\":  1}"));
    assert_eq!(given.header("content-type"), Some("application/json"));
    let early = read(Status::Running).await;
    assert_eq!((early.status, early.problem()), (404, "not-finished"));
    let none = read(Status::Failed).await;
    assert_eq!((none.status, none.problem()), (404, "no-result"));
}

#[tokio::test]
async fn a_payload_is_passed_on_as_it_was_given() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let given = gateway.get(&format!("/jobs/{job_id}/payload")).await;
    assert_eq!((given.status, given.text.as_str()), (200, "{\"n\":  12345678901234567890}"));
    assert_eq!(given.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn logs_are_passed_on_as_they_are_kept() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Failed);
    let logs = gateway.get(&format!("/jobs/{job_id}/logs")).await;
    assert_eq!((logs.status, &logs.body["attempts"]), (200, &serde_json::json!([])));
    assert!(logs.header("etag").is_some());
    let unknown = gateway.get(&format!("/jobs/{}/logs", protocol::ids::JobId::generate())).await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found"));
}
