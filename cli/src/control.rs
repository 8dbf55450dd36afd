//! `longshore cancel`, `retry` and `purge`: one request each, and what it did in a sentence.

use std::process::ExitCode;

use bytes::Bytes;
use chassis::client::Answer;
use chassis::config::{ExitWith, Source};
use http::{Method, StatusCode};
use protocol::ids::JobId;

use crate::arguments::{JobAnswer, OneJob};
use crate::client::{Client, job_path, request};
use crate::output;

pub(crate) async fn cancel(arguments: &JobAnswer, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let job_id = arguments.job_id;
    let answer = change(&client, job_id, "/cancel").await?;
    if arguments.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(if answer.status == StatusCode::OK {
        format!("The job {job_id} is cancelled.")
    } else {
        format!("The job {job_id} is running; its worker is told to stop. See `longshore watch {job_id}`.")
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn retry(client: &Client, job_id: JobId, is_json: bool) -> anyhow::Result<ExitCode> {
    let answer = change(client, job_id, "/retry").await?;
    if is_json {
        output::json(&answer.body)?;
    } else {
        output::line(format!("The job {job_id} is queued again. See `longshore watch {job_id}`."))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer has no body.
pub(crate) async fn purge(arguments: &OneJob, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let job_id = arguments.job_id;
    client.call_job(job_id, &request(Method::DELETE, job_path(job_id, ""))).await?;
    output::line(format!("The job {job_id} is dropped, with its payload, result and logs."))?;
    Ok(ExitCode::SUCCESS)
}

async fn change(client: &Client, job_id: JobId, what: &str) -> Result<Answer<Bytes>, ExitWith> {
    client.call_job(job_id, &request(Method::POST, job_path(job_id, what))).await
}
