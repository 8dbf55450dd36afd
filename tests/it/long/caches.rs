//! `longshore chaos --cache` holds the caches to their promises in a short trial; and what a fence takes while nothing is broken.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::open_loop::at_rate;
use tests::rabbit::Vhost;
use tests::{Setup, scenario, wait_until};

use super::chaos::held;

const FENCES_PER_SECOND: u32 = 50;
const FENCES_FOR: Duration = Duration::from_secs(20);
const FENCED_WITHIN: Duration = Duration::from_millis(10);

#[tokio::test]
async fn short_trial_of_the_caches_holds_every_promise() -> Result<()> {
    let (report, history) = held("--cache --seed 3 --seconds 40").await?;
    let (counts, caches) = (&report["counts"], &report["caches"]);
    ensure!(counts["reads"].as_u64() > Some(5_000) && counts["near_hits"].as_u64() > Some(500), "{counts}");
    ensure!(counts["terminal"] == counts["accepted"] && counts["accepted"].as_u64() > Some(50), "{counts}");
    for figures in ["quiet_writes", "quiet_invalidations", "disturbed_writes", "disturbed_invalidations"] {
        ensure!(caches[figures]["count"].as_u64() > Some(50), "{figures}: {caches:#}");
    }
    ensure!(caches["sequencers"].as_u64() > Some(1), "nobody took over: {caches:#}");
    ensure!(caches["near_hits_without_broker"].as_u64() > Some(0), "{caches:#}");
    ensure!(caches["acknowledged_without_broker"].as_u64() > Some(0), "{caches:#}");
    ensure!(history.contains(r#""event":"invalidated""#) && history.contains(r#""event":"wrote""#));
    Ok(())
}

#[tokio::test]
async fn fences_of_an_idle_system_close_within_10_ms() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).alone();
    scenario(setup, async |cluster| {
        let http = cluster.client().http();
        wait_until(crate::SOON, "a fence closes", async || Ok(http.delete("/cache/k").await?.status == 200)).await?;
        let took =
            at_rate(FENCES_PER_SECOND, FENCES_FOR, async |_| http.delete("/cache/k").await?.expect(200).map(drop))
                .await?;
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        let (p50, p99) = (at(50), at(99));
        ensure!(p99 <= FENCED_WITHIN, "p50 {p50:?}, p99 {p99:?}, slowest {:?}", at(100));
        Ok(())
    })
    .await
}
