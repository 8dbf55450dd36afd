//! Bells and the broker: whatever it does, every waiting row is rung.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chassis::broker::Port as _;
use chassis::testing::wait_until;
use protocol::api::{JobView, Status, WaitingFor};
use protocol::envelope::Bell;
use protocol::ids::{JobId, SessionId};
use protocol::job::ClaimRefusal;
use protocol::store_api::{Command, Complete, Create, Outcome, Reply};
use tempfile::TempDir;

use super::{DEADLINE, Store, broker, create, start, start_in};

async fn succeed(store: &Store, session: SessionId, bell: &Bell) -> bool {
    match store.claim(session, bell).await {
        Ok(claimed) => {
            let outcome = Outcome::Succeeded { result: None };
            let complete = Complete { job_id: bell.job_id, fence: claimed.fence, outcome, output: None, next: None };
            store.apply(Command::Complete(complete)).await;
            true
        }
        Err(Reply::ClaimRefused(ClaimRefusal::StaleBell | ClaimRefusal::NotQueued)) => false,
        Err(other) => panic!("no answer to a claim: {other:?}"),
    }
}

/// Works until all jobs have succeeded.
async fn work_off(store: &Store, session: SessionId, mut open: BTreeSet<JobId>) {
    while !open.is_empty() {
        let bell = store.next_bell().await;
        if succeed(store, session, &bell).await {
            assert!(open.remove(&bell.job_id), "a job of ours, once");
        }
    }
}

#[tokio::test]
async fn a_creator_that_says_nothing_is_taken_over() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    let created = store.create(Create { wants_bell: true, ..create("noop") }).await;
    assert!(created.bell.is_some(), "the creator rings");
    // It does not, and dies: after two seconds the store does.
    assert_eq!(store.next_bell().await.job_id, created.job_id);
    store.stop().await;
}

#[tokio::test]
async fn what_came_while_the_broker_was_away_is_rung_when_it_is_back() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    store.broker.stop();
    let mut jobs = BTreeSet::new();
    for _ in 0..50 {
        jobs.insert(store.create(create("noop")).await.job_id);
    }
    let some = jobs.first().copied().expect("fifty");
    wait_until(DEADLINE, "the job says what it waits for", async || {
        let job: JobView = store.get(&format!("/jobs/{some}")).await;
        job.waiting_for == Some(WaitingFor::Broker)
    })
    .await;
    let health: serde_json::Value = store.get("/ready").await;
    assert_eq!(health["status"], "degraded");
    store.broker.start();
    work_off(&store, session, jobs).await;
    store.stop().await;
}

#[tokio::test]
async fn a_publish_of_unknown_fate_is_rung_again() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    store.broker.lose_confirms(true);
    let job = store.create(create("noop")).await.job_id;
    let first = store.next_bell().await;
    store.broker.lose_confirms(false);
    assert!(succeed(&store, session, &first).await);
    // Copies are harmless: they are refused.
    while let Ok(copy) = tokio::time::timeout(Duration::from_millis(200), store.next_bell()).await {
        assert_eq!(copy.job_id, job);
        assert!(!succeed(&store, session, &copy).await);
    }
    store.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_tried_again_without_haste() {
    let store = start().await;
    let session = SessionId::generate();
    store.broker.limit("jobs.default", 2);
    store.heartbeat(session, &["noop"]).await;
    let mut jobs = BTreeSet::new();
    for _ in 0..20 {
        jobs.insert(store.create(create("noop")).await.job_id);
    }
    work_off(&store, session, jobs).await;
    store.stop().await;
}

#[tokio::test]
async fn a_restart_with_an_empty_broker_loses_nothing() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let first = start_in(Arc::clone(&folder), broker()).await;
    let session = SessionId::generate();
    first.heartbeat(session, &["noop"]).await;
    let mut jobs = BTreeSet::new();
    for _ in 0..100 {
        jobs.insert(first.create(create("noop")).await.job_id);
    }
    for _ in 0..10 {
        let bell = first.next_bell().await;
        assert!(succeed(&first, session, &bell).await);
        jobs.remove(&bell.job_id);
    }
    first.stop().await;
    let second = start_in(folder, broker()).await;
    work_off(&second, session, jobs).await;
    second.stop().await;
}

#[tokio::test]
async fn a_silent_owner_loses_its_lease() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    let job = store.create(create("noop")).await.job_id;
    let bell = store.next_bell().await;
    let claimed = store.claim_for(session, &bell, 1_000).await.expect("won");
    // Nobody renews: one second of lease, one of margin, one between looks.
    let again = store.next_bell().await;
    assert_eq!((again.job_id, again.dispatch.0), (job, 2));
    let news: protocol::store_api::News = store.get(&format!("/sessions/{session}/news?after=0&wait_ms=1000")).await;
    assert_eq!(news.lost.iter().map(|lease| lease.fence).collect::<Vec<_>>(), [claimed.fence]);
    let view: JobView = store.get(&format!("/jobs/{job}")).await;
    assert_eq!((view.status, view.crashes, view.attempt), (Status::Queued, 1, 0));
    store.stop().await;
}

#[tokio::test]
async fn due_rows_are_rung_when_their_time_has_come() {
    let store = start().await;
    store.heartbeat(SessionId::generate(), &["noop"]).await;
    let in_a_second = protocol::time::Timestamp::from_unix_ms(chassis::clock::wall_ms() + 1_000);
    let later = store.create(Create { run_at: Some(in_a_second), ..create("noop") }).await;
    assert_eq!(later.status, Status::Scheduled);
    assert_eq!(store.next_bell().await.job_id, later.job_id);
    assert!(chassis::clock::wall_ms() >= in_a_second.unix_ms());
    store.stop().await;
}

#[tokio::test]
async fn nothing_is_rung_for_nobody() {
    let store = start().await;
    store.create(create("noop")).await;
    store.heartbeat(SessionId::generate(), &["other"]).await;
    assert_eq!(store.broker.depth("jobs.default").await, Some(0));
    let quiet = tokio::time::timeout(Duration::from_millis(300), store.next_bell()).await;
    assert!(quiet.is_err());
    store.stop().await;
}
