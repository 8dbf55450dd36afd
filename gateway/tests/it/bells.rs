//! The bells that a gateway rings for the jobs it created, and what it tells the store about them.

use chassis::broker::Port;
use chassis::testing::wait_until;
use protocol::envelope::Bell;
use protocol::ids::{Dispatch, JobId};

use crate::gateway::{SOON, TestGateway};

fn id_of(told: &crate::gateway::Told) -> JobId {
    told.body["job_id"].as_str().expect("an id").parse().expect("an id")
}

#[tokio::test]
async fn a_new_job_is_rung_and_the_store_is_told() {
    let gateway = TestGateway::start().await;
    let told = gateway.submit(r#"{"task":"report_1","queue":"reports"}"#).await;
    let mut slot = gateway.broker.consume("jobs.reports");
    let delivery = tokio::time::timeout(SOON, slot.next()).await.expect("a delivery");
    let bell = Bell::decode(&delivery.body).expect("a bell");
    assert_eq!((bell.job_id, bell.dispatch), (id_of(&told), Dispatch(1)));
    assert_eq!((bell.task.as_str(), bell.created_at.unix_ms()), ("report_1", 1_800_000_000_000));
    let trace = gateway.store.inner().creates[0].trace.clone();
    assert!(bell.trace == trace && trace.is_some());
    delivery.ack();
    wait_until(SOON, "the store knows that it was sent", async || gateway.store.inner().sent.len() == 1).await;
    let bell = gateway.store.inner().sent[0];
    assert_eq!((bell.job_id, bell.dispatch), (id_of(&told), Dispatch(1)));
    assert_eq!(gateway.store.inner().ring_again.len(), 0);
}

#[tokio::test]
async fn without_a_broker_the_bell_is_left_to_the_store() {
    let gateway = TestGateway::start().await;
    gateway.broker.stop();
    assert_eq!(gateway.submit(r#"{"task":"noop"}"#).await.status, 202);
    gateway.broker.block();
    assert_eq!(gateway.submit(r#"{"task":"noop"}"#).await.status, 202);
    gateway.broker.start();
    assert_eq!(gateway.submit(r#"{"task":"noop"}"#).await.status, 202);
    let wanted: Vec<bool> = gateway.store.inner().creates.iter().map(|create| create.wants_bell).collect();
    assert_eq!(wanted, [false, false, true]);
}

#[tokio::test]
async fn a_bell_of_unknown_or_bad_fate_is_given_back() {
    let gateway = TestGateway::start().await;
    let given_back = async |count: usize| {
        let what = format!("{count} bells are to be rung again");
        wait_until(SOON, &what, async || gateway.store.inner().ring_again.len() == count).await;
    };
    gateway.broker.lose_confirms(true);
    let unknown = gateway.submit(r#"{"task":"noop"}"#).await;
    given_back(1).await;
    gateway.broker.lose_confirms(false);
    gateway.broker.limit("jobs.default", 1);
    let rejected = gateway.submit(r#"{"task":"noop"}"#).await;
    given_back(2).await;
    let bells: Vec<JobId> = gateway.store.inner().ring_again.iter().map(|bell| bell.job_id).collect();
    assert_eq!(bells, [id_of(&unknown), id_of(&rejected)]);
}

#[tokio::test]
async fn what_was_rung_before_the_end_is_reported_before_the_end() {
    let gateway = TestGateway::start().await;
    for _ in 0..20 {
        assert_eq!(gateway.submit(r#"{"task":"noop"}"#).await.status, 202);
    }
    gateway.drain().await;
    assert_eq!(gateway.store.inner().sent.len(), 20);
}
