//! A cluster of three scratch nodes, as a RabbitMQ for production has them: quorum queues that are declared in it have a copy on each.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join;
use tokio::process::Child;

use super::{NodeConfig, ScratchNode, command, free_port};

const NODES: usize = 3;
/// The nodes prove to each other by it that they belong together.
const COOKIE: &str = "LONGSHORE-SCRATCH";

/// The nodes can be killed and started again one by one.
#[derive(Debug)]
pub struct ScratchCluster {
    pub nodes: Vec<ScratchNode>,
    /// Where the nodes ask for each other's ports; it ends when it is dropped.
    _mapper: Child,
}

impl ScratchCluster {
    /// Without the product's topology: queues that the first node declared alone would have one copy. A test makes a virtual host.
    ///
    /// # Errors
    /// When RabbitMQ is not installed, or the nodes do not boot or do not find each other.
    pub async fn start() -> Result<Self> {
        let epmd = free_port()?;
        let mapper = command::start_mapper(epmd)?;
        let first = ScratchNode::boot_member(1, epmd).await?;
        let (second, third) = try_join(ScratchNode::boot_member(2, epmd), ScratchNode::boot_member(3, epmd)).await?;
        let cluster = Self { nodes: vec![first, second, third], _mapper: mapper };
        let members = cluster.nodes[0].management().nodes().await?;
        ensure!(members.len() == NODES, "the cluster has these nodes: {members:?}");
        Ok(cluster)
    }
}

impl ScratchNode {
    async fn boot_member(number: usize, epmd: u16) -> Result<Self> {
        let name = |number: usize| format!("longshore{number}@localhost");
        let discovery = ["peer_discovery_backend = classic_config", "discovery_retry_limit = 1"];
        let mut settings = discovery.map(|line| format!("cluster_formation.{line}")).to_vec();
        settings
            .extend((1..=NODES).map(|peer| format!("cluster_formation.classic_config.nodes.{peer} = {}", name(peer))));
        let config = NodeConfig { definitions: without_topology()?, settings, ..NodeConfig::default() };
        let node = Self::boot(&config, name(number), epmd, false).await?;
        // It answers before it is whole, and what is declared then does not reach it.
        node.ctl(&["await_startup"]).await?;
        Ok(node)
    }
}

/// The development definitions without exchanges and queues.
fn without_topology() -> Result<String> {
    let mut all: serde_json::Value = serde_json::from_str(&NodeConfig::default().definitions)?;
    let definitions = all.as_object_mut().context("definitions are an object")?;
    definitions.retain(|name, _| matches!(name.as_str(), "users" | "vhosts" | "permissions"));
    Ok(all.to_string())
}

/// What each node of a cluster shows the others.
pub(super) fn write_cookie(folder: &Path) -> Result<()> {
    let path = folder.join(".erlang.cookie");
    fs::write(&path, COOKIE)?;
    fs::set_permissions(&path, Permissions::from_mode(0o400)).context("hiding the cookie")
}
