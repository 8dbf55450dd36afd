//! Hot reads and their invalidation, in our own words: cached once loaded, and never older than what was acknowledged, at any gateway.

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Method, Request};
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Cluster, Http, Setup, scenario, wait_until};

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

/// What carries a tag goes together, and nothing else; bytes come back as they went in.
async fn tags_and_bytes(cluster: &mut Cluster) -> Result<()> {
    let lb = cluster.client().http();
    let gateways: Vec<Http> = GATEWAYS.iter().map(|name| cluster.http(name)).collect::<Result<_>>()?;
    lb.put("/data/red", &json!({"data": 1, "tags": ["colour"]})).await?.expect(200)?;
    lb.put("/data/plain", &json!({"data": 1})).await?.expect(200)?;
    let picture: Bytes = (0..=255).collect();
    let put = Request::put(format!("http://{}/bytes/blue", lb.address()))
        .header("content-type", "image/png")
        .header("cache-groups", "\"colour\", \"sky\"")
        .body(picture.clone())?;
    lb.send_raw(put).await?.expect(200)?;
    let is_cached = async |http: &Http, key: &str| anyhow::Ok(read(http, key).await?["cached"] == true);
    for http in &gateways {
        for key in ["red", "plain", "blue"] {
            read(http, key).await?;
            ensure!(is_cached(http, key).await?, "{key} at {}", http.address());
        }
        let answer = http.get("/bytes/blue").await?;
        ensure!(answer.body == picture && answer.header("content-type") == "image/png", "{answer}");
    }
    let answer = lb.post("/cache:invalidate", &json!({"tags": ["colour"]})).await?.expect(200)?;
    ensure!(answer["fenced"] == true, "{answer}");
    ensure!(!is_cached(&gateways[0], "red").await? && !is_cached(&gateways[1], "blue").await?, "they are tagged");
    for http in &gateways {
        ensure!(is_cached(http, "plain").await?, "it is not tagged");
    }
    lb.put("/data/red", &json!({"data": 2})).await?.expect(200)?;
    read(&gateways[0], "red").await?;
    lb.post("/cache:invalidate", &json!({"tags": ["colour"]})).await?.expect(200)?;
    ensure!(is_cached(&gateways[0], "red").await?, "what was written last has no tags");
    let answer = lb.post("/cache:invalidate", &json!({"prefix": "pla"})).await?.expect(200)?;
    ensure!(answer["fenced"] == true && !is_cached(&gateways[2], "plain").await?, "{answer}");
    ensure!(is_cached(&gateways[0], "red").await?, "the shared cache voids exactly what matches");
    Ok(())
}

#[tokio::test]
async fn what_carries_a_tag_is_invalidated_together_embedded() -> Result<()> {
    embedded(tags_and_bytes).await
}

#[tokio::test]
async fn what_carries_a_tag_is_invalidated_together_on_rabbitmq() -> Result<()> {
    rabbitmq(tags_and_bytes).await
}

/// Writes that are not fenced, each read at once at every gateway by who has its token.
async fn own_writes(cluster: &mut Cluster) -> Result<()> {
    let gateways: Vec<Http> = GATEWAYS.iter().map(|name| cluster.http(name)).collect::<Result<_>>()?;
    let lb = cluster.client().http();
    for value in 1..=30 {
        let answer = lb.put("/data/mine?wait=0", &json!({"data": value})).await?;
        let token = answer.header("longshore-token").to_owned();
        answer.expect(202)?;
        for http in &gateways {
            let headers = [("longshore-token", token.as_str())];
            let found = http.send(Method::GET, "/data/mine", &headers, None).await?.expect(200)?;
            ensure!(found["data"] == value, "{}: {found} after {value}", http.address());
        }
    }
    let answer = lb.delete("/data/mine?wait=0").await?;
    let token = answer.header("longshore-token").to_owned();
    answer.expect(202)?;
    for http in &gateways {
        http.send(Method::GET, "/data/mine", &[("longshore-token", token.as_str())], None).await?.problem(404)?;
    }
    Ok(())
}

#[tokio::test]
async fn writers_read_their_own_writes_at_every_gateway_embedded() -> Result<()> {
    embedded(own_writes).await
}

#[tokio::test]
async fn writers_read_their_own_writes_at_every_gateway_on_rabbitmq() -> Result<()> {
    rabbitmq(own_writes).await
}

/// Under writes and reads the auditor looks at what the gateways would serve, and finds nothing.
async fn audited(cluster: &mut Cluster) -> Result<()> {
    let gateways: Vec<Http> = GATEWAYS.iter().map(|name| cluster.http(name)).collect::<Result<_>>()?;
    let figures = async || {
        let metrics = cluster.metrics("cache-svc").await?;
        let held = metrics.sum("longshore_coherence_audits_total", &["outcome=\"held\""]);
        anyhow::Ok((held, metrics.sum("longshore_coherence_violations_total", &[])))
    };
    wait_until(SOON, "some invalidations were looked at", async || {
        for http in &gateways {
            read(http, "my_data").await?;
        }
        gateways[0].delete("/cache/my_data").await?.expect(200)?;
        Ok(figures().await?.0 >= 5.0)
    })
    .await?;
    ensure!(figures().await?.1 == 0.0, "{:?}", figures().await?);
    read(&gateways[1], "my_data").await?;
    let debug = gateways[0].get("/cache/debug/my_data").await?.expect(200)?;
    let views = debug["gateways"].as_array().map(Vec::len);
    ensure!(views == Some(3) && debug["silent"] == 0, "{debug:#}");
    let serving = debug["gateways"].as_array().into_iter().flatten().filter(|view| view["held"]["would_serve"] == true);
    ensure!(serving.count() == 1, "only one gateway has read it since: {debug:#}");
    ensure!(debug["shared"]["version"] == 1, "{debug:#}");
    Ok(())
}

#[tokio::test]
async fn auditor_sees_every_gateway_and_finds_nothing_stale() -> Result<()> {
    rabbitmq(audited).await
}

/// Without the store nothing is renewed: what is held is served until the leases end, then refused, or labelled where both sides want that.
async fn store_lost(cluster: &mut Cluster) -> Result<()> {
    let gateway = cluster.http("gateway-0")?;
    cluster.client().http().put("/data/soft:a", &json!({"data": 1})).await?.expect(200)?;
    for key in ["soft:a", "my_data"] {
        read(&gateway, key).await?;
        ensure!(read(&gateway, key).await?["cached"] == true, "{key}");
    }
    cluster.process("store-svc")?.kill_9()?;
    let soft =
        async || gateway.send(Method::GET, "/data/soft:a", &[("cache-control", "stale-if-error=60")], None).await;
    wait_until(SOON, "the leases have ended", async || {
        let answer = gateway.get("/data/my_data").await?;
        ensure!(answer.status == 503 || answer.expect(200)?["stale"].is_null(), "{answer}");
        Ok(answer.status == 503)
    })
    .await?;
    let found = soft().await?.expect(200)?;
    ensure!(found == json!({"cached": true, "stale": true, "data": 1}), "{found}");
    gateway.get("/data/soft:a").await?.problem(503)?;
    cluster.restart("store-svc").await?;
    wait_until(SOON, "it is read again", async || {
        let answer = soft().await?;
        Ok(answer.expect(200)?["stale"].is_null())
    })
    .await
}

#[tokio::test]
async fn without_the_store_nothing_is_served_beyond_the_leases_but_what_is_labelled_stale() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).set("gateway", "LONGSHORE_STALE_IF_ERROR", "soft:=60");
    scenario(setup, store_lost).await
}
