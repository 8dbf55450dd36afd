//! Faults, each with its published bound: what was accepted ends, once, whatever dies.

mod broker;
mod clients;
mod disk;
mod files;
mod links;
mod owners;
mod poison;
mod queue;
mod restart;
mod torn;
mod worker;

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::{Client, wait_until};

use crate::SOON;

pub(crate) const QUEUE: &str = "jobs.default";
/// As after a broker that lost its data.
pub(crate) const REPAIRED_WITHIN: Duration = Duration::from_secs(30);

/// All `slots` are taken for so long; gives the jobs.
pub(crate) async fn occupy(client: &Client, slots: usize, duration_ms: u64) -> Result<Vec<String>> {
    let ids = client.accepted_all(slots, |_| json!({"task": "work", "payload": {"duration_ms": duration_ms}})).await?;
    wait_until(SOON, "the slots are taken", async || Ok(client.list("status=running&").await?.len() == slots)).await?;
    Ok(ids)
}
