//! `longshore jobs`: a table that fits the terminal, or the page as it came.

use std::process::ExitCode;

use chassis::clock;
use chassis::config::Source;
use console::{Term, measure_text_width, truncate_str};
use protocol::api::{DEFAULT_QUEUE, JobPage, JobView, Status};

use crate::arguments::Jobs;
use crate::client::{Client, get};
use crate::{durations, output, watch};

const HEAD: [&str; 6] = ["JOB", "TASK", "QUEUE", "STATUS", "AGE", ""];
const TASK: usize = 1;
const QUEUE: usize = 2;
const REMARK: usize = 5;
/// Columns are two blanks apart.
const GAP: usize = 2;

pub(crate) async fn run(arguments: &Jobs, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call(&get(path(arguments))).await?;
    if arguments.json {
        output::line(String::from_utf8_lossy(&answer.body).trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let page: JobPage = serde_json::from_slice(&answer.body).map_err(|error| client.misunderstood(&error))?;
    if page.jobs.is_empty() {
        let filtered = arguments.status.is_some() || arguments.queue.is_some() || arguments.task.is_some();
        let hint = "There are no jobs yet: submit one with `longshore submit report_1`.";
        output::note(if filtered { "No job is like that." } else { hint });
        return Ok(ExitCode::SUCCESS);
    }
    let term = Term::stdout();
    let width = if term.is_term() { usize::from(term.size().1) } else { usize::MAX };
    let rows: Vec<[String; 6]> = page.jobs.iter().map(|job| row(job, clock::wall_ms())).collect();
    for line in table(&rows, width) {
        output::line(line)?;
    }
    if let Some(cursor) = page.next_cursor {
        output::note(format!("There are more: --cursor {cursor}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn path(arguments: &Jobs) -> String {
    let status = arguments.status.map(|status| text_of(status.into()));
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

/// A status as it is on the wire.
fn text_of(status: Status) -> String {
    serde_json::to_value(status).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
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
    [job.job_id.to_string(), job.task.clone(), job.queue.clone(), text_of(job.status), age, remark]
}

fn running(job: &JobView) -> String {
    let attempt =
        if job.attempt > 1 { format!("attempt {} of {}", job.attempt, job.max_attempts) } else { String::new() };
    let progress = job.progress.as_ref().map(|progress| {
        let percent = progress.fraction.map(|fraction| format!("{:.0} %", fraction * 100.0));
        [percent, progress.message.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    [Some(attempt), progress].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Lines of at most `width` columns: the last column is cut first, then the task. That all are in the default queue goes without saying.
fn table(rows: &[[String; 6]], width: usize) -> Vec<String> {
    let head = HEAD.map(str::to_owned);
    let mut widths = [0; 6];
    for row in rows.iter().chain([&head]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    if rows.iter().all(|row| row[QUEUE] == DEFAULT_QUEUE) {
        widths[QUEUE] = 0;
    }
    let others = (0..6).filter(|column| ![TASK, REMARK].contains(column)).map(|column| widths[column]);
    let fixed: usize = others.filter(|width| *width > 0).map(|width| width + GAP).sum();
    let left = width.saturating_sub(fixed + GAP);
    widths[TASK] = widths[TASK].min(left.max(8));
    widths[REMARK] = widths[REMARK].min(left.saturating_sub(widths[TASK]));
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths)).collect()
}

fn line(row: &[String; 6], widths: &[usize; 6]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
        let cell = truncate_str(cell, *width, "…");
        let padding = width.saturating_sub(measure_text_width(&cell)) + GAP;
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<[String; 6]> {
        let row = |task: &str, queue: &str, remark: &str| {
            ["01890000-0000-7000-8000-000000000001", task, queue, "queued", "12 s", remark].map(str::to_owned)
        };
        vec![
            row("report_1", "default", "waiting for a worker that knows its task"),
            row("a_task_with_a_rather_long_name", "reports", ""),
        ]
    }

    #[test]
    fn a_table_fits_its_terminal() {
        for width in [80, 100, 120, 200] {
            let lines = table(&rows(), width);
            let widest = lines.iter().map(|line| measure_text_width(line)).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}: {lines:#?}");
        }
        let wide = table(&rows(), usize::MAX);
        assert!(wide[1].ends_with("waiting for a worker that knows its task"), "{wide:#?}");
        assert!(wide[2].contains("a_task_with_a_rather_long_name"), "{wide:#?}");
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let lines = table(&rows(), 120);
        let at = |line: &str, text: &str| line.find(text);
        assert_eq!(at(&lines[0], "STATUS"), at(&lines[1], "queued"));
        assert_eq!(at(&lines[0], "QUEUE"), at(&lines[1], "default"));
        let default_only = table(&rows()[..1], 120);
        assert!(
            !default_only.iter().any(|line| line.contains("QUEUE") || line.contains("default")),
            "{default_only:#?}"
        );
    }
}
