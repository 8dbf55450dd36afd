//! The scratch node itself: it boots with the definitions, survives what tests do to it, and leaves nothing behind.

use std::time::Duration;

use chassis::testing::rabbit::ScratchNode;
use chassis::testing::wait_until;
use protocol::topology::VHOST;

use super::bench::shared_node;

#[tokio::test]
async fn node_is_killed_wiped_and_started_again_in_place() {
    let mut node = ScratchNode::start().await.unwrap();
    let api = node.management();
    assert_eq!(api.vhosts().await.unwrap(), [VHOST]);
    assert!(api.publish(VHOST, "jobs", "default", "soon gone").await.unwrap());
    assert!(!api.publish(VHOST, "jobs", "nowhere", "nowhere").await.unwrap());
    let pid = node.pid().unwrap();
    node.kill().await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    node.wipe().unwrap();
    node.start_again().await.unwrap();
    wait_until(Duration::from_secs(10), "the queue is there again, and empty", async || {
        api.take(VHOST, "jobs.default", 1).await.is_ok_and(|taken| taken.is_empty())
    })
    .await;
    let pid = node.pid().unwrap();
    drop(node);
    wait_until(Duration::from_secs(5), "the node ends with its handle", async || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    })
    .await;
}

/// By default it would grow by hundreds of MiB with the bells that have gone through it.
#[tokio::test]
async fn what_quorum_queues_keep_in_memory_is_bounded() {
    let asked = "application:get_env(ra, wal_max_size_bytes).";
    let said = shared_node().await.ctl(&["eval", asked]).await.unwrap();
    assert_eq!(said.trim(), "{ok,67108864}");
}
