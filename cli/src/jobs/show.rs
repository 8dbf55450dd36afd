//! `longshore show`, `result` and `payload`: one job as it is, at each change if wanted, what it resulted in, what it was submitted with.

use std::process::ExitCode;

use chassis::client::Events;
use chassis::clock;
use chassis::config::Source;
use console::truncate_str;
use http::HeaderValue;
use protocol::api::{ErrorKind, JobView, Priority, Status};
use protocol::time::Timestamp;
use tokio::time::Instant;

use crate::arguments::{OneJob, Show};
use crate::client::{Client, UNAVAILABLE, get, job_path};
use crate::output::{self, Screen};
use crate::{durations, watch};

/// Names stand in a column as wide as the longest.
const NAME_WIDTH: usize = 14;

pub(crate) async fn run(arguments: &Show, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    if arguments.watch {
        return follow(&client, arguments).await;
    }
    let answer = client.call_job(arguments.job_id, &get(job_path(arguments.job_id, ""))).await?;
    if arguments.json {
        output::json(&answer.body)?;
    } else {
        output::lines(lines(&client.read(&answer.body)?, clock::wall_ms(), output::width()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON as it was given: by the task, or by whoever submitted the job.
pub(crate) async fn part(arguments: &OneJob, part: &str, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call_job(arguments.job_id, &get(job_path(arguments.job_id, part))).await?;
    output::json(&answer.body)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows each change as it happens, until the job has ended.
async fn follow(client: &Client, arguments: &Show) -> anyhow::Result<ExitCode> {
    let screen = Screen::new();
    let mut last_id: Option<String> = None;
    let mut last_seen: Option<Instant> = None;
    loop {
        let mut call = get(job_path(arguments.job_id, "/events"));
        if let Some(value) = last_id.as_ref().and_then(|id| HeaderValue::try_from(id).ok()) {
            call = call.header("last-event-id", value);
        }
        let may_wait = last_seen.is_some_and(|at: Instant| at.elapsed() < watch::PATIENCE);
        match client.open_job(arguments.job_id, &call).await {
            Ok(pieces) => {
                let mut events = Events::of(pieces);
                // A stream that breaks is opened again where it was.
                while let Ok(Some(event)) = events.next().await {
                    let job: JobView = client.read(event.data.as_bytes())?;
                    draw(&screen, arguments.json, &event.data, &job)?;
                    (last_id, last_seen) = (Some(event.id), Some(Instant::now()));
                    if job.status.is_terminal() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            Err(error) if may_wait && error.status == UNAVAILABLE => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(watch::RETRY_PAUSE).await;
    }
}

fn draw(screen: &Screen, is_json: bool, data: &str, job: &JobView) -> std::io::Result<()> {
    if is_json {
        return output::line(data);
    }
    screen.draw("At each change, until it has ended", &lines(job, clock::wall_ms(), output::width()), &[])
}

/// What there is to say about a job, a name and its value in each line.
fn lines(job: &JobView, now_ms: i64, width: usize) -> Vec<String> {
    let at = |time: Option<Timestamp>| time.map(|time| instant(time, now_ms));
    let attempt = match job.crashes {
        0 => format!("{} of {} in run {}", job.attempt, job.max_attempts, job.run),
        crashes => format!("{} of {} in run {}, crashed {crashes} times", job.attempt, job.max_attempts, job.run),
    };
    let for_ms = |ms: Option<u64>| ms.map(durations::show_ms);
    let fraction = job.progress.as_ref().and_then(|progress| progress.fraction);
    let state = (!job.status.is_terminal() && job.status != Status::Running).then(|| watch::state(job, now_ms));
    let values = [
        ("job", Some(job.job_id.to_string())),
        ("task", Some(job.task.clone())),
        ("queue", Some(format!("{}{}", job.queue, priority(job.priority)))),
        ("status", Some(output::status(job.status))),
        ("state", state),
        ("progress", fraction.map(|fraction| format!("{:.0} %", fraction * 100.0))),
        ("message", job.progress.as_ref().and_then(|progress| progress.message.clone())),
        ("attempt", Some(attempt)),
        ("error", job.error.as_ref().map(|error| format!("{}: {}", kind(error.kind), error.message))),
        ("result", job.result.as_ref().map(|result| result.get().to_owned())),
        ("invalidates", (!job.invalidates.is_empty()).then(|| job.invalidates.join(", "))),
        ("unique key", job.unique_key.clone()),
        ("trace", job.trace_id.clone()),
        ("timeout", for_ms(job.timeout_ms)),
        ("start deadline", for_ms(job.start_deadline_ms)),
        ("created", Some(instant(job.created_at, now_ms))),
        ("due", at(job.run_at)),
        ("start by", at(job.start_by)),
        ("started", at(job.started_at)),
        ("cancel asked", at(job.cancel_requested_at)),
        ("finished", at(job.finished_at)),
    ];
    let given = values.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    // A message may have lines; a value has one.
    let line = |(name, value): (&str, String)| {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        truncate_str(&format!("{name:NAME_WIDTH$}  {value}"), width, "…").into_owned()
    };
    given.map(line).collect()
}

fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::High => ", priority high",
        Priority::Normal => "",
        Priority::Low => ", priority low",
    }
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Failed => "failed",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Panic => "panic",
        ErrorKind::Crashed => "crashed",
        ErrorKind::Deadline => "deadline",
    }
}

/// `2026-01-31T12:00:00.000Z, 12 s ago`
fn instant(time: Timestamp, now_ms: i64) -> String {
    let ms = now_ms.saturating_sub(time.unix_ms());
    let distance = durations::show_ms(ms.unsigned_abs());
    if ms < 0 { format!("{time}, in {distance}") } else { format!("{time}, {distance} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"{"job_id":"01890000-0000-7000-8000-000000000001","task":"a","queue":"default","priority":"high",
        "status":"failed","run":1,"attempt":2,"max_attempts":5,"crashes":1,"error":{"kind":"timeout","message":"too\nlong"},
        "created_at":"1970-01-01T00:00:00.000Z","links":{"self":"","result":"","cancel":""}}"#;

    #[test]
    fn a_job_is_told_in_lines_that_fit() {
        let job: JobView = serde_json::from_str(JOB).expect("a job");
        let expected = [
            "job             01890000-0000-7000-8000-000000000001",
            "task            a",
            "queue           default, priority high",
            "status          failed",
            "attempt         2 of 5 in run 1, crashed 1 times",
            "error           timeout: too long",
            "created         1970-01-01T00:00:00.000Z, 60 s ago",
        ];
        assert_eq!(lines(&job, 60_000, usize::MAX), expected);
        assert!(lines(&job, 60_000, 30).iter().all(|line| console::measure_text_width(line) <= 30));
    }
}
