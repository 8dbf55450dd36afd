//! `longshore backends`: the gateways as the balancer sees them, and what an operator may do about them.

use std::process::ExitCode;

use chassis::client::{Call, segment};
use chassis::config::{ExitWith, Source};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::arguments::{BackendAction, Backends};
use crate::client::{Client, get, request};
use crate::output;
use crate::output::listing::{self, Page};
use crate::output::table::{Kind, Table};

/// `EX_USAGE`.
const USAGE: u8 = 64;
const COLUMNS: [(&str, Kind); 9] = [
    ("BACKEND", Kind::Long),
    ("STATE", Kind::Text),
    ("WEIGHT", Kind::Number),
    ("IN FLIGHT", Kind::Number),
    ("WAITING", Kind::Number),
    ("REQUESTS", Kind::Number),
    ("ERRORS", Kind::Number),
    ("RETRIES", Kind::Number),
    ("MEAN MS", Kind::Number),
];

/// What is shown of the balancer's own view.
#[derive(Debug, Deserialize)]
pub(crate) struct View {
    pub(crate) pick: String,
    pub(crate) connections: u64,
    pub(crate) queued: u64,
    pub(crate) backends: Vec<Backend>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Backend {
    pub(crate) address: String,
    state: String,
    weight: u32,
    in_flight: u64,
    waiting: u64,
    requests: u64,
    retries: u64,
    failures: u64,
    errors: u64,
    mean_ms: f64,
}

#[derive(Debug, Serialize)]
struct Setting {
    weight: u32,
}

pub(crate) async fn run(arguments: &Backends, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::admin(arguments.admin.as_deref(), source)?.ok_or_else(nowhere)?;
    let Some(action) = &arguments.action else {
        let page = |body: &[u8], width: usize| {
            let view: View = client.read(body)?;
            Ok(Page { lines: table(&view).lines(width), notes: vec![summary(&view)] })
        };
        return listing::show(&client, &get("/backends"), &arguments.shown, page).await;
    };
    let (call, done) = match action {
        BackendAction::Set { address, weight } => {
            let call = Call::put(format!("/backends/{}", segment(&address.to_string())), &Setting { weight: *weight })?;
            (
                call,
                if *weight == 0 { format!("{address} is drained.") } else { format!("{address} has weight {weight}.") },
            )
        }
        BackendAction::Remove { address } => {
            let call = request(Method::DELETE, format!("/backends/{}", segment(&address.to_string())));
            (call, format!("{address} is removed."))
        }
        BackendAction::Reload => {
            (request(Method::POST, "/reload"), "The balancer has read its files again.".to_owned())
        }
    };
    client.call(&call).await?;
    output::line(done)?;
    Ok(ExitCode::SUCCESS)
}

fn nowhere() -> ExitWith {
    let sentence = "nobody knows where the balancer listens for operators: start it with LONGSHORE_ADMIN_LISTEN=127.0.0.1:8001, and \
                    say the same here, or --admin 127.0.0.1:8001."
        .to_owned();
    ExitWith { status: USAGE, sentence }
}

/// A row for each backend.
pub(crate) fn table(view: &View) -> Table<9> {
    Table::new(COLUMNS, view.backends.iter().map(row))
}

/// The balancer in a line.
pub(crate) fn summary(view: &View) -> String {
    let waiting = match view.queued {
        0 => String::new(),
        queued => format!(", {queued} requests wait for room"),
    };
    format!("picked {}; {} connections of clients{waiting}", view.pick, view.connections)
}

fn row(backend: &Backend) -> [String; 9] {
    [
        backend.address.clone(),
        backend.state.clone(),
        backend.weight.to_string(),
        backend.in_flight.to_string(),
        backend.waiting.to_string(),
        backend.requests.to_string(),
        (backend.failures + backend.errors).to_string(),
        backend.retries.to_string(),
        format!("{:.1}", backend.mean_ms),
    ]
}
