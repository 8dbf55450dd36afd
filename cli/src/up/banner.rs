//! What `longshore up` says when everything serves: where everything listens, and a first request to try.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use chassis::broker::{self, Link};
use chassis::client::{Call, Http};
use chassis::config::Address;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bound::Places;
use crate::output;

/// What the banner says besides addresses.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) places: Places,
    pub(crate) database: String,
    pub(crate) broker: broker::Source,
    /// Of RabbitMQ.
    pub(crate) link: Option<watch::Receiver<Link>>,
    pub(crate) slots: u64,
    pub(crate) tasks: Vec<String>,
    pub(crate) drain: Duration,
    /// Every request needs a key.
    pub(crate) asks: bool,
    /// Where the first one is, if `up` has made it.
    pub(crate) admin_key: Option<PathBuf>,
}

/// Longer lists of tasks are cut.
const TASKS_SHOWN: usize = 6;
/// How long the banner waits for RabbitMQ. What was just declared is not used for 3 s.
const LINK_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a program that serves may still lack a part, such as the near cache its first lease, before the banner does not wait for it.
const WHOLE_WITHIN: Duration = Duration::from_secs(3);

/// Waits until every program is ready, then says so.
///
/// # Errors
/// When one is not ready in time.
pub(crate) async fn announce(facts: &Facts, within: Duration) -> anyhow::Result<()> {
    let places = &facts.places;
    let until = Instant::now() + within;
    let link_until = Instant::now() + LINK_WITHIN;
    let whole_until = Instant::now() + within.min(WHOLE_WITHIN);
    let (http, call) = (Http::new(), Call::get("/ready").within(Duration::from_secs(1)));
    for place in places.all() {
        let address = Address::from(place);
        loop {
            let answer = http.send(&address, &call).await.ok().filter(|answer| answer.status.is_success());
            let whole = answer.as_ref().is_some_and(|answer| is_whole(&answer.body));
            if whole || (answer.is_some() && Instant::now() > whole_until) {
                break;
            }
            anyhow::ensure!(Instant::now() < until, "{place} was not ready within {} s; see the log", within.as_secs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let broker = broker(facts, link_until).await;
    // Who has closed standard output does not want to read it, and the system serves all the same.
    output::line(text(facts, &broker)).unwrap_or_default();
    Ok(())
}

/// The program lacks nothing.
fn is_whole(report: &[u8]) -> bool {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap_or_default();
    report["status"] != "degraded"
}

/// Which broker there is. One that is away is waited for a little, then said to be.
async fn broker(facts: &Facts, until: Instant) -> String {
    let Some(mut link) = facts.link.clone() else {
        return "embedded, in memory (set AMQP_URL to use RabbitMQ)".to_owned();
    };
    let is_up = tokio::time::timeout_at(until, link.wait_for(|link| *link == Link::Up)).await.is_ok();
    let place = &facts.broker;
    let why = match &*link.borrow() {
        _ if is_up => return format!("RabbitMQ at {place}"),
        Link::Up => return format!("RabbitMQ at {place}"),
        Link::Blocked => "it has an alarm and takes no messages".to_owned(),
        Link::Down { reason } => reason.clone(),
    };
    format!("RabbitMQ at {place}: NOT CONNECTED ({why}). Jobs are accepted, and run when it is there")
}

fn text(facts: &Facts, broker: &str) -> String {
    let Facts { places, database, slots, tasks, drain, .. } = facts;
    let gateways = places.gateways.iter().map(|gateway| format!("http://{gateway}"));
    let gateways = gateways.collect::<Vec<_>>().join("\n             ");
    let mut shown = tasks.iter().take(TASKS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if tasks.len() > TASKS_SHOWN {
        write!(shown, " and {} more", tasks.len() - TASKS_SHOWN).expect("writing to a String cannot fail");
    }
    let slots = if *slots == 1 { "1 slot".to_owned() } else { format!("{slots} slots") };
    let lb = places.lb;
    let program = program();
    let (access, header, key_file) = access(facts);
    let url = if lb.port() == 8000 && lb.ip().is_loopback() { String::new() } else { format!(" --url http://{lb}") };
    format!(
        "Longshore {version} is up.

  balancer   http://{lb}  (send requests here)
  console    http://{lb}/console
  gateways   {gateways}
  store      http://{store}  {database}
  cache      http://{cache}
  worker     http://{worker}  {slots}; tasks {shown}
  broker     {broker}
{access}
Try it:
  curl -i http://{lb}/longtask{header} -H 'content-type: application/json' -d '{{\"task\":\"report_1\"}}'
  curl http://{lb}/data{header}
  {program} submit report_2 --wait{url}{key_file}
  {program} jobs{url}{key_file}

Ctrl-C stops it; what runs then gets {drain} s to finish, and the rest goes on at the next start.
",
        version = env!("CARGO_PKG_VERSION"),
        store = places.store,
        cache = places.cache,
        worker = places.worker,
        drain = drain.as_secs(),
    )
}

/// What is said about keys, and what requests and commands need for them.
fn access(facts: &Facts) -> (String, String, String) {
    let Some(file) = facts.admin_key.as_ref().map(|file| file.display()) else {
        let asks = if facts.asks { "  access     every request needs a key or a token\n" } else { "" };
        return (asks.to_owned(), String::new(), String::new());
    };
    (
        format!("  access     every request needs a key; the first one is in {file}\n"),
        format!(" -H \"authorization: Bearer $(cat {file})\""),
        format!(" --api-key-file {file}"),
    )
}

/// How this program can be called from here: by its path below the present folder, as after `cargo run`, or by its name.
fn program() -> String {
    let here = std::fs::canonicalize(".").ok();
    let path = std::env::current_exe().ok();
    let below =
        path.zip(here).and_then(|(path, here)| path.strip_prefix(here).ok().map(|path| path.display().to_string()));
    below.unwrap_or_else(|| "longshore".to_owned())
}
