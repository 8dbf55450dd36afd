//! Two stores on one PostgreSQL database, as their callers see them.

use std::time::Duration;

use chassis::client::Call;
use chassis::testing::postgres::ScratchCluster;
use chassis::testing::wait_until;
use http::StatusCode;
use protocol::api::{JobView, Status};
use protocol::ids::SessionId;
use protocol::store_api::{Command, Complete, JobFence, LogPage, News, Outcome};
use tokio::time::Instant;

use super::pulling::{asking, pull, workers};
use super::{Store, broker, create, start_at};
use crate::conformance::postgres::cluster;

async fn two_stores() -> (Store, Store) {
    let url = tokio::task::spawn_blocking(|| cluster().fresh_database().expect("a database")).await.expect("made");
    let broker = broker();
    let first = start_at(&url, broker.clone()).await;
    // Ready before the second one starts, which frees the places of an embedded broker's bells.
    first.get::<LogPage>("/log").await;
    (first, start_at(&url, broker).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_walks_between_two_stores() {
    let (first, second) = two_stores().await;
    let session = SessionId::generate();
    first.heartbeat(session, &["a"]).await;
    let created = second.create(create("a")).await;
    let bell = first.next_bell().await;
    assert_eq!(bell.job_id, created.job_id);
    let claimed = second.claim(session, &bell).await.expect("won");
    let running: JobView = first.get(&format!("/jobs/{}", created.job_id)).await;
    assert_eq!(running.status, Status::Running);
    let outcome = Outcome::Succeeded { result: None };
    first
        .apply(Command::Complete(Complete {
            job_id: created.job_id,
            fence: claimed.fence,
            outcome,
            output: None,
            next: None,
        }))
        .await;
    let done: JobView = second.get(&format!("/jobs/{}", created.job_id)).await;
    assert_eq!(done.status, Status::Succeeded);
    first.stop().await;
    // The other one goes on alone.
    second.heartbeat(session, &["a"]).await;
    let alone = second.create(create("a")).await;
    assert_eq!(second.next_bell().await.job_id, alone.job_id);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polls_at_one_store_hear_what_the_other_commits() {
    let (first, second) = two_stores().await;
    let session = SessionId::generate();
    first.heartbeat(session, &["a"]).await;
    // Registered at the other one a moment ago: known here at once, whether or not it was heard of.
    second.get::<News>(&format!("/sessions/{session}/news?after=0&wait_ms=0")).await;

    // Far below the second after which a store looks by itself.
    let waits = second.get::<LogPage>("/log?after=0&wait_ms=20000");
    let (page, created) = tokio::join!(waits, first.create(create("a")));
    assert_eq!(page.entries.len(), 1);

    let bell = first.next_bell().await;
    let claimed = first.claim(session, &bell).await.expect("won");
    let path = format!("/sessions/{session}/news?after=0&wait_ms=20000");
    let waits = second.get::<News>(&path);
    let (news, _) = tokio::join!(waits, first.apply(Command::Cancel { job_id: created.job_id }));
    assert_eq!(news.cancelled, [JobFence { job_id: created.job_id, fence: claimed.fence }]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_pulls_at_one_store_is_woken_by_the_other() {
    let (first, second) = two_stores().await;
    let asking = asking(&["a"]);
    let begun = Instant::now();
    let submit = async {
        workers(&second, 1).await;
        second.create(create("a")).await.job_id
    };
    let (pulled, job_id) = tokio::join!(pull(&first, &asking, Duration::from_secs(20)), submit);
    assert_eq!(pulled.jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [job_id]);
    assert!(begun.elapsed() < Duration::from_secs(10), "it was woken, its time was not over");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_without_its_broker_accepts_is_rung_by_the_other() {
    let url = tokio::task::spawn_blocking(|| cluster().fresh_database().expect("a database")).await.expect("made");
    let (cut_off, reached) = (broker(), broker());
    let first = start_at(&url, cut_off.clone()).await;
    first.get::<LogPage>("/log").await;
    let second = start_at(&url, reached).await;
    let session = SessionId::generate();
    first.heartbeat(session, &["a"]).await;
    cut_off.stop();
    let created = first.create(create("a")).await;
    assert_eq!(second.next_bell().await.job_id, created.job_id);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_store_answers_503_and_goes_on_when_it_is_back() {
    let (mut server, url) = tokio::task::spawn_blocking(|| {
        let server = ScratchCluster::start().expect("a cluster");
        let url = server.fresh_database().expect("a database");
        (server, url)
    })
    .await
    .expect("started");
    let store = start_at(&url, broker()).await;
    let before = store.create(create("a")).await;
    let mut server = tokio::task::spawn_blocking(move || {
        server.kill().expect("killed");
        server
    })
    .await
    .expect("killed");
    let job = Call::get(format!("/jobs/{}", before.job_id));
    let away = async || {
        let answer = store.call(&job).await;
        let problem = answer.as_ref().err().and_then(|error| error.problem());
        problem.is_some_and(|problem| problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16())
    };
    wait_until(Duration::from_secs(20), "reads are answered 503", away).await;
    let apply = protocol::store_api::Apply { items: vec![Command::Create(Box::new(create("a")))] };
    let refused = async || {
        let answer = store.client.peer().post::<_, protocol::store_api::Applied>("/apply", &apply).await;
        let problem = answer.as_ref().err().and_then(|error| error.problem());
        problem.is_some_and(|problem| problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16())
    };
    wait_until(Duration::from_secs(20), "writes are answered 503", refused).await;
    let server = tokio::task::spawn_blocking(move || {
        server.start_again().expect("started");
        server
    })
    .await
    .expect("started");
    let back = async || store.call(&job).await.is_ok();
    wait_until(Duration::from_secs(20), "reads are answered again", back).await;
    let written = async || store.client.peer().post::<_, protocol::store_api::Applied>("/apply", &apply).await.is_ok();
    wait_until(Duration::from_secs(20), "writes are answered again", written).await;
    store.stop().await;
    tokio::task::spawn_blocking(move || drop(server)).await.expect("ended");
}
