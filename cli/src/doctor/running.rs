//! The programs that this one calls, and a request through the balancer.

use chassis::config::Source;
use chassis::finding::Finding;
use protocol::queue::{QueueView, Queues};
use tokio::time::Instant;

use super::ports::{condition, report};
use super::setup::{Peer, Setup};
use crate::arguments::Service;
use crate::client::{Client, get};

const PEER: &str = "program";
const THROUGH: &str = "request";

/// `runs`: some port of the set-up is held by a program of ours.
pub(super) async fn look(
    setup: &Setup,
    service: &Service,
    source: &Source,
    runs: bool,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for peer in &setup.peers {
        findings.push(asked(peer).await);
    }
    // Where the system is said to be, it is expected to be.
    let is_expected = service.url.is_some() || source.get("LONGSHORE_URL").is_some();
    if is_expected || (runs && setup.has_balancer) {
        findings.push(through(&Client::new(&address(setup, service, source), source)?).await);
    } else if setup.has_balancer {
        findings.push(Finding::ok(THROUGH, "nothing runs yet: start it with `longshore up`"));
    }
    Ok(findings)
}

/// Where the balancer of the set-up listens, unless somebody says otherwise.
fn address(setup: &Setup, service: &Service, source: &Source) -> Service {
    let balancer = setup.listens.iter().find(|listen| listen.program == "lb" && listen.address.port() != 0);
    let is_said = service.url.is_some() || source.get("LONGSHORE_URL").is_some();
    let own = balancer.filter(|_| !is_said).map(|listen| super::ports::called(listen.address));
    Service { url: own.or_else(|| service.url.clone()), api_key_file: service.api_key_file.clone() }
}

async fn asked(peer: &Peer) -> Finding {
    let Peer { program, address } = peer;
    match report(address).await {
        None => {
            let advice = format!("start {program}, or correct the address");
            Finding::warning(PEER, format!("no {program} answers at {address}"), advice)
        }
        Some(report) if report["program"] != *program => {
            let other = report["program"].as_str().unwrap_or_default();
            Finding::fault(PEER, format!("{address}, where {program} should be, is {other}"), "correct the address")
        }
        Some(report) => condition(PEER, &format!("{program} at {address}"), &report),
    }
}

/// A request that goes all the way to the store, and what it tells.
async fn through(client: &Client) -> Finding {
    let (begin, place) = (Instant::now(), format!("http://{}", client.address()));
    let answer = match client.call(&get("/queues")).await {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::fault(THROUGH, format!("{error}"), "see what the programs above lack, and their logs");
        }
    };
    let took = begin.elapsed().as_secs_f64() * 1_000.0;
    match client.read::<Queues>(&answer.body) {
        Err(error) => Finding::fault(THROUGH, error.to_string(), "correct LONGSHORE_URL, or --url"),
        Ok(Queues { queues }) => judge(&format!("GET {place}/queues was answered in {took:.1} ms"), &queues),
    }
}

fn judge(told: &str, queues: &[QueueView]) -> Finding {
    let paused: Vec<&str> = queues.iter().filter(|queue| queue.paused).map(|queue| queue.queue.as_str()).collect();
    let idle = |queue: &&QueueView| queue.slots == 0 && queue.depth.queued > 0;
    let unserved: Vec<&str> = queues.iter().filter(idle).map(|queue| queue.queue.as_str()).collect();
    if !unserved.is_empty() {
        let found = format!("{told}; jobs wait in {}, which no worker consumes", unserved.join(", "));
        return Finding::warning(THROUGH, found, "start a worker with that queue in LONGSHORE_QUEUES");
    }
    if !paused.is_empty() {
        let found = format!("{told}; paused: {}", paused.join(", "));
        return Finding::warning(THROUGH, found, "`longshore resume` when you want them to go on");
    }
    Finding::ok(THROUGH, told)
}

#[cfg(test)]
mod tests {
    use chassis::finding::Level;
    use protocol::queue::Depth;

    use super::*;

    #[test]
    fn queues_that_stand_still_are_told() {
        let check = |queue: QueueView, expected: Level, says: &str| {
            let found = judge("answered", &[queue]);
            assert!(found.level == expected && found.found.contains(says), "{found:?}");
        };
        let named = QueueView { queue: "a".to_owned(), ..QueueView::default() };
        let waiting = Depth { queued: 1, ..Depth::default() };
        check(named.clone(), Level::Ok, "answered");
        check(QueueView { paused: true, ..named.clone() }, Level::Warning, "paused: a");
        check(QueueView { depth: waiting, ..named }, Level::Warning, "no worker consumes");
    }
}
