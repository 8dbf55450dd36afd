//! `longshore cancel`, `retry` and `invalidate`: one request each, and what it did in a sentence.

use std::process::ExitCode;

use bytes::Bytes;
use chassis::client::Answer;
use chassis::config::Source;
use http::{Method, StatusCode};
use protocol::ids::JobId;
use protocol::key::DataKey;

use crate::arguments::{Invalidate, OneJob};
use crate::client::{Client, job_path, request, unless_unknown};
use crate::output;

pub(crate) async fn cancel(arguments: &OneJob, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let job_id = arguments.job_id;
    let answer = change(&client, job_id, "/cancel").await?;
    output::line(if answer.status == StatusCode::OK {
        format!("The job {job_id} is cancelled.")
    } else {
        format!("The job {job_id} is running; its worker is told to stop. See `longshore watch {job_id}`.")
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn retry(client: &Client, job_id: JobId) -> anyhow::Result<ExitCode> {
    change(client, job_id, "/retry").await?;
    output::line(format!("The job {job_id} is queued again. See `longshore watch {job_id}`."))?;
    Ok(ExitCode::SUCCESS)
}

async fn change(client: &Client, job_id: JobId, what: &str) -> anyhow::Result<Answer<Bytes>> {
    let call = request(Method::POST, job_path(job_id, what));
    let answer = client.send(&call).await.map_err(|error| client.absent(&error))?;
    if let Some(unknown) = unless_unknown(job_id, answer.status) {
        return Err(unknown.into());
    }
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return Err(client.refusal(&answer).into());
    }
    Ok(answer)
}

/// Done when every gateway has acknowledged it, or can no longer serve an older value.
pub(crate) async fn invalidate(arguments: &Invalidate, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    for key in &arguments.keys {
        client.call(&request(Method::DELETE, format!("/cache/{}", segment(key)))).await?;
        output::line(format!("Nobody reads an older value of {key} any more."))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A key as one segment of a path (RFC 3986 §3.3).
fn segment(key: &DataKey) -> String {
    let mut segment = String::with_capacity(key.as_str().len());
    for byte in key.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment_of_a_path() {
        let check = |key: &str, expected: &str| assert_eq!(segment(&DataKey::try_from(key).expect("a key")), expected);
        check("my_data", "my_data");
        check("a/b c?d#e", "a%2Fb%20c%3Fd%23e");
        check("ü%", "%C3%BC%25");
    }
}
