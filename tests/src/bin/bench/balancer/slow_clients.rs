//! Answer times of the others while thousands of clients send their heads, or read their answers, byte by byte; and what that makes `lb` hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tests::cluster::Metrics;
use tests::{Http, Process, wait_until};

use super::contenders::{LARGE, Origin, SMALL};
use super::open_loop;
use crate::kept::Clients;
use crate::meter::mib;
use crate::plan::Plan;
use crate::programs;
use crate::record::{Contender, Run, Section};
use crate::report::{progress, say};

pub(crate) const SLOW_CLIENTS: &str = "balancer, slow clients";
pub(crate) const ALONE: &str = "nobody else";
pub(crate) const BESIDE: &str = "beside 5,000 slow heads and 5,000 slow reads";
/// Of each kind.
const SLOW: u32 = 5_000;
/// The others are few.
const MOST: u32 = 2 * SLOW + 1_000;
const PER_SECOND: u32 = 1_000;
/// Before the first of the heads has taken too long.
const CONNECTED_WITHIN: Duration = Duration::from_secs(9);
/// Connections per second of each kind, so that all are there by then.
const CONNECTING: u32 = 5_000;
const WARM_UP: Duration = Duration::from_secs(1);
/// What they do, one piece each so many seconds.
const HEADS: [&str; 3] = ["-H", "-i", "5"];
/// A window of some bytes, of which one is read at a time.
const READS: [&str; 11] = ["-X", "-w", "8", "-y", "16", "-n", "5", "-z", "1", "-k", "3"];

pub(super) async fn run(plan: &Plan, origin: &mut Origin) -> Result<Section> {
    let what = format!(
        "{PER_SECOND} requests per second, open loop; slowhttptest at the lowest priority; in MiB by how much lb grew at most"
    );
    let contender = |name: &str| Contender { name: name.to_owned(), what: what.clone(), runs: Vec::new() };
    let (mut alone, mut beside) = (contender(ALONE), contender(BESIDE));
    for round in 0..plan.withstand_rounds {
        let (without, with) = measure(plan, origin, round).await?;
        for (contender, run) in [(&mut alone, without), (&mut beside, with)] {
            progress(SLOW_CLIENTS, &contender.name, &run);
            say(&format!("lb grew by {:.1} MiB", run.largest_mib()));
            contender.runs.push(run);
        }
    }
    Ok(Section { name: SLOW_CLIENTS.to_owned(), contenders: vec![alone, beside] })
}

/// One after the other, at the same `lb`.
async fn measure(plan: &Plan, origin: &Origin, round: usize) -> Result<(Run, Run)> {
    let settings =
        [("LONGSHORE_CLIENT_CONNECTIONS_MAX", MOST.to_string()), ("LONGSHORE_ACCESS_LOG", "false".to_owned())];
    let lb = origin.lb(&format!("lb-slow-clients-{round}"), &settings).await?;
    let clients = Clients::new(lb.address, SMALL);
    open_loop::at(&lb.meter, &clients, PER_SECOND, WARM_UP).await?;
    let before = lb.process.usage()?;
    let measured = async || {
        let run = open_loop::at(&lb.meter, &clients, PER_SECOND, plan.balancer_length).await?;
        let grown = mib(lb.process.usage()?.peak_resident_bytes.saturating_sub(before.resident_bytes));
        anyhow::Ok(Run { resident_mib: BTreeMap::from([("lb".to_owned(), grown)]), ..run })
    };
    let alone = measured().await?;
    // They end with their processes. Heads come last: the balancer gives each ten seconds.
    let (folder, http) = (origin.folder.path(), Http::new(lb.address));
    let url = |path| format!("http://{}{path}", lb.address);
    let _reads = slow(plan, folder, &format!("slow-reads-{round}"), "127.0.0.2", &READS, &url(LARGE))?;
    connected(&http, SLOW).await?;
    let _heads = slow(plan, folder, &format!("slow-heads-{round}"), "127.0.0.3", &HEADS, &url(SMALL))?;
    connected(&http, 2 * SLOW).await?;
    Ok((alone, measured().await?))
}

/// Until the balancer has nearly so many connections: some end while others begin.
async fn connected(http: &Http, count: u32) -> Result<()> {
    let least = f64::from(count - count / 50);
    wait_until(CONNECTED_WITHIN, &format!("{least} connections"), async || {
        let answer = http.get("/metrics").await?;
        let metrics = Metrics::parse(str::from_utf8(&answer.body)?);
        Ok(metrics.sum("longshore_lb_connections", &[]) >= least)
    })
    .await
}

/// From an address of its own, by which a balancer may count its clients. With what the cores have left: attackers bring machines of their own.
fn slow(plan: &Plan, folder: &Path, name: &str, from: &str, how: &[&str], url: &str) -> Result<Process> {
    let (count, rate) = (SLOW.to_string(), CONNECTING.to_string());
    let arguments =
        [&["-n", "19", "slowhttptest"], how, &["-c", &count, "-r", &rate, "-l", "120", "-p", "60", "-u", url]].concat();
    let preload = plan.installed.source_address()?.display().to_string();
    let environment = [("LD_PRELOAD", preload), ("SOURCE_ADDRESS", from.to_owned())];
    programs::start(folder, name, "nice", &arguments, &environment)
}
