//! Runs one system test: starts the system, runs the test's own steps, then checks the invariants that hold after every test; shows the
//! logs of all processes when anything failed.

use anyhow::Result;
use tokio::sync::Semaphore;

use crate::cluster::{Cluster, Setup};

/// Each cluster is up to ten processes; more than two at a time on two cores would measure the machine.
const AT_A_TIME: u32 = 2;
static PLACES: Semaphore = Semaphore::const_new(AT_A_TIME as usize);

pub async fn scenario(setup: Setup, steps: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let _place = PLACES.acquire_many(if setup.alone { AT_A_TIME } else { 1 }).await?;
    let mut cluster = Cluster::start(&setup).await?;
    let outcome = match steps(&mut cluster).await {
        Ok(()) => cluster.check_invariants(setup.settle_within).await,
        failed => failed,
    };
    if outcome.is_err() {
        cluster.show_logs();
    }
    outcome
}
