//! What `lb` holds for many clients that are connected and ask for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep_until};

use super::contenders::{Origin, SMALL};
use crate::kept::crowd;
use crate::meter::mib;
use crate::record::{Contender, Run, Section};
use crate::report::say;

pub(crate) const IDLE_SECTION: &str = "balancer, idle connections";
pub(crate) const IDLE_CONNECTIONS: &str = "10,000 idle connections";
const COUNT: u32 = 10_000;
/// From the last answer on.
const IDLE_FOR: Duration = Duration::from_secs(10);
/// What looks after the balancer has its place, too.
const MOST: u32 = COUNT + 100;

pub(super) async fn run(origin: &mut Origin) -> Result<Section> {
    let settings =
        [("LONGSHORE_CLIENT_CONNECTIONS_MAX", MOST.to_string()), ("LONGSHORE_ACCESS_LOG", "false".to_owned())];
    let lb = origin.lb("lb-idle", &settings).await?;
    let before = lb.process.usage()?;
    // Each has asked once: whatever is kept for a connection was made.
    let request = format!("GET {SMALL} HTTP/1.1\r\nhost: gateway\r\n\r\n");
    let mut connections = crowd(lb.address, &request, COUNT).await?;
    for connection in &mut connections {
        connection.answer().await?;
    }
    sleep_until(Instant::now() + IDLE_FOR).await;
    let after = lb.process.usage()?;
    ensure!(after.open_files >= connections.len(), "not all are connected: {} open files", after.open_files);
    let grown = mib(after.resident_bytes.saturating_sub(before.resident_bytes));
    say(&format!("{IDLE_SECTION}: {COUNT} made lb grow by {grown:.1} MiB"));
    let run = Run {
        operations: u64::from(COUNT),
        resident_mib: BTreeMap::from([("lb".to_owned(), grown)]),
        ..Run::default()
    };
    let what =
        "clients that have asked once and stay connected; by how much lb grew, ten seconds after the last answer";
    let contender = Contender { name: IDLE_CONNECTIONS.to_owned(), what: what.to_owned(), runs: vec![run] };
    Ok(Section { name: IDLE_SECTION.to_owned(), contenders: vec![contender] })
}
