//! A backup made under load and put back under running programs: what was accepted before it is there, and nobody serves what came after.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::binaries::binary;
use tests::{Cluster, Http, eventually};
use tokio::process::Command;

use crate::{SOON, rabbitmq};

const GATEWAYS: [&str; 3] = ["gateway-0", "gateway-1", "gateway-2"];

async fn longshore(folder: &Path, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(binary("longshore")?);
    command.args(arguments).env_clear().env("DATABASE_URL", "sqlite:store.db").current_dir(folder).kill_on_drop(true);
    let output = command.output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(text)?))
}

async fn submit(http: &Http, count: usize) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let job =
            http.post("/longtask", &json!({"task": "brief", "payload": {"duration_ms": 20}})).await?.expect(202)?;
        ids.insert(job["job_id"].as_str().context("an id")?.to_owned());
    }
    Ok(ids)
}

/// Backs up while jobs are submitted, for as long as that takes.
async fn back_up_under_load(http: &Http, folder: &Path) -> Result<()> {
    let backup = async {
        let (done, said) = longshore(folder, &["backup", "backup.db"]).await?;
        ensure!(done && said == "store.db is in backup.db.\n", "{said}");
        Ok(())
    };
    tokio::pin!(backup);
    loop {
        tokio::select! {
            done = &mut backup => return done,
            submitted = submit(http, 1) => drop(submitted?),
        }
    }
}

async fn value_at(cluster: &Cluster, gateway: &str) -> Result<Value> {
    Ok(cluster.http(gateway)?.get("/data/price").await?.expect(200)?["data"].clone())
}

async fn incarnation(cluster: &Cluster) -> Result<String> {
    Ok(cluster.http("store-svc")?.get("/db").await?.header("x-longshore-incarnation").to_owned())
}

async fn everybody_reads(cluster: &Cluster, value: &Value) -> Result<()> {
    for gateway in GATEWAYS {
        eventually(SOON, &format!("{gateway} reads {value}"), async || {
            Ok((value_at(cluster, gateway).await? == *value).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn restore_under_running_programs(cluster: &mut Cluster) -> Result<()> {
    let (done, said) = longshore(cluster.folder(), &["restore", "backup.db"]).await?;
    ensure!(!done && said.contains("store.db is in use by process "), "it did not refuse: {said}");
    cluster.process("store-svc")?.kill_9()?;
    let (done, said) = longshore(cluster.folder(), &["restore", "backup.db"]).await?;
    ensure!(done && said.contains("What it was before is in store.db.replaced-"), "{said}");
    cluster.restart("store-svc").await
}

/// The scenario's own audit knows jobs by what is listed now.
async fn adopt_what_is_there(cluster: &Cluster) -> Result<()> {
    for job in cluster.client().list("").await? {
        cluster.client().adopt(job["job_id"].as_str().context("an id")?);
    }
    Ok(())
}

#[tokio::test]
async fn a_backup_under_load_is_restored_under_running_programs() -> Result<()> {
    rabbitmq(async |cluster| {
        let lb = cluster.http("lb")?;
        lb.put("/data/price", &json!({"data": "old"})).await?.expect(200)?;
        let before = submit(&lb, 200).await?;
        back_up_under_load(&lb, cluster.folder()).await?;
        lb.put("/data/price", &json!({"data": "new"})).await?.expect(200)?;
        let after = submit(&lb, 20).await?;
        everybody_reads(cluster, &json!("new")).await?;
        let lost = incarnation(cluster).await?;

        restore_under_running_programs(cluster).await?;
        ensure!(incarnation(cluster).await? != lost, "the restored store says that it is the old one");
        everybody_reads(cluster, &json!("old")).await?;
        for id in &before {
            eventually(SOON + Duration::from_secs(30), &format!("{id} has succeeded"), async || {
                let job = lb.get(&format!("/jobs/{id}")).await?.expect(200)?;
                Ok((job["status"] == "succeeded").then_some(()))
            })
            .await?;
        }
        for id in &after {
            lb.get(&format!("/jobs/{id}")).await?.problem(404)?;
        }
        adopt_what_is_there(cluster).await
    })
    .await
}
