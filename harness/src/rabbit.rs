//! The `AMQP_URL` of each program on a scratch RabbitMQ node.

use std::collections::BTreeMap;

use chassis::testing::rabbit::ScratchNode;
use protocol::topology::VHOST;

const PROGRAMS: [&str; 5] = ["gateway", "worker", "cache-svc", "store-svc", "up"];

/// `AMQP_URL` by program, for [`crate::Setup::rabbitmq`].
pub fn urls(node: &ScratchNode, vhost: &str) -> BTreeMap<String, String> {
    PROGRAMS.iter().map(|&program| (program.to_owned(), node.amqp_url_for(program, vhost))).collect()
}

/// Of a node of one's own, with its definitions as imported at boot.
pub fn own_urls(node: &ScratchNode) -> BTreeMap<String, String> {
    urls(node, VHOST)
}
