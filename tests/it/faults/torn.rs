//! The store's disk did not keep all of what it said was written. That cannot be mended here, but it is noticed: by what the broker and the
//! workers still know.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tests::ledger::job_id;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario, wait_until};

use super::{QUEUE, occupy};
use crate::SOON;

const SEED: u64 = 45;
const SLOTS: usize = 2;
/// As many as may lie in the broker beside those that run.
const BELLS: usize = 12;

fn log_bytes(cluster: &Cluster) -> Result<u64> {
    let log = cluster.folder().join("store.db-wal");
    Ok(std::fs::metadata(&log).with_context(|| log.display().to_string())?.len())
}

fn cut(folder: &Path, at: u64) -> Result<()> {
    Ok(std::fs::File::options().write(true).open(folder.join("store.db-wal"))?.set_len(at)?)
}

/// Submits that the scenario's own book does not know of, one after the other.
async fn submit(cluster: &Cluster, count: usize) -> Result<Vec<String>> {
    let http = cluster.http("lb")?;
    let mut ids = Vec::new();
    for _ in 0..count {
        let job = http.post("/longtask", &json!({"task": "noop"})).await?.expect(202)?;
        ids.push(job_id(&job).to_owned());
    }
    Ok(ids)
}

async fn alarms(cluster: &Cluster) -> Result<f64> {
    cluster.sum("store-svc", "longshore_store_behind_broker_total", &[]).await
}

/// How often the store was asked for one job, and has answered.
async fn reads(cluster: &Cluster) -> Result<f64> {
    cluster.sum("store-svc", "longshore_http_requests_total", &["method=\"GET\"", "route=\"/jobs/{id}\""]).await
}

async fn store_status(cluster: &Cluster) -> Result<serde_json::Value> {
    cluster.http("store-svc")?.get("/ready").await?.expect(200)
}

#[tokio::test]
async fn a_store_whose_log_lost_its_end_says_so_and_goes_on() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    let setup = Setup::rabbitmq(vhost.urls()).workers(1).slots(SLOTS.to_string());
    scenario(setup.alone(), async |cluster| {
        let running = occupy(cluster.client(), SLOTS, 10_000).await?;
        ensure!(alarms(cluster).await? < 0.5, "nothing is lost yet");
        let begin = log_bytes(cluster)?;
        let mut ids = submit(cluster, BELLS - 1).await?;
        let end = log_bytes(cluster)?;
        ids.extend(submit(cluster, 1).await?);
        wait_until(SOON, "the bells are in the broker", async || {
            Ok(vhost.management().give_back(vhost.name(), QUEUE, 100).await? >= BELLS)
        })
        .await?;

        // Whatever is waited for here goes on over the loss.
        let waits = cluster.http("lb")?;
        let path = format!("/jobs/{}", running[0]);
        let waited = async || waits.send(http::Method::GET, &path, &[("prefer", "wait=30")], None).await;
        let read_before = reads(cluster).await?;
        let lose = async {
            wait_until(SOON, "it is waited for, and was read", async || {
                let waits = cluster.sum("gateway", "longshore_waiters", &[]).await? > 0.5;
                Ok(waits && reads(cluster).await? > read_before + 0.5)
            })
            .await?;
            cluster.process("store-svc")?.kill_9()?;
            let at = SmallRng::seed_from_u64(SEED).random_range(begin..=end);
            cut(cluster.folder(), at)?;
            cluster.restart("store-svc").await?;
            anyhow::Ok(at)
        };
        let (job, at) = futures_util::future::try_join(waited(), lose).await?;
        println!("the log ended at {begin}, then {end}: cut at {at}, seed {SEED}");
        ensure!(job.expect(200)?["status"] == "succeeded");
        let there = stored(cluster, &ids).await?;
        ensure!(there < BELLS, "the last one is lost for sure");

        // Each by itself: bells, claims and sessions may name one of them several times before another is named.
        let store = cluster.process("store-svc")?;
        for lost in ids.iter().skip(there) {
            let is_said = |line: &str| line.contains("store_behind_broker") && line.contains(lost);
            wait_until(SOON * 2, &format!("{lost} is missed"), async || Ok(store.log().lines().any(is_said))).await?;
        }
        wait_until(SOON, "it is counted, and the store says how it is", async || {
            let report = store_status(cluster).await?;
            let says = report["reasons"]["history"].as_str().unwrap_or_default();
            let counted = alarms(cluster).await? >= f64::from(u32::try_from(BELLS - there)?);
            Ok(counted && report["status"] == "degraded" && says.contains("not in the database"))
        })
        .await?;
        // What is left of them works like anything else; so does what comes now.
        let client = cluster.client();
        ids.iter().take(there).for_each(|id| client.adopt(id));
        let fresh = client.accepted_all(20, |_| json!({"task": "noop"})).await?;
        for id in fresh.iter().chain(&running).chain(ids.iter().take(there)) {
            client.succeeded(id, SOON).await?;
        }
        Ok(())
    })
    .await
}

/// How many of them are there: the first ones, as they were committed one after the other.
async fn stored(cluster: &Cluster, ids: &[String]) -> Result<usize> {
    let http = cluster.http("store-svc")?;
    let mut there = Vec::new();
    for id in ids {
        let status = http.get(&format!("/jobs/{id}")).await?.status;
        ensure!(status == 200 || status == 404, "{id}: {status}");
        there.push(status == 200);
    }
    let first = there.iter().take_while(|is_there| **is_there).count();
    ensure!(there.iter().skip(first).all(|is_there| !is_there), "not the first ones: {there:?}");
    Ok(first)
}
