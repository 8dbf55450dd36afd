//! What is not ours on the queues of RabbitMQ is parked with its reason, and the work beside it goes on.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::rabbit::Vhost;
use tests::{Setup, eventually, scenario, wait_until};

use crate::SOON;

const GARBAGE: [&str; 5] = ["", "hello", "{}", "{\"v\": 99, \"job_id\": 7}", "[[[[[["];

#[tokio::test]
async fn garbage_on_the_queues_is_parked_with_its_reason() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()), async |cluster| {
        let (client, management) = (cluster.client(), vhost.management());
        for (exchange, routing_key, parked) in
            [("jobs", "default", "jobs.rejected"), ("cache.invalidate", "", "cache.rejected")]
        {
            for body in GARBAGE {
                ensure!(management.publish(vhost.name(), exchange, routing_key, body).await?, "{exchange} is bound");
            }
            let id = client.accepted(&json!({"task": "noop"})).await?;
            client.succeeded(&id, SOON).await?;
            let mut found = Vec::new();
            eventually(SOON, &format!("all garbage is in {parked}"), async || {
                found.extend(management.take(vhost.name(), parked, 10).await?);
                Ok((found.len() >= GARBAGE.len()).then_some(()))
            })
            .await?;
            ensure!(found.len() == GARBAGE.len(), "{parked}: {found:?}");
            for (body, message) in GARBAGE.iter().zip(&found) {
                let reason = message["properties"]["headers"]["x-longshore-reason"].as_str().context("a reason")?;
                ensure!(
                    !reason.is_empty() && GARBAGE.contains(&message["payload"].as_str().unwrap_or("?")),
                    "{body}: {message}"
                );
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn published_invalidation_is_applied_within_a_second() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()), async |cluster| {
        let lb = cluster.client().http();
        lb.get("/data").await?.expect(200)?;
        ensure!(lb.get("/data").await?.expect(200)?["cached"] == true);
        vhost
            .management()
            .publish(vhost.name(), "cache.invalidate", "", &json!({"key": "my_data"}).to_string())
            .await?;
        // Reads on the way fill the cache again only after the invalidation, and that first one says so.
        wait_until(std::time::Duration::from_secs(1), "a read from the store", async || {
            Ok(lb.get("/data").await?.expect(200)?["cached"] == false)
        })
        .await
    })
    .await
}
