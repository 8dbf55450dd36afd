//! Where a trial happens: a RabbitMQ node of its own and every program as a process of its own, with a proxy in each way between two of
//! them. Everything on loopback and free ports; dropped, nothing of it is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chassis::testing::rabbit::ScratchNode;
use harness::cluster::Plan;
use harness::rabbit::own_urls;
use harness::wall_clock::WallClock;
use harness::{Cluster, Setup, TcpProxy};

use super::faults::{LEASE, Link, Member};
use super::plan::{Focus, whole_ms};

/// With two workers enough for 20,000 jobs in the time that a trial takes by default: a fifth of a second each, on average.
const SLOTS: &str = "24";
/// What runs longer is handed to its lease, so that also long jobs meet the broker's faults in a trial of minutes.
const HAND_OVER_MS: &str = "1000";

/// The programs and what stands between them.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) cluster: Cluster,
    pub(super) proxies: BTreeMap<Link, TcpProxy>,
    clocks: BTreeMap<Member, WallClock>,
}

#[derive(Debug)]
pub(super) struct Site {
    pub(super) programs: Programs,
    pub(super) node: ScratchNode,
    pub(super) handlers_log: PathBuf,
}

impl Site {
    pub(super) async fn build(focus: Focus, faketime: Option<&Path>) -> Result<Self> {
        let node = ScratchNode::start().await?;
        let folder = tempfile::Builder::new().prefix("longshore-chaos-").tempdir()?;
        let handlers_log = folder.path().join("handlers.jsonl");
        let caches = if focus == Focus::Caches { 2 } else { 1 };
        let setup = Setup::rabbitmq(own_urls(&node)).slots(SLOTS).tasks(tasks(&handlers_log)?).caches(caches);
        let mut plan = setup.plan(folder.path())?;
        plan.set("worker", "LONGSHORE_HAND_OVER_MS", HAND_OVER_MS);
        let mut proxies = BTreeMap::new();
        for link in Link::ALL.into_iter().chain((focus == Focus::Caches).then_some(Link::GatewayStandby)) {
            proxies.insert(link, put_between(link, &node, &mut plan).await?);
        }
        let caches = proxies.iter().filter(|(link, _)| Link::TO_CACHES.contains(link));
        let caches: Vec<String> = caches.map(|(_, proxy)| proxy.address().to_string()).collect();
        plan.set("gateway", "LONGSHORE_CACHE_URL", &caches.join(","));
        let to_gateways = Link::TO_GATEWAYS.map(|link| proxies[&link].address().to_string());
        plan.set("lb", "LONGSHORE_BACKENDS", &to_gateways.join(","));
        let clocks = if let Some(library) = faketime { give_clocks(&mut plan, library)? } else { BTreeMap::new() };
        let cluster = Cluster::start_planned(plan, folder).await?;
        Ok(Self { programs: Programs { cluster, proxies, clocks }, node, handlers_log })
    }
}

impl Programs {
    /// Sets how many seconds the wall clock of a process is off; it learns it within a second.
    pub(super) fn step_clock(&self, member: Member, seconds: i64) -> Result<()> {
        self.clocks.get(&member).with_context(|| format!("{} has no clock of its own", member.name()))?.set(seconds)
    }

    pub(super) fn proxy(&self, link: Link) -> &TcpProxy {
        &self.proxies[&link]
    }
}

async fn put_between(link: Link, node: &ScratchNode, plan: &mut Plan) -> Result<TcpProxy> {
    let (from, to) = link.ends();
    if to != "broker" {
        let proxy = TcpProxy::start(plan.address(to)?).await?;
        if to == "store-svc" {
            plan.set(from, "LONGSHORE_STORE_URL", &proxy.address().to_string());
        }
        return Ok(proxy);
    }
    let proxy = TcpProxy::start_before_broker(node.amqp_address()).await?;
    for spec in plan.specs.iter_mut().filter(|spec| spec.name.starts_with(from)) {
        if let Some(url) = spec.environment.get_mut("AMQP_URL") {
            *url = url.replace(&node.amqp_address().to_string(), &proxy.address().to_string());
        }
    }
    Ok(proxy)
}

fn give_clocks(plan: &mut Plan, library: &Path) -> Result<BTreeMap<Member, WallClock>> {
    let members = Member::GATEWAYS.into_iter().chain(Member::WORKERS).chain([Member::StoreSvc, Member::CacheSvc]);
    let mut clocks = BTreeMap::new();
    for member in members {
        let clock = WallClock::create(library, &plan.folder, member.name())?;
        for spec in plan.specs.iter_mut().filter(|spec| spec.name == member.name()) {
            spec.environment.extend(clock.environment().map(|(variable, value)| (variable.to_owned(), value)));
        }
        clocks.insert(member, clock);
    }
    Ok(clocks)
}

/// The task names end in the number of the submit, so that every job of the store names the request that made it.
fn tasks(handlers_log: &Path) -> Result<String> {
    let program = std::env::current_exe().context("the path of this program")?;
    let lease_ms = whole_ms(LEASE);
    let simulated = ["noop", "short", "flaky", "delayed", "invalidating"]
        .map(|name| format!("[task.\"{name}-*\"]\nkind = \"simulate\"\nlease_ms = {lease_ms}\n"));
    let commands = ["command", "long"].map(|name| {
        format!(
            "[task.\"{name}-*\"]\nkind = \"command\"\nlease_ms = {lease_ms}\nprogram = {program:?}\nargs = [\"chaos-handler\", {handlers_log:?}]\n"
        )
    });
    Ok(simulated.into_iter().chain(commands).collect::<Vec<_>>().join("\n"))
}
