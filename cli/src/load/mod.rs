//! `longshore load`: offers a fixed rate of requests and tells the truth about what became of them.
//!
//! An open loop: each request is due at its own instant, which no answer moves, and its latency counts from that instant. What waits, is
//! refused, never answered or never sent is in the report.

pub(crate) mod arguments;
mod clocks;
mod drive;
mod jobs;
mod look_up;
mod mix;
mod numbers;
mod plan;
mod programs;
mod progress;
mod report;
mod requests;
mod schedule;
mod stages;
mod summary;
mod tally;
mod text;
mod verdict;

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;
use std::{fs, io};

use anyhow::Context;
use chassis::client::Http;
use chassis::config::{ExitWith, Source};
use chassis::program::raise_file_limit;
use chassis::shutdown::{Shutdown, Trigger};
use chassis::task::Tasks;
use futures_util::{StreamExt, TryStreamExt, stream};
use protocol::api::JobPage;
use protocol::time::Timestamp;
use tokio::time::Instant;

use crate::client::{Client, get};
use crate::output;
use arguments::Load;
use drive::drive;
use jobs::{Instants, Jobs};
use look_up::look_up;
use mix::Kind;
use plan::Plan;
use programs::Watched;
use progress::Progress;
use requests::Requests;
use summary::{Measured, Summary};

/// An accepted job is gone.
const LOST: u8 = 1;
const NOT_HELD: u8 = 3;
/// `EX_CANTCREAT`: the report cannot be written.
const CANNOT_WRITE: u8 = 73;
/// Stopped by a signal before anything was measured, as a shell would say it.
const INTERRUPTED: u8 = 130;
/// Values written at a time before the load.
const PREPARED_AT_A_TIME: usize = 8;

pub(crate) async fn run(arguments: Load, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?.keeping(arguments.max_in_flight.into());
    let plan = Plan::new(arguments, client.address())?;
    let requests = Requests::new(&plan).context("building the requests")?;
    if let Some(path) = &plan.report {
        // Said now, and not after an hour of load. What is there stays until then.
        fs::File::options().append(true).create(true).open(path).map_err(|error| unwritable(path, &error))?;
    }
    raise_file_limit();
    let tasks = Tasks::new();
    let shutdown = Trigger::from_signals(plan.drain, &tasks).context("listening for signals")?;
    tokio::select! {
        result = prepare(&plan, &requests, &client) => result?,
        () = shutdown.draining() => {
            return Err(ExitWith { status: INTERRUPTED, sentence: "stopped before the load began.".to_owned() }.into());
        }
    }
    let summary = measure(&plan, &requests, &client, &shutdown, &tasks).await?;
    tasks.stop();
    tell(&plan, &summary)?;
    Ok(match (summary.lost(), summary.is_held()) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => NOT_HELD.into(),
        _ => LOST.into(),
    })
}

/// Makes sure that it is Longshore that answers, and that there is something to read.
async fn prepare(plan: &Plan, requests: &Requests, client: &Client) -> anyhow::Result<()> {
    let answer = client.call(&get("/jobs?limit=1")).await?;
    client.read::<JobPage>(&answer.body)?;
    if plan.mix.touches_data() {
        let writes = stream::iter((0..plan.keys).map(|key| client.call(requests.call(Kind::Write, key))));
        writes.buffer_unordered(PREPARED_AT_A_TIME).try_for_each(|_| async { Ok(()) }).await?;
    }
    Ok(())
}

async fn measure(
    plan: &Plan,
    requests: &Requests,
    client: &Client,
    shutdown: &Shutdown,
    tasks: &Tasks,
) -> anyhow::Result<Summary> {
    let watching = Http::new();
    let watched = Watched::find(&watching, &plan.programs).await;
    let mut progress = Progress::new(plan, watched.clone());
    let (start, start_unix_ms) = (Instant::now(), unix_ms());
    watched.watch(watching.clone(), start, tasks);
    let driven = drive(plan, requests, client, start, &mut progress, shutdown).await?;
    watched.look(&watching, start).await;
    let processes = watched.with(|processes| processes.clone());
    let accepted = &driven.tally.accepted;
    let fates = look_up(client, accepted, plan.drain, shutdown, |open| progress.jobs(open)).await;
    progress.end();
    let instants = Instants { start_unix_ms, scheduled: driven.scheduled, looked: start.elapsed() };
    let jobs = plan.mix.makes_jobs().then(|| Jobs::new(accepted, &fates, instants));
    Ok(Summary::new(&Measured {
        plan,
        url: format!("http://{}", client.address()),
        started_at: Timestamp::from_unix_ms(chassis::clock::wall_ms() - jobs::whole_ms(start.elapsed())),
        driven: &driven,
        jobs: jobs.as_ref(),
        processes: &processes,
    }))
}

fn tell(plan: &Plan, summary: &Summary) -> anyhow::Result<()> {
    if plan.json {
        output::line(serde_json::to_string(summary).context("writing the report as JSON")?)?;
    } else {
        output::line(text::report(summary))?;
    }
    if let Some(path) = &plan.report {
        fs::write(path, report::page(summary)).map_err(|error| unwritable(path, &error))?;
        output::note(format!("The page is {}.", path.display()));
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> ExitWith {
    let sentence = format!("--report cannot be written to {}: {error}.", path.display());
    ExitWith { status: CANNOT_WRITE, sentence }
}

/// Our wall clock, in ms with a fraction.
fn unix_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}
