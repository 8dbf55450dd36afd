//! `Prefer: wait`: held until the end, never longer than asked, and honest when it cannot be held.

use std::time::Duration;

use chassis::client::Call;
use chassis::testing::wait_until;
use futures_util::future::join_all;
use http::HeaderValue;
use protocol::api::Status;
use protocol::ids::JobId;
use tokio::time::Instant;

use crate::gateway::{SOON, TestGateway, Told};

async fn wait_for(gateway: &TestGateway, job_id: JobId, seconds: u32) -> Told {
    let prefer = HeaderValue::try_from(format!("wait={seconds}")).expect("a value");
    gateway.send(Call::get(format!("/jobs/{job_id}")).header("prefer", prefer)).await
}

/// So many requests wait at the gateway, and its follower has asked for the log.
async fn waiting(gateway: &TestGateway, reads: usize) {
    wait_until(SOON, "the gateway waits", async || {
        let inner = gateway.store.inner();
        inner.job_reads >= reads && inner.log_calls > 0
    })
    .await;
}

#[tokio::test]
async fn the_answer_is_held_until_the_job_ends() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let end = async {
        waiting(&gateway, 1).await;
        gateway.store.go_on();
        gateway.store.end(job_id, Status::Failed);
    };
    let begin = Instant::now();
    let (told, ()) = tokio::join!(wait_for(&gateway, job_id, 30), end);
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("failed")));
    assert_eq!((told.header("preference-applied"), told.header("retry-after")), (Some("wait=30"), None));
    assert!(begin.elapsed() < SOON);
}

#[tokio::test]
async fn a_job_that_has_ended_is_shown_at_once_and_nobody_follows_the_log() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Succeeded);
    let told = wait_for(&gateway, job_id, 30).await;
    assert_eq!((told.status, told.header("preference-applied")), (200, Some("wait=30")));
    assert_eq!(gateway.store.inner().log_calls, 0);
    assert_eq!(wait_for(&gateway, JobId::generate(), 30).await.status, 404);
}

#[tokio::test]
async fn when_the_time_is_over_the_job_is_shown_as_it_is() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let begin = Instant::now();
    let told = wait_for(&gateway, job_id, 1).await;
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("running")));
    assert_eq!((told.header("preference-applied"), told.header("retry-after")), (Some("wait=1"), Some("1")));
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn many_wait_on_one_log_and_each_is_woken_for_its_own_job() {
    let gateway = TestGateway::start().await;
    let jobs: Vec<JobId> = (0..50).map(|_| gateway.store.has_job(Status::Running)).collect();
    let waits = join_all(jobs.iter().map(|job_id| wait_for(&gateway, *job_id, 30)));
    let end = async {
        waiting(&gateway, 50).await;
        jobs.iter().for_each(|job_id| gateway.store.end(*job_id, Status::Succeeded));
    };
    let begin = Instant::now();
    let (answers, ()) = tokio::join!(waits, end);
    assert!(begin.elapsed() < SOON);
    for (told, job_id) in answers.iter().zip(&jobs) {
        assert_eq!((told.status, told.body["status"].as_str()), (200, Some("succeeded")));
        assert_eq!(told.body["job_id"], job_id.to_string());
    }
}

#[tokio::test]
async fn a_submit_that_waits_is_answered_with_the_finished_job() {
    let gateway = TestGateway::start().await;
    let submit = gateway.post("/longtask", &[("prefer", "respond-async, wait=30")], r#"{"task":"noop"}"#);
    let end = async {
        waiting(&gateway, 1).await;
        let job_id = gateway.store.inner().creates[0].job_id;
        gateway.store.end(job_id, Status::Succeeded);
    };
    let (told, ()) = tokio::join!(submit, end);
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("succeeded")));
    assert_eq!(told.header("preference-applied"), Some("wait=30"));
    assert!(told.header("location").is_some());
}

#[tokio::test]
async fn a_submit_whose_wait_is_over_is_accepted() {
    let gateway = TestGateway::start().await;
    let told = gateway.post("/longtask", &[("prefer", "wait=1")], r#"{"task":"noop"}"#).await;
    assert_eq!((told.status, told.body["status"].as_str()), (202, Some("queued")));
    assert_eq!(told.header("preference-applied"), Some("wait=1"));
}

#[tokio::test]
async fn a_full_house_is_told_so_but_a_submit_is_accepted() {
    let gateway = TestGateway::start_with(&[("LONGSHORE_WAITERS_MAX", "1")]).await;
    let job_id = gateway.store.has_job(Status::Running);
    let others = async {
        waiting(&gateway, 1).await;
        let told = wait_for(&gateway, gateway.store.has_job(Status::Running), 30).await;
        assert_eq!((told.status, told.problem()), (429, "rate-limited"), "{told:?}");
        assert!(told.header("retry-after").is_some());
        // Who need not wait needs no place.
        assert_eq!(wait_for(&gateway, gateway.store.has_job(Status::Failed), 30).await.status, 200);
        let told = gateway.post("/longtask", &[("prefer", "wait=30")], r#"{"task":"noop"}"#).await;
        assert_eq!((told.status, told.header("preference-applied")), (202, None));
        gateway.store.end(job_id, Status::Succeeded);
    };
    let (told, ()) = tokio::join!(wait_for(&gateway, job_id, 30), others);
    assert_eq!(told.status, 200);
}

#[tokio::test]
async fn a_restored_store_forgets_nobody() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    gateway.store.go_on();
    let end = async {
        waiting(&gateway, 1).await;
        gateway.store.restore();
        waiting(&gateway, 2).await;
        gateway.store.end(job_id, Status::Succeeded);
    };
    let begin = Instant::now();
    let (told, ()) = tokio::join!(wait_for(&gateway, job_id, 30), end);
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("succeeded")));
    assert!(begin.elapsed() < SOON);
}

#[tokio::test]
async fn a_trimmed_log_makes_everybody_read_again() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let end = async {
        waiting(&gateway, 1).await;
        // The end is in a part of the log that nobody can read any more.
        gateway.store.change(job_id, |job| job.status = Status::Succeeded);
        gateway.store.inner().trimmed = true;
        gateway.store.go_on();
    };
    let (told, ()) = tokio::join!(wait_for(&gateway, job_id, 30), end);
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("succeeded")));
}

#[tokio::test]
async fn a_store_that_goes_away_under_a_wait_is_a_503_at_its_end() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let go_away = async {
        waiting(&gateway, 1).await;
        gateway.store.inner().away = true;
        gateway.store.go_on();
    };
    let (told, ()) = tokio::join!(wait_for(&gateway, job_id, 1), go_away);
    assert_eq!((told.status, told.problem()), (503, "unavailable"));
}

#[tokio::test]
async fn a_gateway_that_drains_answers_those_who_wait() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(Status::Running);
    let drain = async {
        waiting(&gateway, 1).await;
        gateway.drain().await;
    };
    let begin = Instant::now();
    let (told, ()) = tokio::join!(wait_for(&gateway, job_id, 30), drain);
    assert_eq!((told.status, told.body["status"].as_str()), (200, Some("running")));
    assert!(begin.elapsed() < SOON);
}
