//! `longshore submit`: the payload from wherever it is, the job under an id of our own, so that asking twice is asking once.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chassis::client::{Call, Error};
use chassis::config::{ExitWith, Source};
use http::{HeaderValue, Method};
use protocol::api::{self, Accepted};
use protocol::ids::JobId;
use serde_json::value::RawValue;

use crate::arguments::Submit;
use crate::client::Client;
use crate::{output, watch};

/// Longer than the gateway's own, so that it is the one that answers.
const DEADLINE: Duration = Duration::from_secs(20);
/// `EX_DATAERR`: the payload is not what was promised.
const BAD_PAYLOAD: u8 = 65;

pub(crate) async fn run(arguments: Submit, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let payload = arguments.payload.as_deref().map(read_payload).transpose()?;
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
    let accepted = submit(&client, &body, arguments.idempotency_key.as_deref()).await?;
    if arguments.wait {
        return watch::until_ended(&client, accepted.job_id).await;
    }
    output::line(accepted.job_id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Submits the job. A connection that breaks before the answer leaves open what happened, so the same is asked once more: both the id
/// and the key name one job.
async fn submit(client: &Client, body: &api::Submit, key: Option<&str>) -> anyhow::Result<Accepted> {
    let call = call(body, key)?;
    let answer = match client.send(&call).await {
        Err(Error::Broken { .. }) => client.send(&call).await,
        other => other,
    };
    let answer = answer.map_err(|error| client.absent(&error))?;
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return Err(client.refusal(&answer).into());
    }
    Ok(serde_json::from_slice(&answer.body).map_err(|error| client.misunderstood(&error))?)
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

/// JSON as it is, `@FILE`, or `-`.
pub(crate) fn read_payload(argument: &str) -> Result<Box<RawValue>, ExitWith> {
    let (text, place) = match (argument, argument.strip_prefix('@')) {
        ("-", _) => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            (read.map(|_| text), "standard input".to_owned())
        }
        (_, Some(path)) => (std::fs::read_to_string(path), path.to_owned()),
        _ => (Ok(argument.to_owned()), "--payload".to_owned()),
    };
    let bad = |sentence| ExitWith { status: BAD_PAYLOAD, sentence };
    let text = text.map_err(|error| bad(format!("the payload cannot be read from {place}: {error}.")))?;
    RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        let hint = "an object is '{\"n\": 1}', a text '\"text\"', a file @path, standard input -";
        bad(format!("{place} is not JSON ({error}): {hint}."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_from_wherever_it_is() {
        let check = |argument: &str, expected: Result<&str, &str>| match (read_payload(argument), expected) {
            (Ok(payload), Ok(json)) => assert_eq!(payload.get(), json),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (found, expected) => panic!("{argument}: {found:?} is not {expected:?}"),
        };
        check("{\"n\": 1}", Ok("{\"n\": 1}"));
        check(" 7\n", Ok("7"));
        check("hello", Err("--payload is not JSON"));
        check("{} {}", Err("is not JSON"));
        check("@/nowhere.json", Err("cannot be read from /nowhere.json"));
    }
}
