//! One hot key that many read while it is invalidated all the time: what a read costs then, and how often the store is asked. Longshore beside the
//! cache-aside pattern with Redis.

use std::time::Duration;

use anyhow::{Context, Result};
use chassis::testing::rabbit::ScratchNode;
use futures_util::future::try_join;
use http::StatusCode;
use tests::open_loop::at_rate;
use tests::rabbit::own_urls;
use tests::{Cluster, Http, Setup};

use crate::meter::Meter;
use crate::plan::Plan;
use crate::reads::{FASTAPI, start_uvicorn};
use crate::record::{Contender, Run, Section};
use crate::redis::{self, Durability, Redis};
use crate::report::progress;
use crate::wrk;

/// Invalidations per second: one every 10 ms.
const RATE: u32 = 100;
const KEY: &str = "my_data";
const VALUE: &str = r#"{"cached":false,"data":"Fetched fresh data from DB"}"#;

pub(crate) async fn run(plan: &Plan, node: &ScratchNode) -> Result<Section> {
    let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
    let setup = Setup::rabbitmq(own_urls(node)).workers(0).set("lb", "LONGSHORE_ACCESS_LOG", "false");
    let mut cluster = Cluster::start(&setup).await?;
    let redis = Redis::start(folder.path(), "redis-storm", Durability::None).await?;
    redis::ask(redis.address, 0, &format!("SET origin:{KEY} '{VALUE}'")).await?;
    let environment = [("CACHE_URL", redis.url(0))];
    let (application, uvicorn) = start_uvicorn(plan, folder.path(), "fastapi_redis", FASTAPI, &environment).await?;
    let mut theirs_meter = Meter::default();
    theirs_meter.add("uvicorn", uvicorn.pid());
    theirs_meter.add("redis", redis.process.pid());
    let what =
        "64 clients through lb and three gateways; each invalidation is a DELETE of the key that waits for its fence";
    let mut ours = contender("Longshore", what);
    let what = "64 clients, two workers; each invalidation is a DEL; a miss reads another key of the same Redis, which no database is as quick as";
    let mut theirs = contender("FastAPI + Redis, cache-aside", what);
    for round in 0..=plan.rounds {
        // The first one warms up.
        let length = if round == 0 { Duration::from_secs(1) } else { plan.length };
        for (contender, run) in [
            (&mut ours, longshore(&mut cluster, length).await?),
            (&mut theirs, cache_aside(&theirs_meter, application, &redis, length).await?),
        ] {
            if round > 0 {
                progress("storm", &contender.name, &run);
                contender.runs.push(run);
            }
        }
    }
    Ok(Section { name: "storm".to_owned(), contenders: vec![ours, theirs] })
}

fn contender(name: &str, what: &str) -> Contender {
    Contender { name: name.to_owned(), what: what.to_owned(), runs: Vec::new() }
}

async fn longshore(cluster: &mut Cluster, length: Duration) -> Result<Run> {
    let mut meter = Meter::default();
    for process in cluster.processes("") {
        let part = process.name().trim_end_matches(|last: char| last == '-' || last.is_ascii_digit());
        meter.add(part, process.pid());
    }
    let address = cluster.address("lb")?;
    let http = Http::new(address);
    let loads = async || {
        let metrics = cluster.metrics("cache-svc").await?;
        anyhow::Ok(metrics.sum("longshore_shared_reads_total", &["outcome=\"load\""]))
    };
    let before = loads().await?;
    let invalidate = |_| async { http.delete(&format!("/cache/{KEY}")).await?.expect(200).map(drop) };
    let (run, fences) = try_join(
        wrk::measure(&meter, address, &format!("/data/{KEY}"), wrk::CONNECTIONS, length),
        at_rate(RATE, length, invalidate),
    )
    .await?;
    Ok(Run { loads_each: Some(per(loads().await? - before, fences.len())), ..run })
}

async fn cache_aside(meter: &Meter, address: std::net::SocketAddr, redis: &Redis, length: Duration) -> Result<Run> {
    redis::ask(redis.address, 0, "SET loads 0").await?;
    let invalidate = |_| async { redis::ask(redis.address, 0, &format!("DEL {KEY}")).await.map(drop) };
    let answer = Http::new(address).get(&format!("/storm/{KEY}")).await?;
    anyhow::ensure!(answer.status == StatusCode::OK, "{answer}");
    let (run, voided) = try_join(
        wrk::measure(meter, address, &format!("/storm/{KEY}"), wrk::CONNECTIONS, length),
        at_rate(RATE, length, invalidate),
    )
    .await?;
    // The sum: a GET would be answered in two lines.
    let loads = redis::count(redis.address, 0, "INCRBY loads 0").await?;
    let loads = u32::try_from(loads).context("a count")?;
    Ok(Run { loads_each: Some(per(f64::from(loads), voided.len())), ..run })
}

#[expect(clippy::cast_precision_loss, reason = "a count of invalidations is far below 2^52")]
fn per(loads: f64, invalidations: usize) -> f64 {
    loads / invalidations.max(1) as f64
}
