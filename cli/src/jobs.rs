//! `longshore jobs`: a table that fits the terminal, or the page as it came.

pub(crate) mod batch;
pub(crate) mod show;

use std::process::ExitCode;

use chassis::clock;
use chassis::config::Source;
use protocol::api::{DEFAULT_QUEUE, JobPage, JobView, Status};

use crate::arguments::Jobs;
use crate::client::{Client, get};
use crate::output::listing::{self, Page};
use crate::output::table::{Kind, Table};
use crate::{durations, output, watch};

const COLUMNS: [(&str, Kind); 6] = [
    ("JOB", Kind::Text),
    ("TASK", Kind::Long),
    ("QUEUE", Kind::Long),
    ("STATUS", Kind::Text),
    ("AGE", Kind::Text),
    ("", Kind::Long),
];
const QUEUE: usize = 2;

pub(crate) async fn run(arguments: &Jobs, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let is_filtered = arguments.status.is_some() || arguments.queue.is_some() || arguments.task.is_some();
    let page = |body: &[u8], width: usize| Ok(page(&client.read(body)?, is_filtered, width));
    listing::show(&client, &get(path(arguments)), &arguments.shown, page).await
}

fn page(page: &JobPage, is_filtered: bool, width: usize) -> Page {
    if page.jobs.is_empty() {
        let hint = "There are no jobs yet: submit one with `longshore submit report_1`.";
        let note = if is_filtered { "No job is like that." } else { hint };
        return Page { lines: Vec::new(), notes: vec![note.to_owned()] };
    }
    let now_ms = clock::wall_ms();
    // That all are in the default queue goes without saying.
    let table = Table::new(COLUMNS, page.jobs.iter().map(|job| row(job, now_ms))).without(QUEUE, DEFAULT_QUEUE);
    let more = page.next_cursor.as_ref().map(|cursor| format!("There are more: --cursor {cursor}"));
    Page { lines: table.lines(width), notes: more.into_iter().collect() }
}

fn path(arguments: &Jobs) -> String {
    let status = arguments.status.map(|status| output::status_name(status.into()).to_owned());
    let filters = [
        ("status", status),
        ("queue", arguments.queue.as_ref().map(ToString::to_string)),
        ("task", arguments.task.as_ref().map(ToString::to_string)),
        ("cursor", arguments.cursor.clone()),
        ("limit", Some(arguments.limit.to_string())),
    ];
    let given = filters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    format!("/jobs?{query}")
}

fn row(job: &JobView, now_ms: i64) -> [String; 6] {
    let age = durations::show_ms(durations::between_ms(job.created_at, now_ms));
    let remark = match job.status {
        Status::Succeeded | Status::Cancelled => String::new(),
        Status::Failed => job.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
        Status::Running => running(job),
        Status::Scheduled | Status::Queued => watch::state(job, now_ms),
    };
    // A message may have lines; a row has one.
    let remark = remark.split_whitespace().collect::<Vec<_>>().join(" ");
    [job.job_id.to_string(), job.task.clone(), job.queue.clone(), output::status(job.status), age, remark]
}

/// What a running job has told.
pub(crate) fn running(job: &JobView) -> String {
    let attempt =
        if job.attempt > 1 { format!("attempt {} of {}", job.attempt, job.max_attempts) } else { String::new() };
    let progress = job.progress.as_ref().map(|progress| {
        let percent = progress.fraction.map(|fraction| format!("{:.0} %", fraction * 100.0));
        [percent, progress.message.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    [Some(attempt), progress].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}
