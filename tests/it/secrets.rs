//! What clients give is theirs: it is in the answers to them, and in no log and no metric of any program, at whatever level.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario};

use crate::SOON;

/// Stands in everything that the client gives.
const MARKER: &str = "hush-5f1c0a";

const TASKS: &str = r#"
[task.noop]
kind = "simulate"

[task.complain]
kind = "command"
program = "sh"
args = ["-c", "cat >&2; echo '{\"message\": \"hush-5f1c0a\"}' >&3; exit 3"]

[task.repeat]
kind = "command"
program = "cat"
"#;

const PROGRAMS: [&str; 8] =
    ["lb", "gateway-0", "gateway-1", "gateway-2", "store-svc", "cache-svc", "worker-0", "worker-1"];

fn payload() -> Value {
    json!({"secret": MARKER})
}

/// Jobs of every end, and where the client finds its own words again.
async fn jobs(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let submit = async |task: &str, payload: &Value| {
        client.accepted(&json!({"task": task, "payload": payload, "max_attempts": 1})).await
    };
    let repeated = client.succeeded(&submit("repeat", &payload()).await?, SOON).await?;
    ensure!(repeated["result"] == payload(), "{repeated}");
    let id = submit("complain", &payload()).await?;
    let failed = client.ended(&id, SOON).await?;
    ensure!(failed["error"]["message"].as_str().is_some_and(|message| message.contains(MARKER)), "{failed}");
    let logs = client.http().get(&format!("/jobs/{id}/logs")).await?.expect(200)?;
    ensure!(logs.to_string().contains(MARKER), "{logs}");
    // A payload that does not fit its task is quoted in the job's error.
    let misfit = client.ended(&submit("noop", &json!({"duration_ms": MARKER})).await?, SOON).await?;
    ensure!(misfit["status"] == "failed" && misfit.to_string().contains(MARKER), "{misfit}");
    client.http().post(&format!("/jobs/{id}/retry"), &Value::Null).await?.expect(202)?;
    client.ended(&id, SOON).await?;
    client.purge(&id).await
}

/// Submits that are refused for one reason or another.
async fn refusals(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let key = [("idempotency-key", "k")];
    let keyed = |payload: Value| json!({"task": "noop", "payload": payload});
    client.submit_with(Method::POST, "/longtask", &key, &keyed(payload())).await?.expect(202)?;
    client.submit_with(Method::POST, "/longtask", &key, &keyed(json!([MARKER]))).await?.problem(422)?;
    for body in [
        json!({"task": "noop", "payload": payload(), "priority": MARKER}),
        json!({"task": "noop", "payload": payload(), (MARKER): 1}),
        json!({"task": "noop", "payload": payload(), "run_at": MARKER}),
        json!([MARKER]),
    ] {
        client.http().post("/longtask", &body).await?.problem(422)?;
    }
    let large = json!({"task": "noop", "payload": MARKER.repeat(100_000)});
    client.http().post("/longtask", &large).await?.problem(413)?;
    let batch = json!([{"task": "noop", "priority": MARKER}, MARKER]);
    client.http().post("/jobs:batch", &batch).await?.expect(200)?;
    Ok(())
}

/// What each program has printed and counted.
async fn said(cluster: &mut Cluster) -> Result<BTreeMap<String, String>> {
    let mut said = BTreeMap::new();
    for program in PROGRAMS {
        let metrics = cluster.http(program)?.get("/metrics").await?;
        let log = cluster.process(program)?.log();
        said.insert(program.to_owned(), log + &String::from_utf8_lossy(&metrics.body));
    }
    Ok(said)
}

#[tokio::test]
async fn what_clients_give_is_in_no_log_and_no_metric() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).tasks(TASKS);
    let loud = |setup: Setup, program: &str| setup.set(program, "LONGSHORE_LOG", "debug");
    let setup = PROGRAMS.iter().fold(setup, |setup, program| loud(setup, program));
    scenario(setup, async |cluster| {
        jobs(cluster).await?;
        refusals(cluster).await?;
        let said = said(cluster).await?;
        let all: String = said.values().map(String::as_str).collect();
        ensure!(
            all.contains("job ended") && all.contains("longshore_submits_total"),
            "the logs and metrics are not there"
        );
        for (program, text) in &said {
            let told: Vec<&str> = text.lines().filter(|line| line.contains(MARKER)).collect();
            ensure!(told.is_empty(), "{program} tells: {told:#?}");
        }
        cluster.client().settled(SOON).await.context("the jobs end")
    })
    .await
}
