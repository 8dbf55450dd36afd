//! Hot reads and their invalidation, in our own words: cached once loaded, and never older than what was acknowledged, at any gateway.

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tests::{Cluster, Http};

use crate::{SOON, embedded, rabbitmq};

const GATEWAYS: [&str; 3] = ["gateway-0", "gateway-1", "gateway-2"];

async fn read(http: &Http, key: &str) -> Result<Value> {
    http.get(&format!("/data/{key}")).await?.expect(200)
}

async fn read_delete_read(cluster: &mut Cluster) -> Result<()> {
    let lb = cluster.client().http();
    let cache = cluster.http("cache-svc")?;
    lb.get("/data").await?.expect(200)?;
    for round in 0..20 {
        let before = lb.get("/data").await?.expect(200)?;
        ensure!(before == json!({"cached": true, "data": "Fetched fresh data from DB"}), "round {round}: {before}");
        let deleted = cache.delete("/cache/my_data").await?.expect(200)?;
        ensure!(deleted["status"] == "deleted", "round {round}: {deleted}");
        let after = lb.get("/data").await?.expect(200)?;
        ensure!(after["cached"] == false, "round {round}: {after}");
    }
    let held = cache.get("/cache/my_data").await?.expect(200)?;
    ensure!(held["value"] == "Fetched fresh data from DB", "{held}");
    lb.get("/data/nobody_wrote_this").await?.problem(404)?;
    Ok(())
}

#[tokio::test]
async fn read_after_an_invalidation_comes_from_the_store_embedded() -> Result<()> {
    embedded(read_delete_read).await
}

#[tokio::test]
async fn read_after_an_invalidation_comes_from_the_store_on_rabbitmq() -> Result<()> {
    rabbitmq(read_delete_read).await
}

/// Readers at every gateway all the time; after each acknowledged write every gateway must answer at least that value.
async fn writes_under_reads(cluster: &mut Cluster) -> Result<()> {
    let gateways: Vec<Http> = GATEWAYS.iter().map(|name| cluster.http(name)).collect::<Result<_>>()?;
    let lb = cluster.client().http();
    lb.put("/data/counter", &json!({"data": 0})).await?.expect(200)?;
    let written = std::cell::Cell::new(0_u64);
    let done = std::cell::Cell::new(false);
    let reader = async |gateway: &Http| {
        let mut reads = 0_u64;
        while !done.get() {
            // The request begins after this acknowledgement.
            let acknowledged = written.get();
            let answer = read(gateway, "counter").await?;
            let value = answer["data"].as_u64().unwrap_or_default();
            ensure!(
                value >= acknowledged,
                "{} answered {answer} after {acknowledged} was acknowledged",
                gateway.address()
            );
            reads += 1;
        }
        anyhow::Ok(reads)
    };
    let writer = async {
        for value in 1..=60 {
            let answer = lb.put("/data/counter", &json!({"data": value})).await?.expect(200)?;
            ensure!(answer["fenced"] == true, "{answer}");
            written.set(value);
        }
        done.set(true);
        anyhow::Ok(0)
    };
    let readers = try_join_all(gateways.iter().chain(&gateways).map(reader));
    let (reads, _) = futures_util::future::try_join(readers, writer).await?;
    ensure!(reads.iter().all(|count| *count > 0), "{reads:?}");
    Ok(())
}

#[tokio::test]
async fn no_gateway_answers_older_than_an_acknowledged_write_embedded() -> Result<()> {
    embedded(writes_under_reads).await
}

#[tokio::test]
async fn no_gateway_answers_older_than_an_acknowledged_write_on_rabbitmq() -> Result<()> {
    rabbitmq(writes_under_reads).await
}

async fn job_invalidates(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    for gateway in GATEWAYS {
        let http = cluster.http(gateway)?;
        read(&http, "my_data").await?;
        ensure!(read(&http, "my_data").await?["cached"] == true, "{gateway}");
    }
    let id = client.accepted(&json!({"task": "noop", "invalidates": ["my_data"]})).await?;
    client.succeeded(&id, SOON).await?;
    ensure!(
        read(&cluster.http("gateway-1")?, "my_data").await?["cached"] == false,
        "the job was done and the key still cached"
    );
    Ok(())
}

#[tokio::test]
async fn job_that_invalidates_is_done_only_when_no_cache_is_older() -> Result<()> {
    embedded(job_invalidates).await
}
