//! Schedules under clocks that jump: two stores on one PostgreSQL, and one on SQLite that was away. Each tick runs once.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use protocol::time::Timestamp;
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::wall_clock::{WallClock, faketime};
use tests::{Cluster, Setup, eventually, postgres, scenario};

use crate::SOON;

const MINUTE_MS: i64 = 60_000;

fn clock(folder: &Path, name: &str) -> Result<WallClock> {
    let library = faketime().context("libfaketime is not installed (Debian: faketime)")?;
    WallClock::create(&library, folder, name)
}

/// The processes whose name starts with `member` go by this clock.
fn with_clock(setup: Setup, member: &str, clock: &WallClock) -> Setup {
    clock.environment().into_iter().fold(setup, |setup, (variable, value)| setup.set(member, variable, value))
}

async fn put(cluster: &Cluster, name: &str, cron: &str, catch_up: &str) -> Result<Value> {
    let schedule = json!({"cron": cron, "catch_up": catch_up, "job": {"task": "noop"}});
    cluster.client().http().put(&format!("/schedules/{name}"), &schedule).await?.expect(201)
}

async fn shown(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.client().http().get(&format!("/schedules/{name}")).await?.expect(200)
}

fn minute(time: &Value) -> Result<i64> {
    let time: Timestamp = time.as_str().context("a time")?.parse()?;
    Ok(time.unix_ms() / MINUTE_MS)
}

/// The minutes of the ticks that have jobs, in order. Each of these runs once, or has not run yet.
async fn ticks(cluster: &Cluster, name: &str) -> Result<Vec<i64>> {
    let mut ticks = Vec::new();
    for job in cluster.client().list("task=noop").await? {
        ensure!(job["run"] == 1 && job["attempt"].as_u64() <= Some(1) && job["crashes"] == 0, "it ran again: {job}");
        if job["schedule"]["name"] == name {
            ticks.push(minute(&job["schedule"]["tick"])?);
        }
    }
    ticks.sort_unstable();
    Ok(ticks)
}

/// Waits until there is one job for each minute from one to another, or to a later one.
async fn each_minute_is_there(cluster: &Cluster, name: &str, from: i64, to: i64) -> Result<()> {
    eventually(SOON, &format!("{name} has each tick until {}", to - from), async || {
        let ticks = ticks(cluster, name).await?;
        let last = ticks.last().copied().unwrap_or(from);
        ensure!(ticks == (from..=last).collect::<Vec<i64>>(), "minutes from {from} on: {ticks:?}");
        Ok((last >= to).then_some(()))
    })
    .await
}

/// No more ticks; the client knows of the jobs of those that were.
async fn end(cluster: &Cluster, schedules: &[&str]) -> Result<()> {
    for name in schedules {
        let answer = cluster.client().http().delete(&format!("/schedules/{name}")).await?;
        ensure!(answer.status == 204, "{answer}");
    }
    for job in cluster.client().list("").await? {
        cluster.client().adopt(job["job_id"].as_str().context("an id")?);
    }
    Ok(())
}

#[tokio::test]
async fn each_tick_runs_once_with_two_stores_whose_clocks_jump() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (clock(folder.path(), "first")?, clock(folder.path(), "second")?);
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(postgres::fresh_database().await?, 2);
    let setup = with_clock(with_clock(setup, "store-svc", &first), "store-svc-1", &second);
    scenario(setup, async |cluster| {
        let begin = minute(&put(cluster, "all", "* * * * *", "all").await?["next_runs"][0]["at"])?;
        put(cluster, "latest", "* * * * *", "latest").await?;
        for clock in [&first, &second] {
            clock.set(1_800)?;
        }
        each_minute_is_there(cluster, "all", begin, begin + 28).await?;

        // One is killed between ticks, and is half an hour behind the other when it is back.
        cluster.process("store-svc")?.kill_9()?;
        second.set(3_600)?;
        each_minute_is_there(cluster, "all", begin, begin + 58).await?;
        cluster.restart("store-svc").await?;

        for clock in [&first, &second] {
            clock.set(0)?;
        }
        eventually(SOON, "ticks that the clock shows again lie ahead", async || {
            let next = minute(&shown(cluster, "all").await?["next_runs"][0]["at"])?;
            Ok((next < begin + 20).then_some(()))
        })
        .await?;
        first.set(4_400)?;
        second.set(4_500)?;
        each_minute_is_there(cluster, "all", begin, begin + 72).await?;

        let latest = ticks(cluster, "latest").await?;
        let mut once = latest.clone();
        once.dedup();
        ensure!(latest == once && latest.len() < 30 && latest.last() > Some(&(begin + 70)), "{begin}: {latest:?}");
        end(cluster, &["all", "latest"]).await
    })
    .await
}

#[tokio::test]
async fn ticks_that_came_while_the_store_was_away_are_caught_up_as_asked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let clock = clock(folder.path(), "store")?;
    // In the middle between two ticks.
    clock.set(300 - (chassis::clock::wall_ms() / 1_000).rem_euclid(600))?;
    let setup = with_clock(Setup::rabbitmq(Vhost::fresh().await?.urls()), "store-svc", &clock);
    scenario(setup, async |cluster| {
        let policies = ["all", "latest", "none"];
        for policy in policies {
            put(cluster, policy, "*/10 * * * *", policy).await?;
        }
        let ahead = shown(cluster, "all").await?;
        let ahead: Result<Vec<i64>> = (0..3).map(|run| minute(&ahead["next_runs"][run]["at"])).collect();
        let ahead = ahead?;
        cluster.process("store-svc")?.kill_9()?;
        // Three minutes after the third of them.
        clock.set((ahead[2] + 3) * 60 - chassis::clock::wall_ms() / 1_000)?;
        cluster.restart("store-svc").await?;

        for (policy, expected) in policies.into_iter().zip([&ahead[..], &ahead[2..], &[]]) {
            let last = eventually(SOON, "it has looked", async || {
                let last = shown(cluster, policy).await?["last"].clone();
                Ok((!last.is_null()).then_some(last))
            })
            .await?;
            ensure!(minute(&last["tick"])? == ahead[2], "{policy}: {last}");
            ensure!((last["skipped"]["reason"] == "missed") == (policy == "none"), "{policy}: {last}");
            let found = ticks(cluster, policy).await?;
            ensure!(found == expected, "{policy}: {found:?} instead of {expected:?}");
        }
        end(cluster, &policies).await
    })
    .await
}
