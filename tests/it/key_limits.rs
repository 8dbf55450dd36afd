//! Limits of API keys with real processes: what is submitted with a key is held to them at whatever gateway, and is in nobody's way.

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::ledger::job_id;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, postgres, scenario};

use crate::SOON;
use crate::access::{FIRST_KEY, Key};

const MOST: usize = 2;
const JOBS: usize = 6;

/// The job's time from start to end, Unix ms.
fn span(job: &Value) -> Result<(i64, i64)> {
    let at = |name: &str| -> Result<i64> {
        let text = job[name].as_str().with_context(|| format!("no {name}: {job}"))?;
        Ok(text.parse::<protocol::time::Timestamp>()?.unix_ms())
    };
    Ok((at("started_at")?, at("finished_at")?))
}

async fn is_held_to_its_limits(cluster: &mut Cluster) -> Result<()> {
    let key = Key::create(cluster, json!({"name": "batch", "scopes": ["submit", "read"]})).await?;
    let path = format!("/keys/{}/limits", key.id);
    let admin = cluster.client().http();
    let limits = json!({"running_max": MOST});
    let shown = admin.put(&path, &limits).await?.expect(200)?;
    ensure!(shown["limits"] == limits, "{shown}");
    let refused = key.send(cluster, "lb", Method::PUT, &path, Some(&json!({}))).await?.problem(403)?;
    ensure!(refused["scope"] == "admin", "{refused}");

    // One by one, through several gateways, under a name, and many at once.
    let body = json!({"task": "work", "payload": {"duration_ms": 300}});
    let mut jobs = Vec::new();
    for at in ["gateway-0", "gateway-1", "lb"] {
        jobs.push(key.send(cluster, at, Method::POST, "/longtask", Some(&body)).await?.expect(202)?);
    }
    let named = format!("/jobs/{}", protocol::ids::JobId::generate());
    jobs.push(key.send(cluster, "lb", Method::PUT, &named, Some(&body)).await?.expect(202)?);
    let many = Value::from(vec![body.clone(); JOBS]);
    let many = key.send(cluster, "lb", Method::POST, "/jobs:batch", Some(&many)).await?.expect(200)?;
    jobs.extend(many["items"].as_array().context("items")?.iter().map(|item| item["job"].clone()));
    let ids: Vec<String> = jobs.iter().map(|job| job_id(job).to_owned()).collect();
    ids.iter().for_each(|id| cluster.client().adopt(id));
    let last = ids.last().context("a job")?;
    let why = eventually(SOON, "the last one waits for the key's limit", async || {
        let why = key.send(cluster, "lb", Method::GET, &format!("/jobs/{last}/explain"), None).await?.expect(200)?;
        Ok((why["waiting_for"] == "key_limit").then_some(why))
    })
    .await?;
    ensure!(why["key_limit"]["key_id"] == key.id.as_str() && why["key_limit"]["running_max"] == MOST, "{why}");
    ensure!(why["reason"].as_str().is_some_and(|reason| reason.contains("may have 2 jobs running at once")), "{why}");

    // Nobody else waits for them.
    let others = cluster.client().accepted_all(JOBS, |_| json!({"task": "noop"})).await?;
    for id in &others {
        cluster.client().succeeded(id, SOON).await?;
    }
    let waits = cluster.client().job(last).await?;
    ensure!(waits["status"] == "queued", "the others are done before the key's last: {waits}");

    let mut spans = Vec::new();
    for id in &ids {
        spans.push(span(&cluster.client().succeeded(id, SOON).await?)?);
    }
    for (begin, _) in &spans {
        let running = spans.iter().filter(|(start, end)| start <= begin && begin < end).count();
        ensure!(running <= MOST, "{running} at once: {spans:?}");
    }
    admin.put(&path, &json!({})).await?.expect(200)?;
    let free = key.send(cluster, "lb", Method::POST, "/longtask", Some(&json!({"task": "noop"}))).await?.expect(202)?;
    cluster.client().adopt(job_id(&free));
    cluster.client().succeeded(job_id(&free), SOON).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_key_submits_is_held_to_its_limits() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).slots("8");
    scenario(setup.api_key(FIRST_KEY), is_held_to_its_limits).await
}

#[tokio::test]
async fn what_a_key_submits_is_held_to_its_limits_by_several_stores() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(postgres::fresh_database().await?, 2);
    scenario(setup.slots("8").api_key(FIRST_KEY), is_held_to_its_limits).await
}
