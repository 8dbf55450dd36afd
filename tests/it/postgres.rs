//! Two stores on PostgreSQL: the walk, a store killed under load, and the move there from an SQLite file under running programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use chassis::testing::postgres::PASSWORD;
use serde_json::json;
use tests::binaries::binary;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, postgres, scenario};
use tokio::process::Command;

use crate::SOON;
use crate::walk::submit_to_done;

const STORES: [&str; 2] = ["store-svc", "store-svc-1"];

async fn two_stores(steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(postgres::fresh_database().await?, 2);
    scenario(setup, async |cluster| {
        steps(cluster).await?;
        for process in cluster.processes("store-svc") {
            ensure!(!process.log().contains(PASSWORD), "the password is in the log of {}", process.name());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn submitted_jobs_are_done_with_two_stores_on_postgres() -> Result<()> {
    two_stores(async |cluster| {
        submit_to_done(cluster).await?;
        for store in STORES {
            let claimed = cluster.metrics(store).await?;
            let claimed = claimed.sum("longshore_store_transitions_total", &["transition=\"claimed\""]);
            ensure!(claimed > 0.0, "{store} took no part");
        }
        Ok(())
    })
    .await
}

/// Submits until this many were accepted since; a store that dies costs some answers, which the client remembers.
async fn submit(cluster: &Cluster, count: usize) -> Result<()> {
    let mut accepted = 0;
    while accepted < count {
        let answer = cluster.client().submit(&json!({"task": "brief", "payload": {"duration_ms": 10}})).await;
        accepted += usize::from(answer.is_ok_and(|answer| answer.status == 202));
    }
    Ok(())
}

#[tokio::test]
async fn a_store_killed_under_load_loses_nothing() -> Result<()> {
    two_stores(async |cluster| {
        for victim in STORES {
            submit(cluster, 150).await?;
            cluster.process(victim)?.kill_9()?;
            submit(cluster, 150).await?;
            cluster.restart(victim).await?;
        }
        // Each job that was answered 202 is there and ends; the scenario's own check counts them.
        cluster.client().settled(SOON * 3).await
    })
    .await
}

async fn longshore(folder: &Path, url: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(binary("longshore")?);
    command.args(arguments).env_clear().env("DATABASE_URL", url).current_dir(folder).kill_on_drop(true);
    let output = command.output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(text)?))
}

#[tokio::test]
async fn a_store_moves_to_postgres_under_running_programs() -> Result<()> {
    let url = postgres::fresh_database().await?;
    scenario(Setup::rabbitmq(Vhost::fresh().await?.urls()), async |cluster| {
        let client = cluster.client();
        client.http().put("/data/price", &json!({"data": "7"})).await?.expect(200)?;
        client.accepted_all(300, |_| json!({"task": "brief", "payload": {"duration_ms": 50}})).await?;
        let later = client.accepted(&json!({"task": "noop", "delay_ms": 20_000})).await?;
        eventually(SOON, "some are done", async || {
            Ok((client.list("status=succeeded&").await?.len() >= 20).then_some(()))
        })
        .await?;

        let (done, said) = longshore(cluster.folder(), &url, &["migrate", "store.db"]).await?;
        ensure!(!done && said.contains("store.db is in use by process "), "it did not refuse: {said}");
        let address = cluster.address("store-svc")?;
        let store = cluster.process("store-svc")?;
        store.term()?;
        store.exited(SOON).await?;
        let spec = store.spec().clone().with("DATABASE_URL", &url);
        let (done, said) = longshore(cluster.folder(), &url, &["migrate", "store.db"]).await?;
        ensure!(done && said.contains("301 jobs\n") && !said.contains(PASSWORD), "{said}");
        let (done, said) = longshore(cluster.folder(), &url, &["migrate", "store.db"]).await?;
        ensure!(!done && said.contains("is not empty"), "it did not refuse: {said}");

        cluster.add("store-svc", spec, address).await?;
        let client = cluster.client();
        client.settled(SOON * 3).await?;
        client.succeeded(&later, SOON + Duration::from_secs(10)).await?;
        let price = client.http().get("/data/price").await?.expect(200)?;
        ensure!(price["data"] == "7", "{price}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn commands_for_files_say_what_copies_postgres() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("postgres://longshore:{PASSWORD}@127.0.0.1:1/jobs");
    let check = async |arguments: &[&str], url: &str, says: &str| {
        let (done, said) = longshore(folder.path(), url, arguments).await?;
        ensure!(!done && said.contains(says) && !said.contains(PASSWORD), "{arguments:?}: {said}");
        anyhow::Ok(())
    };
    check(&["backup", "b.db"], &url, "DATABASE_URL names postgres://longshore@127.0.0.1:1/jobs, which").await?;
    check(&["restore", "b.db"], &url, "pg_dump --schema=longshore").await?;
    check(&["migrate", "b.db"], &url, "b.db: there is no such file").await?;
    check(&["migrate", "b.db"], "sqlite:c.db", "DATABASE_URL must name the database to move to: postgres://").await?;
    check(&["up"], &format!("postgres://u:{PASSWORD}@h/db?sslmode=allow"), "DATABASE_URL asks for TLS").await
}
