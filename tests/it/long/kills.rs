//! The store killed again and again under load: everything that it has acknowledged is there afterwards, and nothing else.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tests::rabbit::Vhost;
use tests::{Cluster, Http, Setup, scenario, wait_until};

const KILLS: usize = 50;
const SEED: u64 = 50;
/// At most so many jobs are acknowledged between a start and the next kill.
const APART_MAX: usize = 200;
/// One start in so many is killed before it is over.
const KILLED_WHILE_STARTING: f64 = 0.2;
const SUBMITTERS: u64 = 4;
const ASKED_AT_ONCE: usize = 16;
/// For a store that has just been killed to come back.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// Clients that submit without pause, each job under a key of its own until it is acknowledged.
struct Load {
    http: Http,
    acknowledged: RefCell<Vec<String>>,
    is_over: Cell<bool>,
}

impl Load {
    fn new(http: Http) -> Self {
        Self { http, acknowledged: RefCell::default(), is_over: Cell::new(false) }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.borrow().len()
    }

    async fn run(&self) -> Result<()> {
        future::try_join_all((0..SUBMITTERS).map(|submitter| self.submit_from(submitter))).await.map(drop)
    }

    async fn submit_from(&self, first: u64) -> Result<()> {
        let mut number = first;
        while !self.is_over.get() {
            let (key, body) = (number.to_string(), json!({"task": "noop"}));
            let id = self.http.submit_under(&key, &body, BACK_WITHIN).await;
            let id = id.with_context(|| format!("submit {number}"))?;
            self.acknowledged.borrow_mut().push(id);
            number += SUBMITTERS;
        }
        Ok(())
    }
}

/// Kills the store at each instant that the seed names, by how much it has acknowledged until then; gives how often.
async fn kill_again_and_again(cluster: &mut Cluster, load: &Load) -> Result<usize> {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut kills = 0;
    while kills < KILLS {
        let until = load.acknowledged() + random.random_range(1..=APART_MAX);
        wait_until(BACK_WITHIN, "more is acknowledged", async || Ok(load.acknowledged() >= until)).await?;
        kill(cluster, &mut kills)?;
        while random.random_bool(KILLED_WHILE_STARTING) {
            cluster.process("store-svc")?.restart()?;
            opens(cluster).await?;
            kill(cluster, &mut kills)?;
        }
        cluster.restart("store-svc").await.with_context(|| format!("after kill {kills}"))?;
    }
    load.is_over.set(true);
    Ok(kills)
}

fn kill(cluster: &mut Cluster, kills: &mut usize) -> Result<()> {
    *kills += 1;
    cluster.process("store-svc")?.kill_9()
}

/// Waits until it has taken the lock, after which it reads what its predecessor left.
async fn opens(cluster: &mut Cluster) -> Result<()> {
    let holder = format!("process {} ", cluster.process("store-svc")?.pid());
    let lock = cluster.folder().join("store.db.lock");
    wait_until(BACK_WITHIN, "it opens the database", async || Ok(std::fs::read_to_string(&lock)?.contains(&holder)))
        .await
}

#[tokio::test]
async fn store_killed_50_times_under_load_keeps_every_acknowledged_job() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    let setup = Setup::rabbitmq(vhost.urls()).gateways(2).workers(1).slots("8").settle_within(SETTLES_WITHIN);
    scenario(setup.alone(), async |cluster| {
        let load = Load::new(cluster.http("lb")?);
        let ((), kills) = future::try_join(load.run(), kill_again_and_again(cluster, &load)).await?;
        let acknowledged = load.acknowledged.into_inner();
        println!("{} jobs acknowledged, {kills} kills, seed {SEED}", acknowledged.len());
        let client = cluster.client();
        // The audit at the end finds what was lost, what is there twice, and what nobody was told of.
        acknowledged.iter().for_each(|id| client.adopt(id));
        client.settled(SETTLES_WITHIN).await?;
        let ask = async |id: &String| client.succeeded(id, SETTLES_WITHIN).await.map(drop);
        stream::iter(&acknowledged).map(ask).buffer_unordered(ASKED_AT_ONCE).try_collect::<()>().await
    })
    .await
}
