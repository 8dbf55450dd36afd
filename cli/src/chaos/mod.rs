//! `longshore chaos`: breaks a whole Longshore of its own in every way that it knows, while a client works with it, and then holds it to its
//! promises by what the client was told and what the handlers wrote down.

pub(crate) mod arguments;
mod data;
mod errands;
mod faults;
pub(crate) mod handler;
mod history;
mod nemesis;
mod plan;
mod progress;
mod reconcile;
mod report;
mod site;
mod traffic;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::config::ExitWith;
use chassis::program::raise_file_limit;
use chassis::usage::Usage;
use futures_util::future::{join3, join4};
use harness::{Http, unless_interrupted};
use protocol::api::JobPage;
use tokio::time::{Instant, sleep, timeout};

use crate::client::UNAVAILABLE;
use crate::output;
use arguments::Chaos;
use data::hot::{self, Hot};
use data::keys::Keys;
use data::trickle;
use faults::{ENDED, Member};
use history::{Event, Moment, Recorder, Shown};
use nemesis::Nemesis;
use plan::{Focus, Schedule, schedule};
use progress::Stage;
use reconcile::has_grown;
use report::{Report, Trial};
use site::Site;
use traffic::{BALANCER, Client, HANGS_AFTER, Numbers};

/// A promise was broken.
const BROKEN: u8 = 1;
/// As a shell would say it.
const INTERRUPTED: u8 = 130;
/// Jobs may take so much longer than they should, to tell late from never.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Where data is written and read.
const PLACES: [&str; 4] = [BALANCER, "gateway-0", "gateway-1", "gateway-2"];
/// In a line of its log.
const BECAME_SEQUENCER: &str = "predecessor";
/// Longer than any program keeps a connection that nobody uses.
const IDLE_CONNECTIONS: Duration = Duration::from_secs(20);
/// What a fault costs at most beyond the plan: its bound, and the patience after it.
const OVERRUN: Duration = Duration::from_secs(120);

pub(crate) async fn run(arguments: &Chaos) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let length = Duration::from_secs(arguments.seconds);
    raise_file_limit();
    let faketime = harness::wall_clock::faketime();
    let focus = if arguments.cache { Focus::Caches } else { Focus::Everything };
    let clocks_moved = faketime.is_some() && focus == Focus::Everything;
    let trial = Trial { seed, jobs: arguments.jobs, seconds: arguments.seconds, focus, clocks_moved };
    output::note(format!("seed {seed}"));
    let (stage, recorder) = (Stage::default(), Recorder::default());
    let held = {
        let hold = async {
            stage.set("starting a broker and all programs");
            let mut site = Site::build(focus, faketime.as_deref()).await?;
            let outcome = hold(&mut site, trial, length, &stage, &recorder).await;
            keep(arguments.keep.as_deref(), &mut site)?;
            outcome
        };
        let shown = async {
            tokio::select! {
                outcome = hold => outcome,
                () = progress::show(&stage, &recorder) => Ok(()),
            }
        };
        unless_interrupted(shown).await
    };
    let entries = recorder.into_entries();
    if let Some(path) = &arguments.history {
        history::write(path, &entries).with_context(|| format!("writing {}", path.display()))?;
    }
    held.map_err(|error| failed(&error))?;
    let report = Report::new(trial, &entries, reconcile::reconcile(&entries));
    if let Some(path) = &arguments.json {
        let json = serde_json::to_vec_pretty(&report).context("the report as JSON")?;
        fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    output::line(report.text())?;
    Ok(if report.held { ExitCode::SUCCESS } else { BROKEN.into() })
}

fn failed(error: &anyhow::Error) -> ExitWith {
    let words = error.to_string();
    let status = if matches!(words.as_str(), "interrupted" | "terminated") { INTERRUPTED } else { UNAVAILABLE };
    ExitWith { status, sentence: format!("the trial was not held to its end: {error:#}") }
}

async fn hold(site: &mut Site, trial: Trial, length: Duration, stage: &Stage, recorder: &Recorder) -> Result<()> {
    let Trial { seed, jobs, seconds, focus, .. } = trial;
    recorder.note(Event::Trial { seed, jobs, seconds, focus });
    let before = usage(site)?;
    note_usage(&before, Moment::Before, recorder);
    under_load(site, trial, length, stage, recorder).await?;
    stage.set("waiting for idle connections to be closed");
    let after = settled_usage(site, &before).await?;
    note_usage(&after, Moment::After, recorder);
    for entry in handler::read(&site.handlers_log).context("reading what the handlers wrote")? {
        recorder.note_at(entry.at_ms, entry.event);
    }
    panics(site, recorder)?;
    sequencers(site, recorder);
    Ok(())
}

/// Everything that is asked of the service. Its end closes the clients' connections.
async fn under_load(site: &mut Site, trial: Trial, length: Duration, stage: &Stage, recorder: &Recorder) -> Result<()> {
    let Trial { seed, jobs, focus, .. } = trial;
    let numbers = Numbers::from(jobs);
    let keys = if focus == Focus::Caches { hot::keys() } else { trickle::keys() };
    let voided = (focus == Focus::Caches).then_some(&keys);
    let at = |at: &'static str| {
        let http = Http::new(site.programs.cluster.address(at)?).with_deadline(HANGS_AFTER * 2);
        anyhow::Ok(Client { http, at, recorder, numbers: &numbers, seed, focus, keys: voided })
    };
    let [balancer, first, second, third] = PLACES.map(at);
    let places = [&balancer?, &first?, &second?, &third?];
    let schedule = schedule(seed, length, focus, trial.clocks_moved);
    let working = work(site, places[0], &keys, &schedule, trial, length, stage);
    match focus {
        Focus::Everything => until(working, trickle::work(&places, &keys)).await?,
        Focus::Caches => until(working, Hot::new(&keys, places.len()).work(&places)).await?,
    }
    stage.set("reading what the store has");
    list_all(places[0]).await
}

/// The work, and something beside it that has no end of its own.
async fn until(work: impl Future<Output = Result<()>>, beside: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        outcome = work => outcome,
        () = beside => Ok(()),
    }
}

/// The faults, and jobs all the while; then everything comes to its end.
async fn work(
    site: &mut Site,
    client: &Client<'_>,
    keys: &Keys,
    schedule: &Schedule,
    trial: Trial,
    length: Duration,
    stage: &Stage,
) -> Result<()> {
    let costs = schedule.alone.iter().map(|strike| strike.lasts + strike.fault.bound()).sum::<Duration>();
    let calms = (ENDED + PATIENCE) * u32::try_from(schedule.storms.len()).unwrap_or(u32::MAX);
    let limit = length + costs + calms + OVERRUN;
    let nemesis = Nemesis { client, stage };
    let is_over = Cell::new(false);
    let strikes = async {
        let struck = nemesis.strike(site, schedule).await;
        is_over.set(true);
        struck
    };
    let voids = async {
        if trial.focus == Focus::Caches {
            client.void_by_jobs(keys, &is_over).await;
        }
    };
    let all = join3(client.submit_all(trial.jobs, length), strikes, voids);
    let ((), struck, ()) = timeout(limit, all).await.with_context(|| format!("it took longer than {limit:?}"))?;
    struck?;
    client.recorder.note(Event::Healed);
    stage.set("healed: waiting for the last jobs");
    drain(client).await;
    Ok(())
}

/// Waits until no job is left that has not ended. What is left at the end of patience is found when all are listed.
async fn drain(client: &Client<'_>) {
    let give_up = Instant::now() + ENDED + PATIENCE;
    while Instant::now() < give_up {
        let (queued, running, scheduled, ()) = join4(
            is_none(client, "queued"),
            is_none(client, "running"),
            is_none(client, "scheduled"),
            sleep(LOOK_EVERY),
        )
        .await;
        if queued && running && scheduled {
            client.recorder.note(Event::Drained);
            return;
        }
    }
}

async fn is_none(client: &Client<'_>, status: &str) -> bool {
    page(client, &format!("limit=1&status={status}")).await.is_ok_and(|page| page.jobs.is_empty())
}

async fn page(client: &Client<'_>, query: &str) -> Result<JobPage> {
    let answer = client.http.get(&format!("/jobs?{query}")).await?;
    ensure!(answer.status == 200, "{answer}");
    Ok(serde_json::from_slice(&answer.body)?)
}

async fn list_all(client: &Client<'_>) -> Result<()> {
    let mut cursor = String::new();
    loop {
        let page = page(client, &format!("limit=500{cursor}")).await.context("listing all jobs")?;
        page.jobs.iter().for_each(|job| client.recorder.note(Event::Stored(Shown::from(job))));
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}

type Usages = BTreeMap<String, Usage>;

/// Of the programs that are there.
fn usage(site: &mut Site) -> Result<Usages> {
    let mut usages = Usages::new();
    for process in site.programs.cluster.processes("") {
        if process.ended()?.is_none() {
            usages.insert(process.name().to_owned(), process.usage()?);
        }
    }
    Ok(usages)
}

/// Read again until it is what it was, for as long as the programs may keep idle connections.
async fn settled_usage(site: &mut Site, before: &Usages) -> Result<Usages> {
    let give_up = Instant::now() + IDLE_CONNECTIONS;
    let figures = |usage: &Usage| (usage.open_files as u64, usage.threads);
    loop {
        let after = usage(site)?;
        let has_grown = |(program, now): (&String, &Usage)| {
            before.get(program).is_some_and(|before| has_grown(figures(before), figures(now)))
        };
        if !after.iter().any(has_grown) || Instant::now() > give_up {
            return Ok(after);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn note_usage(usages: &Usages, moment: Moment, recorder: &Recorder) {
    for (program, usage) in usages {
        let Usage { resident_bytes, threads, .. } = *usage;
        let (program, open_files) = (program.clone(), usage.open_files as u64);
        recorder.note(Event::Usage { program, moment, resident_bytes, open_files, threads });
    }
}

/// Panics in the logs, and programs that are not there any more.
fn panics(site: &mut Site, recorder: &Recorder) -> Result<()> {
    for process in site.programs.cluster.processes("") {
        if let Some(status) = process.ended()? {
            let line = format!("it had ended by itself: {status}");
            recorder.note(Event::Panicked { program: process.name().to_owned(), line });
        }
        let log = process.log();
        for line in log.lines().filter(|line| line.contains("panicked at")) {
            recorder.note(Event::Panicked { program: process.name().to_owned(), line: line.to_owned() });
        }
    }
    Ok(())
}

/// Who became sequencer of the caches, by the logs.
fn sequencers(site: &mut Site, recorder: &Recorder) {
    for process in site.programs.cluster.processes(Member::CacheSvc.name()) {
        for line in process.log().lines().filter(|line| line.contains(BECAME_SEQUENCER)) {
            recorder.note(Event::Sequencer { program: process.name().to_owned(), line: line.to_owned() });
        }
    }
}

/// Copies the files of the trial's folder.
fn keep(folder: Option<&Path>, site: &mut Site) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for entry in fs::read_dir(site.programs.cluster.folder())? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, folder.join(name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}
