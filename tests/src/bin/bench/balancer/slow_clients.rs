//! Answer times of the others while thousands of clients send their heads, or read their answers, byte by byte; and what that makes
//! a balancer hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tests::{Process, wait_until};

use super::contenders::{Balancer, LARGE, Origin, SMALL};
use super::open_loop;
use crate::kept::Clients;
use crate::meter::mib;
use crate::plan::Plan;
use crate::programs;
use crate::record::{Contender, Run, Section};
use crate::report::{progress, say};

pub(crate) const SLOW_CLIENTS: &str = "balancer, slow clients";
pub(crate) const BESIDE: &str = "beside 5,000 slow heads and 5,000 slow reads";
/// What they cost the machine, whose cores all share.
pub(crate) const ELSEWHERE: &str = "while they are at another lb";
pub(crate) const ALONE: &str = "nobody else";
/// The same of `HAProxy`, in the same order.
const HAPROXY: [&str; 3] = ["HAProxy, nobody else", "HAProxy, while they are at another", "HAProxy beside them"];
/// Of each kind.
const SLOW: u32 = 5_000;
/// How many of them one slowhttptest has: it looks at all of its connections whenever one of them has something, in one system call that a
/// kernel without preemption does not interrupt.
const OF_ONE: u32 = 250;
/// The others are few.
const MOST: u32 = 2 * SLOW + 1_000;
const PER_SECOND: u32 = 1_000;
/// Before the first of the heads has taken too long.
const CONNECTED_WITHIN: Duration = Duration::from_secs(9);
/// Connections per second of one, so that all are there by then.
const CONNECTING: u32 = OF_ONE;
const WARM_UP: Duration = Duration::from_secs(1);
/// What they do, one piece each so many seconds.
const HEADS: [&str; 3] = ["-H", "-i", "5"];
/// A window of some bytes, of which one is read at a time.
const READS: [&str; 11] = ["-X", "-w", "8", "-y", "16", "-n", "5", "-z", "1", "-k", "3"];

pub(super) async fn run(plan: &Plan, origin: &mut Origin) -> Result<Section> {
    let what = format!(
        "{PER_SECOND} requests per second, open loop; slowhttptest with what the cores have left; in MiB by how much it grew at most"
    );
    let contender = |name: &str| Contender { name: name.to_owned(), what: what.clone(), runs: Vec::new() };
    let mut contenders: Vec<_> = [ALONE, ELSEWHERE, BESIDE].into_iter().chain(HAPROXY).map(contender).collect();
    for round in 0..plan.withstand_rounds {
        let settings =
            [("LONGSHORE_CLIENT_CONNECTIONS_MAX", MOST.to_string()), ("LONGSHORE_ACCESS_LOG", "false".to_owned())];
        let lb = async |name| origin.lb(&format!("{name}-{round}"), &settings).await;
        let mut runs = measure(plan, origin, lb("lb-asked").await?, lb("lb-other").await?).await?.to_vec();
        let haproxy = async |name| origin.haproxy(&format!("{name}-{round}")).await;
        let (asked, other) = (haproxy("haproxy-asked").await?, haproxy("haproxy-other").await?);
        runs.extend(measure(plan, origin, asked, other).await?);
        for (contender, run) in contenders.iter_mut().zip(runs) {
            progress(SLOW_CLIENTS, &contender.name, &run);
            say(&format!("it grew by {:.1} MiB", run.largest_mib()));
            contender.runs.push(run);
        }
    }
    Ok(Section { name: SLOW_CLIENTS.to_owned(), contenders })
}

/// Answers of one balancer: without them, while they are at the other one, and with them.
async fn measure(plan: &Plan, origin: &Origin, asked: Balancer, other: Balancer) -> Result<[Run; 3]> {
    let clients = Clients::new(asked.address, SMALL);
    open_loop::at(&asked.meter, &clients, PER_SECOND, WARM_UP).await?;
    let before = asked.process.usage()?;
    let measured = async || {
        let run = open_loop::at(&asked.meter, &clients, PER_SECOND, plan.balancer_length).await?;
        let grown = mib(asked.process.usage()?.peak_resident_bytes.saturating_sub(before.resident_bytes));
        anyhow::Ok(Run { resident_mib: BTreeMap::from([("balancer".to_owned(), grown)]), ..run })
    };
    let alone = measured().await?;
    let at_other = slow_clients(plan, origin, &other).await?;
    let elsewhere = measured().await?;
    drop((at_other, other));
    let _at_asked = slow_clients(plan, origin, &asked).await?;
    Ok([alone, elsewhere, measured().await?])
}

/// They end with their processes. Heads come last: a balancer gives each ten seconds.
async fn slow_clients(plan: &Plan, origin: &Origin, at: &Balancer) -> Result<Vec<Process>> {
    let (folder, name) = (origin.folder.path(), at.process.name());
    let several = |kind, from, how: &[&str], path| -> Result<Vec<Process>> {
        let one =
            |n| slow(plan, folder, &format!("{name}-{kind}-{n}"), from, how, &format!("http://{}{path}", at.address));
        (0..SLOW / OF_ONE).map(one).collect()
    };
    let mut all = several("reads", "127.0.0.2", &READS, LARGE)?;
    connected(&at.process, SLOW).await?;
    all.extend(several("heads", "127.0.0.3", &HEADS, SMALL)?);
    connected(&at.process, 2 * SLOW).await?;
    Ok(all)
}

/// Until the balancer has nearly so many connections: some end while others begin.
async fn connected(balancer: &Process, count: u32) -> Result<()> {
    let least = usize::try_from(count - count / 50)?;
    wait_until(CONNECTED_WITHIN, &format!("{least} connections"), async || Ok(balancer.usage()?.open_files >= least))
        .await
}

/// From an address of its own, by which a balancer may count its clients. With what the cores have left: attackers bring machines of their own.
fn slow(plan: &Plan, folder: &Path, name: &str, from: &str, how: &[&str], url: &str) -> Result<Process> {
    let (count, rate) = (OF_ONE.to_string(), CONNECTING.to_string());
    let arguments =
        [&["--idle", "0", "slowhttptest"], how, &["-c", &count, "-r", &rate, "-l", "120", "-p", "60", "-u", url]]
            .concat();
    let preload = plan.installed.source_address()?.display().to_string();
    let environment = [("LD_PRELOAD", preload), ("SOURCE_ADDRESS", from.to_owned())];
    programs::start(folder, name, "chrt", &arguments, &environment)
}
