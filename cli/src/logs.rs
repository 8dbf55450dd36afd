//! `longshore logs`: what the last attempts of a job wrote, each to where it had written it.

use std::io::{self, Write};
use std::process::ExitCode;

use chassis::config::Source;
use protocol::logs::{AttemptEnd, AttemptLog, JobLogs, LogTail};

use crate::arguments::JobAnswer;
use crate::client::{Client, get, job_path};
use crate::output;

pub(crate) async fn run(arguments: &JobAnswer, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call_job(arguments.job_id, &get(job_path(arguments.job_id, "/logs"))).await?;
    if arguments.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let logs: JobLogs = client.read(&answer.body)?;
    if logs.attempts.is_empty() {
        output::note("No attempt that has ended wrote anything.");
    }
    for log in &logs.attempts {
        output::note(title(log));
        copy(&log.output.stdout, &mut io::stdout().lock())?;
        // Nobody reads it: nothing is lost.
        copy(&log.output.stderr, &mut io::stderr().lock()).unwrap_or_default();
    }
    Ok(ExitCode::SUCCESS)
}

fn title(log: &AttemptLog) -> String {
    let ended = match log.ended {
        AttemptEnd::Succeeded => "succeeded",
        AttemptEnd::Failed => "failed",
        AttemptEnd::Released => "was given back",
    };
    format!("Attempt {} of run {} {ended} at {}:", log.attempt, log.run, log.ended_at)
}

/// The text as it was written, ended by a newline so that what follows stands apart.
fn copy(tail: &LogTail, to: &mut impl Write) -> io::Result<()> {
    let begin = if tail.truncated { "…" } else { "" };
    let end = if tail.text.is_empty() || tail.text.ends_with('\n') { "" } else { "\n" };
    write!(to, "{begin}{}{end}", tail.text)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_ends_its_line_and_shows_that_something_is_missing() {
        let check = |bytes: &[u8], is_cut: bool, expected: &str| {
            let mut written = Vec::new();
            copy(&LogTail::of(bytes, is_cut), &mut written).expect("memory");
            assert_eq!(String::from_utf8_lossy(&written), expected);
        };
        check(b"", false, "");
        check(b"one\n", false, "one\n");
        check(b"one", false, "one\n");
        check(b"rest\n", true, "…rest\n");
    }
}
