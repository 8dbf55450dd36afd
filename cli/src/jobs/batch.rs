//! `longshore batch`: many submits from a file, as few requests as there may be. Each job has an id before it is sent, so a request whose
//! answer was lost is sent again.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use chassis::client::{Answer, Call};
use chassis::config::{ExitWith, Source};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::api::{BATCH_ITEMS_MAX, BatchItem, Submit};
use protocol::ids::JobId;
use protocol::problem::Problem;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::arguments::Batch;
use crate::client::input::bad;
use crate::client::{Client, REFUSED, UNAVAILABLE, fault};
use crate::{output, submit, watch};

const PATH: &str = "/jobs:batch";
/// Of one request; the gateway takes 1 MiB.
const REQUEST_BYTES_MAX: usize = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(20);

/// The answer, with each item as it came.
#[derive(Debug, Deserialize)]
struct Answered {
    items: Vec<Box<RawValue>>,
}

pub(crate) async fn run(arguments: &Batch, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let jobs = jobs(&text(&arguments.file)?)?;
    let count = jobs.len();
    let bar = bar(count);
    let (mut sent, mut refused) = (0, 0);
    for request in requests(jobs) {
        let answer = match send(&client, &request.body, sent > 0).await {
            Ok(answer) => answer,
            Err(error) => {
                bar.finish_and_clear();
                return Err(stopped(error, sent, count).into());
            }
        };
        let Answered { items } = client.read(&answer.body)?;
        anyhow::ensure!(items.len() == request.count, "{} jobs were sent and {} answered", request.count, items.len());
        for item in &items {
            sent += 1;
            refused += usize::from(!bar.suspend(|| tell(&client, sent, item, arguments.json))?);
        }
        bar.inc(request.count as u64);
    }
    bar.finish_and_clear();
    if refused == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output::note(format!("longshore: {refused} of {count} jobs were refused."));
    Ok(REFUSED.into())
}

/// The error with how far it came.
fn stopped(error: ExitWith, sent: usize, count: usize) -> ExitWith {
    if sent == 0 {
        return error;
    }
    let place = format!("The jobs 1 to {sent} of {count} were answered, those from {} on were not.", sent + 1);
    ExitWith { status: error.status, sentence: format!("{error}\n{place}") }
}

/// Whether the job was accepted.
fn tell(client: &Client, number: usize, item: &RawValue, is_json: bool) -> anyhow::Result<bool> {
    let read: BatchItem = client.read(item.get().as_bytes())?;
    let is_accepted = matches!(read, BatchItem::Accepted { .. });
    match read {
        _ if is_json => output::line(item.get())?,
        BatchItem::Accepted { job, .. } => output::line(job.job_id.to_string())?,
        BatchItem::Refused { error, .. } => output::note(format!("job {number}: {}", sentence(&error))),
    }
    Ok(is_accepted)
}

fn sentence(problem: &Problem) -> String {
    match problem.errors.as_slice() {
        [] => problem.detail.to_string(),
        several => several.iter().map(fault).collect::<Vec<_>>().join("; "),
    }
}

fn text(path: &Path) -> Result<String, ExitWith> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().read_to_string(&mut text).map(drop),
        _ => std::fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| bad(format!("{} cannot be read: {error}.", path.display())))?;
    Ok(text)
}

/// A JSON array of jobs, or one job after the other.
fn jobs(text: &str) -> Result<Vec<Submit>, ExitWith> {
    let documents: Vec<Box<RawValue>> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| bad(format!("this is no JSON array of jobs: {error}.")))?
    } else {
        let jobs = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>();
        jobs.map_err(|error| bad(format!("this is not JSON, a job in each line: {error}.")))?
    };
    if documents.is_empty() {
        return Err(bad("there is no job in it: write one in each line, such as {\"task\":\"report_1\"}.".to_owned()));
    }
    let job = |(place, document): (usize, &RawValue)| {
        let job: Result<Submit, _> = serde_json::from_str(document.get());
        let mut job = job.map_err(|error| bad(format!("job {} is none: {error}; nothing was sent.", place + 1)))?;
        if job.job_id.is_none() && job.idempotency_key.is_none() {
            job.job_id = Some(JobId::generate());
        }
        Ok(job)
    };
    documents.iter().map(AsRef::as_ref).enumerate().map(job).collect()
}

/// One request, ready to be sent.
struct Request {
    body: String,
    count: usize,
}

/// As few as the bounds of the service allow. A job that is too large by itself is one of its own, for the service to refuse.
fn requests(jobs: Vec<Submit>) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for job in jobs {
        let job = serde_json::to_string(&job).expect("a submit has a form in JSON");
        match requests.last_mut() {
            Some(last) if last.count < BATCH_ITEMS_MAX && last.body.len() + job.len() < REQUEST_BYTES_MAX => {
                last.body.push(',');
                last.body.push_str(&job);
                last.count += 1;
            }
            _ => requests.push(Request { body: format!("[{job}"), count: 1 }),
        }
    }
    for request in &mut requests {
        request.body.push(']');
    }
    requests
}

/// A service that has answered before may be away for a while.
async fn send(client: &Client, body: &str, was_there: bool) -> Result<Answer<Bytes>, ExitWith> {
    let call = Call::new(http::Method::POST, PATH, true).json_bytes(body.to_owned()).within(DEADLINE);
    let begin = Instant::now();
    loop {
        let answer = submit::twice(client, &call).await.map_err(|error| client.absent(&error));
        let error = match answer.and_then(|answer| client.accepted(&call, answer)) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !was_there || error.status != UNAVAILABLE || begin.elapsed() > watch::PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(watch::RETRY_PAUSE).await;
    }
}

/// Shown on a terminal when there is something to wait for.
fn bar(count: usize) -> ProgressBar {
    if !Term::stderr().is_term() || count <= BATCH_ITEMS_MAX {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count as u64);
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} jobs, {per_sec}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_an_array_or_has_a_job_in_each_line() {
        let check = |text: &str, expected: Result<usize, &str>| match (jobs(text), expected) {
            (Ok(jobs), Ok(count)) => assert_eq!(jobs.len(), count, "{text}"),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (found, expected) => panic!("{text}: {found:?} is not {expected:?}"),
        };
        check("[{\"task\":\"a\"},{\"task\":\"b\"}]", Ok(2));
        check("{\"task\":\"a\"}\n{\"task\":\"b\"}\n", Ok(2));
        check("", Err("no job in it"));
        check("[]", Err("no job in it"));
        check("hello", Err("not JSON, a job in each line"));
        check("[{\"task\":\"a\"}", Err("no JSON array"));
        check("{\"task\":\"a\"}\n{\"task\":\"b\",\"colour\":1}", Err("job 2 is none: unknown field `colour`"));
        check("{\"task\":\"a b\"}", Err("job 1 is none"));
    }

    #[test]
    fn payloads_are_sent_as_they_are_and_every_job_has_a_name() {
        let jobs = jobs("{\"task\":\"a\",\"payload\":{\"n\": 1.0e2}}").expect("a job");
        assert!(jobs[0].job_id.is_some());
        assert!(requests(jobs)[0].body.contains("{\"n\": 1.0e2}"));
    }

    #[test]
    fn requests_keep_to_the_bounds_of_the_service() {
        let check = |count: usize, payload_bytes: usize, expected: &[usize]| {
            let line = format!("{{\"task\":\"a\",\"payload\":\"{}\"}}\n", "x".repeat(payload_bytes));
            let requests = requests(jobs(&line.repeat(count)).expect("jobs"));
            let counts: Vec<usize> = requests.iter().map(|request| request.count).collect();
            assert_eq!(counts, expected);
            assert!(requests.iter().all(|request| serde_json::from_str::<Vec<Submit>>(&request.body).is_ok()));
        };
        check(1, 0, &[1]);
        check(2_500, 0, &[1_000, 1_000, 500]);
        check(3, 400_000, &[2, 1]);
    }
}
