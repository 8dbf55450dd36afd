//! The program that a job of the trial runs: it writes down when it starts, that it lives, and when it ends, so that nobody has to be asked who
//! owned a job when. Started by the workers, never by people.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chassis::clock::now_ms;
use chassis::config::Source;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use super::history::{Entry, Event, Sign};
use crate::output;

/// A handler that is killed was alive this long before its end at least.
const SIGN_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct Handler {
    /// Where to write it down
    pub(crate) log: PathBuf,
}

/// The payload of its jobs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) ms: u64,
}

/// The result of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) fence: u64,
}

pub(crate) async fn run(arguments: &Handler, source: &Source) -> anyhow::Result<ExitCode> {
    let given = |name: &str| source.get(name).with_context(|| format!("{name} is set by the worker"));
    let job_id = given("LONGSHORE_JOB_ID")?;
    let (run, fence) = (given("LONGSHORE_RUN")?.parse()?, given("LONGSHORE_FENCE")?.parse()?);
    // Each line by one write to the end of the file, so that lines of many processes never mix.
    let mut log = File::options().append(true).create(true).open(&arguments.log)?;
    let mut sign = |sign| {
        let event = Event::Handler { job_id: job_id.to_owned(), run, fence, sign };
        let line = serde_json::to_string(&Entry { at_ms: now_ms(), event })?;
        log.write_all(format!("{line}\n").as_bytes())?;
        anyhow::Ok(())
    };
    sign(Sign::Starts)?;
    let payload: Payload = serde_json::from_reader(io::stdin().lock()).context("the payload")?;
    let end = Instant::now() + Duration::from_millis(payload.ms);
    while Instant::now() + SIGN_EVERY < end {
        sleep(SIGN_EVERY).await;
        sign(Sign::Lives)?;
    }
    sleep_until(end).await;
    sign(Sign::Ends)?;
    output::line(serde_json::to_string(&Outcome { fence })?)?;
    Ok(ExitCode::SUCCESS)
}

/// What the handlers wrote down. A line that a kill cut short counts as not written.
///
/// # Errors
/// When the file cannot be read. None at all: no handler ran.
pub(super) fn read(log: &Path) -> io::Result<Vec<Entry>> {
    match std::fs::read_to_string(log) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
