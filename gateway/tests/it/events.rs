//! Streams of a job's changes: whole, resumable anywhere, bounded, and over when the job is.

use chassis::client::Event;
use chassis::testing::{EventSource, wait_until};
use protocol::api::{Progress, Status};
use protocol::ids::JobId;
use serde_json::Value;

use crate::gateway::{SOON, TestGateway};

async fn open(gateway: &TestGateway, job_id: JobId, last_event_id: Option<&str>) -> EventSource {
    let path = format!("/jobs/{job_id}/events");
    EventSource::open(gateway.address, &path, last_event_id).await.expect("an answer")
}

async fn next(source: &mut EventSource) -> Option<Event> {
    tokio::time::timeout(SOON, source.next()).await.expect("in time").expect("a whole answer")
}

/// The kind of the next event, and the status of the job in it.
async fn told(source: &mut EventSource) -> (String, String) {
    let event = next(source).await.expect("an event");
    let job: Value = serde_json::from_str(&event.data).expect("the job");
    (event.event, job["status"].as_str().expect("a status").to_owned())
}

fn is(event: &str, status: &str) -> (String, String) {
    (event.to_owned(), status.to_owned())
}

/// Its follower has asked for the log so often.
async fn follows(gateway: &TestGateway, calls: usize) {
    wait_until(SOON, "the log is followed", async || gateway.store.inner().log_calls >= calls).await;
}

#[tokio::test]
async fn every_change_is_told_and_the_end_is_the_last() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Queued);
    let mut source = open(&gateway, job_id, None).await;
    assert_eq!(source.status, 200, "{}", source.head);
    assert!(source.head.contains("content-type: text/event-stream"), "{}", source.head);
    assert!(source.head.contains("cache-control: no-cache"), "{}", source.head);
    assert_eq!(told(&mut source).await, is("status", "queued"));
    gateway.store.becomes(job_id, Status::Running);
    assert_eq!(told(&mut source).await, is("status", "running"));
    for fraction in [0.25, 0.5] {
        gateway.store.progresses(job_id, Progress { fraction: Some(fraction), message: None });
        let event = next(&mut source).await.expect("an event");
        let job: Value = serde_json::from_str(&event.data).expect("the job");
        assert_eq!((event.event.as_str(), job["progress"]["fraction"].as_f64()), ("progress", Some(fraction)));
    }
    gateway.store.becomes(JobId::generate(), Status::Succeeded);
    gateway.store.end(job_id, Status::Succeeded);
    assert_eq!(told(&mut source).await, is("status", "succeeded"));
    assert_eq!(next(&mut source).await, None);
}

#[tokio::test]
async fn a_client_that_comes_back_is_told_what_it_has_not_seen() {
    let gateway = TestGateway::start().await;
    let other = TestGateway::beside(&gateway).await;
    let job_id = gateway.store.has_job(Status::Queued);
    gateway.store.becomes(job_id, Status::Running);
    let mut source = open(&gateway, job_id, None).await;
    let seen = next(&mut source).await.expect("an event").id;
    drop(source);
    // Nothing has changed: the next event is the next change, at whatever gateway.
    let mut source = open(&other, job_id, Some(&seen)).await;
    follows(&gateway, 1).await;
    gateway.store.progresses(job_id, Progress { fraction: Some(0.5), message: None });
    let event = next(&mut source).await.expect("an event");
    assert_ne!(event.id, seen);
    drop(source);
    // Something has changed meanwhile.
    gateway.store.end(job_id, Status::Failed);
    let mut source = open(&gateway, job_id, Some(&event.id)).await;
    let last = next(&mut source).await.expect("an event");
    assert!(last.data.contains("\"failed\""), "{last:?}");
    assert_eq!(next(&mut source).await, None);
    // It has seen the end: it need not come back.
    assert_eq!(open(&other, job_id, Some(&last.id)).await.status, 204);
    // An id of nobody's says nothing.
    let mut source = open(&other, job_id, Some("7")).await;
    assert_eq!(told(&mut source).await, is("status", "failed"));
}

#[tokio::test]
async fn a_restored_store_and_a_trimmed_log_make_a_stream_look_again() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Queued);
    let mut source = open(&gateway, job_id, None).await;
    let seen = next(&mut source).await.expect("an event").id;
    follows(&gateway, 1).await;
    gateway.store.change(job_id, |job| job.status = Status::Running);
    gateway.store.restore();
    assert_eq!(told(&mut source).await, is("status", "running"));
    // The position of the other history is no cursor in this one, though the numbers are the same.
    let mut late = open(&gateway, job_id, Some(&seen)).await;
    assert_eq!(told(&mut late).await, is("status", "running"));
    drop(late);
    let calls = gateway.store.inner().log_calls;
    gateway.store.inner().trimmed = true;
    gateway.store.end(job_id, Status::Cancelled);
    assert_eq!(told(&mut source).await, is("status", "cancelled"));
    assert_eq!(next(&mut source).await, None);
    assert!(gateway.store.inner().log_calls > calls);
}

#[tokio::test]
async fn who_reads_slowly_is_told_how_it_is_and_not_how_it_was() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    // Each event is larger than what the sockets between the two hold together.
    gateway.store.change(job_id, |job| job.queue = "q".repeat(16 << 20));
    let mut source = open(&gateway, job_id, None).await;
    follows(&gateway, 1).await;
    for step in 1..=100_u32 {
        let progress = Progress { fraction: Some(f64::from(step) / 100.0), message: None };
        gateway.store.progresses(job_id, progress);
    }
    gateway.store.end(job_id, Status::Succeeded);
    let mut events = 0;
    let mut last = None;
    while let Some(event) = next(&mut source).await {
        (events, last) = (events + 1, Some(event));
    }
    assert!(events <= 3, "{events} events were kept");
    let last: Value = serde_json::from_str(&last.expect("an event").data).expect("the job");
    assert_eq!(last["status"], "succeeded");
}

#[tokio::test]
async fn a_stream_outlives_an_outage_of_the_store() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let mut source = open(&gateway, job_id, None).await;
    assert_eq!(told(&mut source).await, is("status", "running"));
    follows(&gateway, 1).await;
    let reads = gateway.store.inner().job_reads;
    gateway.store.inner().away = true;
    gateway.store.end(job_id, Status::Succeeded);
    wait_until(SOON, "it tries to read", async || {
        let inner = gateway.store.inner();
        inner.job_reads > reads || inner.log_calls > 1
    })
    .await;
    gateway.store.inner().away = false;
    assert_eq!(told(&mut source).await, is("status", "succeeded"));
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_given_back() {
    let gateway = TestGateway::start_with(&[("LONGSHORE_STREAMS_MAX", "1"), ("LONGSHORE_WAITERS_MAX", "0")]).await;
    let job_id = gateway.store.has_job(Status::Running);
    let mut source = open(&gateway, job_id, None).await;
    assert_eq!(told(&mut source).await, is("status", "running"));
    let told_off = gateway.get(&format!("/jobs/{job_id}/events")).await;
    assert_eq!((told_off.status, told_off.problem()), (429, "rate-limited"), "{told_off:?}");
    assert!(told_off.header("retry-after").is_some());
    drop(source);
    wait_until(SOON, "the place is free", async || open(&gateway, job_id, None).await.status == 200).await;
    assert_eq!(gateway.get(&format!("/jobs/{}/events", JobId::generate())).await.status, 404);
}

#[tokio::test]
async fn nobody_streams_nobody_follows() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Succeeded);
    let mut source = open(&gateway, job_id, None).await;
    assert_eq!(told(&mut source).await, is("status", "succeeded"));
    assert_eq!(next(&mut source).await, None);
    assert_eq!(gateway.store.inner().log_calls, 0);
}

#[tokio::test]
async fn a_gateway_that_drains_ends_its_streams_in_order() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let mut source = open(&gateway, job_id, None).await;
    assert_eq!(told(&mut source).await, is("status", "running"));
    let ((), end) = tokio::join!(gateway.drain(), next(&mut source));
    assert_eq!(end, None);
}

#[tokio::test]
async fn silence_is_broken_by_comments() {
    let gateway = TestGateway::start_with(&[("LONGSHORE_STREAM_HEARTBEAT_MS", "100")]).await;
    let job_id = gateway.store.has_job(Status::Running);
    let mut source = open(&gateway, job_id, None).await;
    assert_eq!(told(&mut source).await, is("status", "running"));
    for _ in 0..2 {
        let heartbeat = tokio::time::timeout(SOON, source.next_is_comment()).await;
        assert!(heartbeat.expect("in time").expect("a whole answer"));
    }
    gateway.store.end(job_id, Status::Succeeded);
    assert_eq!(told(&mut source).await, is("status", "succeeded"));
}
