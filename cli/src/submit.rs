//! `longshore submit`: the job under an id of our own, so that asking twice is asking once.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use chassis::client::{Answer, Call, Error};
use chassis::config::Source;
use http::{HeaderValue, Method};
use protocol::api::{self, Accepted};
use protocol::ids::JobId;

use crate::arguments::Submit;
use crate::client::{Client, input};
use crate::{output, watch};

/// Longer than the gateway's own, so that it is the one that answers.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn run(arguments: Submit, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let payload = arguments.payload.as_deref().map(|payload| input::json("--payload", payload)).transpose()?;
    let body = api::Submit {
        task: arguments.task,
        payload,
        queue: arguments.queue,
        priority: arguments.priority.into(),
        delay_ms: arguments.delay,
        run_at: arguments.run_at,
        max_attempts: arguments.max_attempts,
        timeout_ms: arguments.timeout,
        start_deadline_ms: arguments.start_deadline,
        invalidates: arguments.invalidates,
        unique_key: arguments.unique_key,
        job_id: None,
        idempotency_key: None,
    };
    let answer = submit(&client, &body, arguments.idempotency_key.as_deref()).await?;
    if arguments.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let accepted: Accepted = client.read(&answer.body)?;
    if arguments.wait {
        return watch::until_ended(&client, accepted.job_id).await;
    }
    output::line(accepted.job_id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Submits the job.
async fn submit(client: &Client, body: &api::Submit, key: Option<&str>) -> anyhow::Result<Answer<Bytes>> {
    let call = call(body, key)?;
    let answer = twice(client, &call).await.map_err(|error| client.absent(&error))?;
    Ok(client.accepted(&call, answer)?)
}

/// A connection that breaks before the answer leaves open what happened, so what may be asked twice is asked once more.
pub(crate) async fn twice(client: &Client, call: &Call) -> Result<Answer<Bytes>, Error> {
    match client.send(call).await {
        Err(Error::Broken { .. }) => client.send(call).await,
        other => other,
    }
}

fn call(body: &api::Submit, key: Option<&str>) -> anyhow::Result<Call> {
    let json = serde_json::to_vec(body).context("writing the job as JSON")?;
    let call = match key {
        None => Call::new(Method::PUT, format!("/jobs/{}", JobId::generate()), true),
        Some(key) => {
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            let value = HeaderValue::try_from(quoted).context("--idempotency-key must be printable ASCII")?;
            Call::new(Method::POST, "/longtask", true).header("idempotency-key", value)
        }
    };
    Ok(call.json_bytes(json).within(DEADLINE))
}
