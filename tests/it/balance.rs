//! Changes behind the balancer cost no request: another plan of backends, and gateways that are started anew one after the other.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::{try_join, try_join_all};
use http::Method;
use serde_json::json;
use tests::cluster::Plan;
use tests::rabbit::Vhost;
use tests::{Cluster, Http, Setup, eventually};

use crate::SOON;

const CLIENTS: usize = 8;
const GATEWAYS: [&str; 3] = ["gateway-0", "gateway-1", "gateway-2"];
/// In the cluster's folder.
const PLAN: &str = "backends.toml";

/// Clients on kept connections. Whatever must not happen to one of their requests is an error.
#[derive(Default)]
struct Load {
    made: Cell<u64>,
    good: Cell<u64>,
    is_over: Cell<bool>,
}

impl Load {
    /// `ask` makes requests, which it may tell apart by a number, and says how many were answered well.
    async fn during(
        &self,
        balancer: SocketAddr,
        ask: impl AsyncFn(&Http, u64) -> Result<u64>,
        steps: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let steps = async {
            let stepped = steps.await;
            self.is_over.set(true);
            stepped
        };
        let client = async || {
            let http = Http::new(balancer);
            while !self.is_over.get() {
                let number = self.made.replace(self.made.get() + 1);
                let good = ask(&http, number).await?;
                self.good.set(self.good.get() + good);
            }
            Ok(())
        };
        let clients = try_join_all((0..CLIENTS).map(|_| client()));
        try_join(steps, clients).await.map(drop)
    }

    /// So that it is seen that what has just changed works.
    async fn goes_on(&self) -> Result<()> {
        let enough = self.good.get() + 20 * CLIENTS as u64;
        eventually(SOON, "requests are answered", async || Ok((self.good.get() >= enough).then_some(()))).await
    }
}

async fn ask_and_submit(http: &Http, _: u64) -> Result<u64> {
    http.get("/queues").await?.expect(200)?;
    http.post("/longtask", &json!({"task": "noop"})).await?.expect(202)?;
    Ok(2)
}

fn write_plan(path: &Path, gateways: &[SocketAddr]) -> Result<()> {
    let tables = gateways.iter().map(|gateway| format!("[[backend]]\naddress = \"{gateway}\"\n"));
    Ok(fs::write(path, tables.collect::<String>())?)
}

/// Waits until so many backends are asked.
async fn until_healthy(cluster: &Cluster, count: usize) -> Result<()> {
    healthy_within(SOON, cluster, count).await
}

async fn healthy_within(limit: Duration, cluster: &Cluster, count: usize) -> Result<()> {
    eventually(limit, &format!("{count} backends are asked"), async || {
        let healthy = cluster.sum("lb", "longshore_lb_backend_healthy", &[]).await?;
        Ok((healthy == count as f64).then_some(()))
    })
    .await
}

/// Three gateways as programs of their own, and where they are.
async fn start(
    change: impl FnOnce(&mut Plan, &[SocketAddr], &Path) -> Result<()>,
) -> Result<(Cluster, Vec<SocketAddr>)> {
    let folder = tempfile::tempdir()?;
    let mut plan = Setup::rabbitmq(Vhost::fresh().await?.urls()).plan(folder.path())?;
    let gateways = GATEWAYS.into_iter().map(|name| plan.address(name)).collect::<Result<Vec<_>>>()?;
    change(&mut plan, &gateways, folder.path())?;
    Ok((Cluster::start_planned(plan, folder).await?, gateways))
}

#[tokio::test]
async fn another_plan_of_backends_costs_no_request() -> Result<()> {
    let (mut cluster, gateways) = start(|plan, gateways, folder| {
        let path = folder.join(PLAN);
        plan.set("lb", "LONGSHORE_BACKENDS_FILE", &path.to_string_lossy());
        write_plan(&path, gateways)
    })
    .await?;
    let (balancer, path) = (cluster.address("lb")?, cluster.folder().join(PLAN));
    let load = Load::default();
    load.during(balancer, ask_and_submit, async {
        for without in &gateways {
            let left: Vec<_> = gateways.iter().copied().filter(|gateway| gateway != without).collect();
            for named in [&left, &gateways] {
                write_plan(&path, named)?;
                cluster.process("lb")?.hang_up()?;
                until_healthy(&cluster, named.len()).await?;
                load.goes_on().await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn gateways_started_anew_one_after_the_other_cost_no_request() -> Result<()> {
    let (mut cluster, gateways) = start(|_, _, _| Ok(())).await?;
    let load = Load::default();
    load.during(cluster.address("lb")?, ask_and_submit, async {
        for name in GATEWAYS {
            cluster.process(name)?.term()?;
            let status = cluster.process(name)?.exited(SOON).await?;
            ensure!(status.success(), "{name}: {status}");
            cluster.restart(name).await?;
            until_healthy(&cluster, gateways.len()).await?;
            load.goes_on().await?;
        }
        Ok(())
    })
    .await
}

/// What may be sent twice must never fail; what may not is answered or not, and its fate may be unknown. Jobs are told apart by the names of
/// their tasks, which no worker knows: they fail at once. Only the submits count.
async fn ask_and_submit_marked(http: &Http, number: u64) -> Result<u64> {
    http.get("/queues").await?.expect(200)?;
    let body = json!({"task": format!("marked-{number}"), "max_attempts": 1});
    let key = format!("\"key-{number}\"");
    let is_keyed = number.is_multiple_of(2);
    let fields = [("idempotency-key", key.as_str())];
    let fields = if is_keyed { &fields[..] } else { &[] };
    let answer = http.send(Method::POST, "/longtask", fields, Some(&body)).await?;
    let may_fail = !is_keyed && matches!(answer.status.as_u16(), 502 | 503);
    ensure!(answer.status == 202 || may_fail, "{number}: {answer}");
    Ok(u64::from(answer.status == 202))
}

/// The tasks of all jobs.
async fn all_tasks(http: &Http) -> Result<Vec<String>> {
    let (mut tasks, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("/jobs?limit=500{cursor}")).await?.expect(200)?;
        let jobs = page["jobs"].as_array().context("no jobs")?;
        tasks.extend(jobs.iter().filter_map(|job| job["task"].as_str().map(str::to_owned)));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(tasks),
        }
    }
}

#[tokio::test]
async fn a_killed_gateway_costs_no_repeatable_request_and_doubles_no_other() -> Result<()> {
    let (mut cluster, gateways) = start(|_, _, _| Ok(())).await?;
    let balancer = cluster.address("lb")?;
    let load = Load::default();
    load.during(balancer, ask_and_submit_marked, async {
        for name in GATEWAYS {
            load.goes_on().await?;
            cluster.process(name)?.kill_9()?;
            load.goes_on().await?;
            cluster.restart(name).await?;
            // From the moment in which it is ready.
            healthy_within(Duration::from_secs(5), &cluster, gateways.len()).await?;
        }
        load.goes_on().await
    })
    .await?;
    let tasks = all_tasks(&Http::new(balancer)).await?;
    let distinct: BTreeSet<_> = tasks.iter().collect();
    ensure!(distinct.len() == tasks.len(), "a submit made two jobs: {} of {}", distinct.len(), tasks.len());
    ensure!(tasks.len() as u64 >= load.good.get(), "an accepted job is missing");
    Ok(())
}
