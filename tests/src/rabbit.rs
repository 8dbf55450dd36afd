//! RabbitMQ for scenarios: one node shared by all tests that leave it alone, with a virtual host for each; tests that stop or kill a node
//! start their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use chassis::testing::rabbit::{Management, ScratchNode};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use harness::rabbit::{own_urls, urls};

/// Ends with the test process.
static SHARED: OnceCell<ScratchNode> = OnceCell::const_new();

/// A fresh virtual host on the shared node.
#[derive(Debug)]
pub struct Vhost {
    node: &'static ScratchNode,
    name: String,
}

impl Vhost {
    pub async fn fresh() -> Result<Self> {
        let node = SHARED.get_or_try_init(ScratchNode::start).await?;
        let name = format!("test-{}", Uuid::new_v4().simple());
        node.management().make_vhost(&name, &["default"]).await?;
        Ok(Self { node, name })
    }

    pub fn urls(&self) -> BTreeMap<String, String> {
        urls(self.node, &self.name)
    }

    /// Of the broker that it is on.
    pub fn amqp_address(&self) -> SocketAddr {
        self.node.amqp_address()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn management(&self) -> Management {
        self.node.management()
    }
}
