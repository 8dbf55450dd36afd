//! Runs one system test: starts the system, runs the test's own steps, then checks the invariants that hold after every test; shows the
//! logs of all processes when anything failed.

use anyhow::Result;
use tokio::sync::Semaphore;

use crate::cluster::{Cluster, Setup};

/// Each cluster is up to ten processes; more than two at a time on two cores would measure the machine.
const AT_A_TIME: u32 = 2;
static PLACES: Semaphore = Semaphore::const_new(AT_A_TIME as usize);

pub async fn scenario(setup: Setup, steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let settle_within = setup.settle_within;
    among_strangers(setup, async |cluster| {
        steps(cluster).await?;
        cluster.check_invariants(settle_within).await
    })
    .await
}

/// The same where others than the cluster's client submit jobs, too: its book has not all of them, so it is not looked at.
pub async fn among_strangers(setup: Setup, steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let _place = PLACES.acquire_many(if setup.alone { AT_A_TIME } else { 1 }).await?;
    let mut cluster = Cluster::start(&setup).await?;
    let outcome = steps(&mut cluster).await;
    if outcome.is_err() {
        cluster.show_logs();
    }
    outcome
}
