//! `longshore inspect`: what each gateway would answer for a data key, and what the shared cache holds.

use std::process::ExitCode;

use chassis::client::segment;
use chassis::config::Source;
use protocol::inspection::{CacheDebug, NearHeld, NearView, SharedHeld};

use crate::arguments::Inspect;
use crate::client::{Client, get};
use crate::durations;
use crate::output::{
    self,
    table::{Kind, Table},
};

const COLUMNS: [(&str, Kind); 5] =
    [("WHERE", Kind::Long), ("LEASE", Kind::Text), ("VERSION", Kind::Number), ("AGE", Kind::Text), ("", Kind::Long)];

pub(crate) async fn run(arguments: &Inspect, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call(&get(format!("/cache/debug/{}", segment(arguments.key.as_str())))).await?;
    if arguments.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let debug: CacheDebug = client.read(&answer.body)?;
    output::lines(table(&debug).lines(output::width()))?;
    if debug.silent > 0 {
        output::note(format!("{} gateways hold a lease and did not answer within a second.", debug.silent));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(debug: &CacheDebug) -> Table<5> {
    let shared = debug.shared.as_ref().map(shared);
    let shared = shared.unwrap_or_else(|| ["shared cache", "", "", "", "holds nothing"].map(str::to_owned));
    Table::new(COLUMNS, std::iter::once(shared).chain(debug.gateways.iter().map(near)))
}

fn shared(held: &SharedHeld) -> [String; 5] {
    let remark = match (held.is_override, held.absent) {
        (true, _) => "an override, held until the next invalidation",
        (false, true) => "holds that the key is absent",
        (false, false) => "holds a value",
    };
    let tags = if held.tags.is_empty() { String::new() } else { format!(", tags {}", held.tags.join(" ")) };
    let version = held.version.map(|version| version.to_string()).unwrap_or_default();
    ["shared cache".to_owned(), String::new(), version, durations::show_ms(held.age_ms), format!("{remark}{tags}")]
}

fn near(view: &NearView) -> [String; 5] {
    let lease = if view.lease.valid { durations::show_ms(view.lease.remaining_ms) } else { "none".to_owned() };
    let version = view.held.as_ref().and_then(|held| held.version).map(|version| version.to_string());
    let age = view.held.as_ref().map(|held| durations::show_ms(held.age_ms));
    let remark = view.held.as_ref().map_or("holds nothing", |held| why(held, view.lease.valid));
    [view.gateway.clone(), lease, version.unwrap_or_default(), age.unwrap_or_default(), remark.to_owned()]
}

/// What it would do with what it holds.
fn why(held: &NearHeld, has_lease: bool) -> &'static str {
    match held {
        NearHeld { would_serve: true, absent: true, .. } => "would answer that the key is absent",
        NearHeld { would_serve: true, .. } => "would answer with it",
        NearHeld { current: false, .. } => "would load it anew: it was invalidated",
        NearHeld { expired: true, .. } => "would load it anew: it is too old",
        _ if !has_lease => "would ask the shared cache: it has no lease",
        _ => "would load it anew",
    }
}
