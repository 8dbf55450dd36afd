//! Changes behind the balancer cost no request: another plan of backends, and gateways that are started anew one after the other.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};
use futures_util::future::{try_join, try_join_all};
use serde_json::json;
use tests::cluster::Plan;
use tests::rabbit::Vhost;
use tests::{Cluster, Http, Setup, eventually};

use crate::SOON;

const CLIENTS: usize = 8;
const GATEWAYS: [&str; 3] = ["gateway-0", "gateway-1", "gateway-2"];
/// In the cluster's folder.
const PLAN: &str = "backends.toml";

/// Clients that ask and submit, on kept connections. Whatever happens to one of their requests is an error.
#[derive(Default)]
struct Load {
    answered: Cell<u64>,
    is_over: Cell<bool>,
}

impl Load {
    async fn during(&self, balancer: SocketAddr, steps: impl Future<Output = Result<()>>) -> Result<()> {
        let steps = async {
            let stepped = steps.await;
            self.is_over.set(true);
            stepped
        };
        let clients = try_join_all((0..CLIENTS).map(|_| self.ask(balancer)));
        try_join(steps, clients).await.map(drop)
    }

    async fn ask(&self, balancer: SocketAddr) -> Result<()> {
        let http = Http::new(balancer);
        while !self.is_over.get() {
            http.get("/queues").await?.expect(200)?;
            http.post("/longtask", &json!({"task": "noop"})).await?.expect(202)?;
            self.answered.set(self.answered.get() + 2);
        }
        Ok(())
    }

    /// So that it is seen that what has just changed works.
    async fn goes_on(&self) -> Result<()> {
        let enough = self.answered.get() + 20 * CLIENTS as u64;
        eventually(SOON, "requests are answered", async || Ok((self.answered.get() >= enough).then_some(()))).await
    }
}

fn write_plan(path: &Path, gateways: &[SocketAddr]) -> Result<()> {
    let tables = gateways.iter().map(|gateway| format!("[[backend]]\naddress = \"{gateway}\"\n"));
    Ok(fs::write(path, tables.collect::<String>())?)
}

/// How many backends are asked.
async fn until_healthy(cluster: &Cluster, count: usize) -> Result<()> {
    eventually(SOON, &format!("{count} backends are asked"), async || {
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
    load.during(balancer, async {
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
    load.during(cluster.address("lb")?, async {
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
