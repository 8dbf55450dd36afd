//! `POST /jobs:retry`: what is asked of the store, and what is refused before.

use http::Method;
use protocol::api::ErrorKind;
use protocol::bulk_retry::Unsuccessful;
use protocol::ids::RetryId;

use crate::gateway::{TestGateway, call};

#[tokio::test]
async fn a_dry_run_asks_and_begins_nothing() {
    let gateway = TestGateway::start().await;
    let body =
        r#"{"status":"failed","queue":"reports","error_kind":"timeout","after":"2026-01-01T00:00:00Z","dry_run":true}"#;
    let told = gateway.post("/jobs:retry", &[], body).await;
    assert_eq!((told.status, told.text.as_str()), (200, r#"{"matching":7,"exact":true,"sample":[]}"#));
    let inner = gateway.store.inner();
    assert!(inner.retries.is_empty());
    let filter = &inner.previews[0];
    assert_eq!((filter.status, filter.error_kind), (Unsuccessful::Failed, Some(ErrorKind::Timeout)));
    assert_eq!(filter.queue.as_ref().map(|queue| queue.as_str()), Some("reports"));
    assert_eq!(filter.after.map(|after| after.unix_ms()), Some(1_767_225_600_000));
    assert!(filter.task.is_none() && filter.before.is_none());
}

#[tokio::test]
async fn a_retry_of_many_is_begun_listed_and_stopped() {
    let gateway = TestGateway::start().await;
    let told = gateway.post("/jobs:retry", &[], r#"{"status":"cancelled","rate_per_second":5,"limit":9}"#).await;
    assert_eq!((told.status, told.header("location")), (202, Some("/jobs:retry")), "{told:?}");
    assert_eq!((told.body["state"].as_str(), told.body["status"].as_str()), (Some("running"), Some("cancelled")));
    assert_eq!((told.body["rate_per_second"].as_u64(), told.body["limit"].as_u64()), (Some(5), Some(9)));
    let id = told.body["retry_id"].as_str().expect("an id");
    let listed = gateway.get("/jobs:retry").await;
    assert_eq!((listed.status, listed.body["retries"][0]["retry_id"].as_str()), (200, Some(id)));
    let stop = async |id: &str| gateway.send(call(Method::DELETE, &format!("/jobs:retry/{id}"), &[], "")).await;
    let stopped = stop(id).await;
    assert_eq!((stopped.status, stopped.body["state"].as_str()), (200, Some("stopped")));
    for unknown in ["7", &RetryId::generate().to_string()] {
        assert_eq!(stop(unknown).await.status, 404);
    }
}

#[tokio::test]
async fn what_is_not_understood_is_never_retried() {
    let gateway = TestGateway::start().await;
    let refused = async |body: &str, pointer: &str| {
        let told = gateway.post("/jobs:retry", &[], body).await;
        assert_eq!((told.status, told.problem(), told.pointers()), (422, "invalid", vec![pointer]), "{body}");
    };
    refused("{}", "/status").await;
    refused(r#"{"status":"succeeded"}"#, "/status").await;
    refused(r#"{"status":"failed","tsak":"a"}"#, "/tsak").await;
    refused(r#"{"status":"failed","task":"a b"}"#, "/task").await;
    refused(r#"{"status":"failed","error_kind":"bad luck"}"#, "/error_kind").await;
    refused(r#"{"status":"failed","after":"yesterday"}"#, "/after").await;
    refused(r#"{"status":"failed","rate_per_second":0}"#, "/rate_per_second").await;
    refused(r#"{"status":"failed","limit":10000001}"#, "/limit").await;
    assert!(gateway.store.inner().retries.is_empty());
}
