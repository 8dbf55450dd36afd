//! PostgreSQL for scenarios: one scratch cluster shared by all tests that leave it alone, with a database for each.

use anyhow::{Context, Result};
use chassis::testing::postgres::ScratchCluster;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// Ends with the test process.
static SHARED: OnceCell<ScratchCluster> = OnceCell::const_new();

/// The `DATABASE_URL` of a fresh database.
pub async fn fresh_database() -> Result<String> {
    let start = async || spawn_blocking(ScratchCluster::start).await.context("starting a cluster")?;
    let cluster = SHARED.get_or_try_init(start).await?;
    spawn_blocking(|| cluster.fresh_database()).await.context("making a database")?
}
