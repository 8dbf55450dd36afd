//! A job's changes as a stream: through the balancer, and from one gateway to the next.

use anyhow::{Context, Result, ensure};
use chassis::client::Event;
use chassis::testing::EventSource;
use serde_json::{Value, json};
use tests::Cluster;

use crate::{SOON, embedded, rabbitmq};

async fn open(cluster: &Cluster, program: &str, id: &str, last: Option<&str>) -> Result<EventSource> {
    Ok(EventSource::open(cluster.address(program)?, &format!("/jobs/{id}/events"), last).await?)
}

async fn next(source: &mut EventSource) -> Result<Option<Event>> {
    Ok(tokio::time::timeout(SOON, source.next()).await.context("no event came")??)
}

fn position(event: &Event) -> Result<u64> {
    let (position, _) = event.id.split_once('-').context("an id")?;
    Ok(position.parse()?)
}

/// The stream from here to its end: in order, the last event being the job's end. Returns how many reported progress.
async fn to_the_end(source: &mut EventSource, mut after: u64) -> Result<usize> {
    let (mut last, mut progress) = (Value::Null, 0);
    while let Some(event) = next(source).await? {
        ensure!(position(&event)? > after, "after {after} came {event:?}");
        after = position(&event)?;
        last = serde_json::from_str(&event.data)?;
        progress += usize::from(event.event == "progress");
    }
    ensure!(last["status"] == "succeeded" && last["result"].is_object(), "{last}");
    Ok(progress)
}

async fn from_begin_to_end(cluster: &mut Cluster) -> Result<()> {
    let id = cluster.client().accepted(&json!({"task": "work", "payload": {"duration_ms": 2_000, "steps": 8}})).await?;
    let mut source = open(cluster, "lb", &id, None).await?;
    ensure!(source.status == 200, "{}", source.head);
    let progress = to_the_end(&mut source, 0).await?;
    ensure!(progress >= 2, "{progress} events of progress");
    Ok(())
}

#[tokio::test]
async fn a_job_is_followed_through_the_balancer() -> Result<()> {
    embedded(from_begin_to_end).await
}

async fn over_a_killed_gateway(cluster: &mut Cluster) -> Result<()> {
    let id = cluster.client().accepted(&json!({"task": "work", "payload": {"duration_ms": 3_000, "steps": 8}})).await?;
    let mut source = open(cluster, "gateway-0", &id, None).await?;
    let seen = next(&mut source).await?.context("an event")?;
    cluster.process("gateway-0")?.kill_9()?;
    // What it had sent may still be on the way, but no end in order.
    while let Ok(event) = source.next().await {
        ensure!(event.is_some(), "a killed gateway ended its stream in order");
    }
    let mut source = open(cluster, "gateway-1", &id, Some(&seen.id)).await?;
    to_the_end(&mut source, position(&seen)?).await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_goes_on_at_another_gateway() -> Result<()> {
    rabbitmq(over_a_killed_gateway).await
}
