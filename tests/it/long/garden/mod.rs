//! A small garden of servers that read HTTP/1.1 each in its own way: whatever a client sends through the balancer, none of them reads a
//! request that nobody sent.

mod backends;
#[expect(dead_code, reason = "the balancer's own tests look at more than how many requests there are")]
#[path = "../../../../lb/tests/it/probe/cases/mod.rs"]
mod cases;
mod http2;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::config::Source;
use chassis::shutdown::Trigger;
use chassis::task::Tasks;
use tests::{Http, eventually};
use tokio::net::TcpListener;

use self::backends::{Backend, Request};
use self::cases::wire::{self, AFTER_LINE};
use self::cases::{Case, SMUGGLED, Verdict};
use crate::SOON;

/// Asked when all cases are through.
const LAST: &str = "/last";
/// Node refuses a message whose method it does not know, before it says anything of it.
const UNKNOWN_TO_NODE: [&str; 3] = ["COMP-METHOD-CASE", "COMP-UNKNOWN-METHOD", "SMUG-CL0-BODY-POISON"];

struct Balancer {
    address: SocketAddr,
    trigger: Trigger,
    tasks: Tasks,
}

impl Balancer {
    async fn before(backend: &Backend) -> Result<Balancer> {
        let is_there = async |address| {
            Http::new(address).get("/ready").await?.expect(200)?;
            Ok(Some(()))
        };
        let server = eventually(SOON, "the server answers", async || is_there(backend.address).await).await;
        server.with_context(|| backend.said())?;
        let source = Source::from_pairs([
            ("LONGSHORE_BACKENDS", backend.address.to_string()),
            ("LONGSHORE_EVENT_LOOPS", "2".to_owned()),
            ("LONGSHORE_CHECK_INTERVAL_MS", "100".to_owned()),
        ]);
        let config = lb::Config::load(&source)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, (trigger, shutdown)) = (listener.local_addr()?, Trigger::new(Duration::from_secs(1)));
        let tasks = Tasks::new();
        tasks.spawn("lb", async move {
            lb::run(listener, config, shutdown).await.ok();
        });
        eventually(SOON, "the balancer is ready", async || is_there(address).await).await?;
        Ok(Balancer { address, trigger, tasks })
    }

    fn http(&self) -> Http {
        Http::new(self.address)
    }

    async fn stop(self) -> Result<()> {
        self.trigger.end();
        self.tasks.join(SOON).await.ok().context("the balancer ends")
    }
}

/// Sends every case through a balancer to this server, which reads what is passed on, except of the cases named.
async fn check(backend: Backend, unread: &[&str]) -> Result<()> {
    let balancer = Balancer::before(&backend).await?;
    let cases = cases::all();
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let talk = wire::talk(balancer.address, wire::source(number), case).await.context(case.id)?;
        if talk.statuses.len() > case.requests_max() + 1 {
            wrong.push(format!("{}: more answers than requests: {talk:?}", case.id));
        }
    }
    let answer = balancer.http().get(LAST).await?;
    ensure!(answer.status == 200, "after all cases: {answer}");
    balancer.stop().await?;
    let is_last = |request: &Request| request.target == LAST;
    let seen = eventually(SOON, "the server has read everything", async || {
        Ok(Some(backend.seen()?).filter(|seen| seen.iter().any(is_last)))
    })
    .await?;
    wrong.extend(differences(&cases, unread, seen.into_iter().filter(|request| !is_last(request))));
    ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// What a server has read that nobody sent, and what it has not read of what is passed on.
fn differences(cases: &[Case], unread: &[&str], seen: impl Iterator<Item = Request>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_source: BTreeMap<String, Vec<Request>> = BTreeMap::new();
    for request in seen {
        if request.target.contains(SMUGGLED) {
            wrong.push(format!("smuggled: {request:?}"));
        }
        by_source.entry(request.source.clone()).or_default().push(request);
    }
    let mut nobodys = by_source.remove("-").unwrap_or_default();
    // The balancer's own, when it looks whether the server is ready.
    nobodys.retain(|request| request.target != "/ready");
    for (number, case) in cases.iter().enumerate() {
        let seen = by_source.remove(&wire::source(number).to_string()).unwrap_or_default();
        let (after, mut requests): (Vec<_>, Vec<_>) = seen.into_iter().partition(|request| line(request) == AFTER_LINE);
        requests.extend(half_read(case, &requests, &mut nobodys));
        let is_passed = matches!(case.verdict, Verdict::Passed(..) | Verdict::NotApplicable(_));
        let is_too_few = is_passed && requests.len() < case.requests_max() && !unread.contains(&case.id);
        let is_too_many = requests.len() > case.requests_max() || after.len() > usize::from(case.goes_on());
        if is_too_few || is_too_many {
            wrong.push(format!("{}: {requests:?}, {after:?}", case.id));
        }
    }
    wrong.extend(nobodys.iter().map(|request| format!("nobody's: {request:?}")));
    wrong.extend(by_source.into_values().map(|requests| format!("nobody's: {requests:?}")));
    wrong
}

/// Requests that the server refused for their first line, so that it did not read whose they are.
fn half_read(case: &Case, read: &[Request], nobodys: &mut Vec<Request>) -> Vec<Request> {
    let Verdict::Passed(seen, _) = &case.verdict else { return Vec::new() };
    let mut half_read = Vec::new();
    for missing in seen.iter().filter(|seen| !read.iter().any(|request| line(request) == seen.line)) {
        if let Some(place) = nobodys.iter().position(|request| line(request) == missing.line) {
            half_read.push(nobodys.remove(place));
        }
    }
    half_read
}

fn line(request: &Request) -> String {
    format!("{} {}", request.method, request.target)
}

#[tokio::test]
async fn axum_reads_no_request_that_nobody_sent() -> Result<()> {
    check(Backend::axum().await?, &[]).await
}

#[tokio::test]
async fn h11_reads_no_request_that_nobody_sent() -> Result<()> {
    check(Backend::h11()?, &[]).await
}

#[tokio::test]
async fn node_reads_no_request_that_nobody_sent() -> Result<()> {
    check(Backend::node()?, &UNKNOWN_TO_NODE).await
}

#[tokio::test]
async fn nginx_reads_no_request_that_nobody_sent() -> Result<()> {
    check(Backend::nginx()?, &[]).await
}

#[tokio::test]
async fn haproxy_passes_on_no_request_that_nobody_sent() -> Result<()> {
    check(Backend::haproxy().await?, &[]).await
}
