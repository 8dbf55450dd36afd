//! What is not ours on the queues of RabbitMQ is parked with its reason, once, and the work beside it goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Setup, eventually, scenario, wait_until};
use uuid::Uuid;

use crate::SOON;

const DELIVERIES: &str = "longshore_broker_deliveries_total";

/// The word that a reason begins with says what was wrong.
const GARBAGE: [(&str, &str); 6] = [
    ("", "not-json"),
    ("hello", "not-json"),
    ("[[[[[[", "not-json"),
    ("[]", "bad-shape"),
    ("{\"v\": 1, \"keys\": 7, \"job_id\": 7}", "bad-shape"),
    ("{\"v\": 99, \"key\": \"k\", \"job_id\": 7}", "unknown-version"),
];

fn bell(job_id: Uuid, created_at: &str) -> String {
    json!({"v": 1, "job_id": job_id, "dispatch": 1, "task": "noop", "created_at": created_at}).to_string()
}

/// Each body that was sent with the reason that it must be parked with.
async fn parked(vhost: &Vhost, queue: &str, expected: &BTreeMap<String, &str>) -> Result<()> {
    let mut found: Vec<Value> = Vec::new();
    eventually(SOON, &format!("all garbage is in {queue}"), async || {
        found.extend(vhost.management().take(vhost.name(), queue, 20).await?);
        Ok((found.len() >= expected.len()).then_some(()))
    })
    .await?;
    ensure!(found.len() == expected.len(), "{queue}: {found:?}");
    for message in &found {
        let reason = message["properties"]["headers"]["x-longshore-reason"].as_str().context("a reason")?;
        let body = message["payload"].as_str().context("a body")?;
        let word = expected.get(body).with_context(|| format!("{queue} holds what nobody sent: {message}"))?;
        ensure!(reason.starts_with(word), "{body} was parked as {reason}, not {word}");
    }
    Ok(())
}

#[tokio::test]
async fn garbage_on_the_queues_is_parked_with_its_reason() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()), async |cluster| {
        let (client, management) = (cluster.client(), vhost.management());
        for (exchange, routing_key, queue) in
            [("jobs", "default", "jobs.rejected"), ("cache.invalidate", "", "cache.rejected")]
        {
            let mut expected: BTreeMap<String, &str> =
                GARBAGE.iter().map(|&(body, reason)| (body.to_owned(), reason)).collect();
            let mut sent: Vec<String> = expected.keys().cloned().collect();
            if exchange == "jobs" {
                // Nobody accepted it: parked, unless the job may have been forgotten since.
                let young = bell(Uuid::now_v7(), "2100-01-01T00:00:00.000Z");
                expected.insert(young.clone(), "unknown-job");
                sent.extend([young, bell(Uuid::now_v7(), "2001-01-01T00:00:00.000Z")]);
            }
            for body in &sent {
                ensure!(management.publish(vhost.name(), exchange, routing_key, body).await?, "{exchange} is bound");
            }
            parked(&vhost, queue, &expected).await?;
            let id = client.accepted(&json!({"task": "noop"})).await?;
            client.succeeded(&id, SOON).await?;
        }
        // Each was delivered once and never came back.
        let bells = cluster.sum("worker", DELIVERIES, &["queue=\"jobs.default\""]).await?;
        let garbage = f64::from(u32::try_from(GARBAGE.len())?);
        // Two unknown jobs, two real ones, and a real one rung again is no harm.
        ensure!((garbage + 4.0..garbage + 8.0).contains(&bells), "{bells} deliveries of bells");
        let intake = cluster.sum("cache-svc", DELIVERIES, &["cache.intake"]).await?;
        ensure!((intake - garbage).abs() < 0.5, "{intake} deliveries of invalidations");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn dead_letters_are_triaged() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()), async |cluster| {
        let (client, management) = (cluster.client(), vhost.management());
        let waiting = client.accepted(&json!({"task": "noop", "delay_ms": 2_000})).await?;
        // As if a queue had given up on them: the default exchange names queues.
        let bell = bell(waiting.parse()?, "2100-01-01T00:00:00.000Z");
        for body in [bell.as_str(), "hello"] {
            ensure!(management.publish(vhost.name(), "amq.default", "jobs.dead", body).await?, "the queue is there");
        }
        parked(&vhost, "jobs.rejected", &BTreeMap::from([("hello".to_owned(), "not-json")])).await?;
        eventually(SOON, "nothing is left dead", async || {
            let rung = cluster.metrics("store-svc").await?;
            let rung = rung.sum("longshore_store_dead_letters_total", &["outcome=\"rung-again\""]);
            Ok((rung > 0.5).then_some(()))
        })
        .await?;
        client.succeeded(&waiting, SOON).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn published_invalidation_is_applied_within_a_second() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).alone(), async |cluster| {
        let lb = cluster.client().http();
        lb.get("/data").await?.expect(200)?;
        ensure!(lb.get("/data").await?.expect(200)?["cached"] == true);
        let event = json!({"key": "my_data"}).to_string();
        vhost.management().publish(vhost.name(), "cache.invalidate", "", &event).await?;
        // Reads on the way fill the cache again only after the invalidation, and that first one says so.
        wait_until(Duration::from_secs(1), "a read from the store", async || {
            Ok(lb.get("/data").await?.expect(200)?["cached"] == false)
        })
        .await
    })
    .await
}
