//! `longshore retry`, of one job or of many by filter, and `longshore retries`.

use std::process::ExitCode;

use chassis::config::Source;
use http::Method;
use protocol::bulk_retry::{BulkRetries, BulkRetry, BulkState, RetryMany, RetryPreview};

use crate::arguments::{Retries, Retry};
use crate::client::{Client, get, post, request};
use crate::output::listing::{self, Page};
use crate::{control, output};

const PATH: &str = "/jobs:retry";

pub(crate) async fn run(arguments: Retry, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let status = match (arguments.job_id, arguments.status) {
        (Some(job_id), _) => return control::retry(&client, job_id, arguments.json).await,
        (None, Some(status)) => status.into(),
        (None, None) => anyhow::bail!("neither a job nor --status was given"),
    };
    let asked = RetryMany {
        status,
        queue: arguments.queue,
        task: arguments.task,
        error_kind: arguments.error_kind.map(Into::into),
        after: arguments.after,
        before: arguments.before,
        dry_run: arguments.dry_run,
        rate_per_second: arguments.rate,
        limit: arguments.limit,
    };
    let answer = client.call(&post(PATH, &asked)?).await?;
    if arguments.json {
        output::json(&answer.body)?;
    } else if arguments.dry_run {
        let preview: RetryPreview = client.read(&answer.body)?;
        for job in &preview.sample {
            let error = job.error.as_ref().map_or("", |error| error.message.as_str());
            output::line(format!("{}  {}  {error}", job.job_id, job.task).trim_end())?;
        }
        output::note(counted(&preview));
    } else {
        let retry: BulkRetry = client.read(&answer.body)?;
        output::line(retry.retry_id.to_string())?;
        output::note(format!("They are retried at {} per second. See `longshore retries`.", retry.rate_per_second));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn list(arguments: &Retries, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    if let Some(retry_id) = arguments.stop {
        let answer = client.call(&request(Method::DELETE, format!("{PATH}/{retry_id}"))).await?;
        if arguments.shown.json {
            output::json(&answer.body)?;
        } else {
            output::line(line(&client.read(&answer.body)?))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let page = |body: &[u8], _| {
        let BulkRetries { retries } = client.read(body)?;
        let hint = "There are none: begin one with `longshore retry --status failed`, perhaps with --dry-run first.";
        let notes = if retries.is_empty() { vec![hint.to_owned()] } else { Vec::new() };
        Ok(Page { lines: retries.iter().map(line).collect(), notes })
    };
    listing::show(&client, &get(PATH), &arguments.shown, page).await
}

fn counted(preview: &RetryPreview) -> String {
    let at_least = if preview.exact { "" } else { "at least " };
    let shown = preview.sample.len();
    match preview.matching {
        1 => format!("{at_least}1 job would be retried."),
        jobs if jobs > shown as u64 => format!("{at_least}{jobs} jobs would be retried; these are the first {shown}."),
        jobs => format!("{at_least}{jobs} jobs would be retried."),
    }
}

fn line(retry: &BulkRetry) -> String {
    let state = match retry.state {
        BulkState::Running => "running",
        BulkState::Done => "done",
        BulkState::Stopped => "stopped",
    };
    let skipped = match retry.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped because another job has their unique key"),
    };
    format!("{}  {state}  {} retried{skipped}", retry.retry_id, retry.retried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dry_run_found_is_said() {
        let check = |matching: u64, exact: bool, expected: &str| {
            assert_eq!(counted(&RetryPreview { matching, exact, sample: Vec::new() }), expected);
        };
        check(0, true, "0 jobs would be retried.");
        check(1, true, "1 job would be retried.");
        check(7, true, "7 jobs would be retried; these are the first 0.");
        check(7, false, "at least 7 jobs would be retried; these are the first 0.");
    }
}
