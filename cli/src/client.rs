//! The service as its command-line client calls it; what goes wrong becomes a sentence that says what to do next.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use chassis::client::{Answer, Call, Error, Http};
use chassis::config::{Address, ConfigError, ExitWith, Fault, Source, load};
use http::StatusCode;
use protocol::ids::JobId;
use protocol::problem::Problem;
use serde::Deserialize;

use crate::arguments::Service;

/// `EX_DATAERR` of sysexits.h: the service refused what it was asked.
const REFUSED: u8 = 65;
/// `EX_UNAVAILABLE`: the service, or a part of it, is not there.
pub(crate) const UNAVAILABLE: u8 = 69;

/// A call that is not given another deadline; longer than the service's own, so that its answer says what was slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The settings of the client commands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: Address,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: Http,
    address: Address,
}

impl Client {
    /// # Errors
    /// When the address is none.
    pub(crate) fn new(service: &Service, source: &Source) -> Result<Self, ConfigError> {
        let settings: Settings = load(include_str!("client.toml"), source)?;
        let address = match &service.url {
            Some(url) => url.parse().map_err(|accepted| Fault::value("--url", url, accepted))?,
            None => settings.url,
        };
        Ok(Self { http: Http::new(), address })
    }

    /// For many calls at a time: so many connections are kept.
    pub(crate) fn keeping(self, connections: usize) -> Self {
        Self { http: Http::keeping(connections), ..self }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a call; every status below 400 is an answer.
    ///
    /// # Errors
    /// A sentence for people and the exit status that goes with it.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer<Bytes>, ExitWith> {
        let answer = self.send(call).await.map_err(|error| self.absent(&error))?;
        if answer.status.is_client_error() || answer.status.is_server_error() {
            return Err(self.refusal(&answer));
        }
        Ok(answer)
    }

    /// Sends a call; every status is an answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer<Bytes>, Error> {
        self.http.send(&self.address, call).await
    }

    /// What to say when there is no answer.
    pub(crate) fn absent(&self, error: &Error) -> ExitWith {
        let url = format!("http://{}", self.address);
        let sentence = match error {
            Error::Unreachable { .. } => format!(
                "nothing answers at {url}: start Longshore with `longshore up`, or say where it is with --url or LONGSHORE_URL."
            ),
            Error::Timeout { deadline, .. } => {
                format!("{url} did not answer within {} s: look at its log, or try again.", deadline.as_secs())
            }
            Error::Broken { .. } => format!("{url} ended the connection before it answered: try again."),
            Error::Malformed { reason, .. } => {
                format!("{url} gave an answer that is not understood ({reason}): is it Longshore?")
            }
            Error::Problem { problem, .. } => describe(problem),
        };
        ExitWith { status: UNAVAILABLE, sentence }
    }

    /// What to say about an answer that is an error.
    pub(crate) fn refusal(&self, answer: &Answer<Bytes>) -> ExitWith {
        let status = if answer.status.is_server_error() { UNAVAILABLE } else { REFUSED };
        let sentence = match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => describe(&problem),
            Err(_) => format!(
                "http://{} answered {}, and not as Longshore does: is it Longshore?",
                self.address, answer.status
            ),
        };
        ExitWith { status, sentence }
    }

    /// The error of a body that is not what the call asks for.
    pub(crate) fn misunderstood(&self, error: &serde_json::Error) -> ExitWith {
        let address = self.address.clone();
        self.absent(&Error::Malformed { address, reason: error.to_string() })
    }
}

/// GET of a path.
pub(crate) fn get(path: impl Into<String>) -> Call {
    Call::get(path).within(DEADLINE)
}

/// Any method, without a body. It is sent once.
pub(crate) fn request(method: http::Method, path: impl Into<String>) -> Call {
    Call::new(method, path, false).within(DEADLINE)
}

/// POST of a body. It is sent once.
///
/// # Errors
/// When the body cannot be written as JSON.
pub(crate) fn post(path: &str, body: &impl serde::Serialize) -> anyhow::Result<Call> {
    Ok(Call::post(path, body).context("writing the request as JSON")?.within(DEADLINE))
}

/// The path of a job, or of something of it.
pub(crate) fn job_path(job_id: JobId, part: &str) -> String {
    format!("/jobs/{job_id}{part}")
}

/// The sentence of an id that nobody knows.
pub(crate) fn unless_unknown(job_id: JobId, status: StatusCode) -> Option<ExitWith> {
    let sentence = match status {
        StatusCode::NOT_FOUND => format!("there is no job {job_id}: list them with `longshore jobs`."),
        StatusCode::GONE => format!("the job {job_id} ended so long ago that it is no longer kept."),
        _ => return None,
    };
    Some(ExitWith { status: REFUSED, sentence })
}

/// A problem in one sentence; several faults in one line each.
fn describe(problem: &Problem) -> String {
    let fault = |error: &protocol::problem::FieldError| {
        let field = error.pointer.strip_prefix('/').unwrap_or(&error.pointer);
        format!("{field}: {}", error.detail)
    };
    match problem.errors.as_slice() {
        [] => format!("{} ({} {})", problem.detail, problem.status, problem.title),
        [only] => format!("refused: {}.", fault(only)),
        several => {
            let faults: Vec<String> = several.iter().map(|error| format!("\n  {}", fault(error))).collect();
            format!("refused:{}", faults.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::problem::{FieldError, Kind};

    use super::*;

    #[test]
    fn problems_become_sentences() {
        let check = |problem: Problem, expected: &str| assert_eq!(describe(&problem), expected);
        check(Kind::Conflict.detail("The job has ended."), "The job has ended. (409 Conflict)");
        check(Problem::invalid("/queue", "is unknown"), "refused: queue: is unknown.");
        let two = vec![FieldError::new("/a", "is wrong"), FieldError::new("/b/0", "is long")];
        check(Problem::invalid_fields(two), "refused:\n  a: is wrong\n  b/0: is long");
    }

    #[test]
    fn the_service_is_where_the_argument_says_else_the_variable() {
        let check = |url: Option<&str>, variable: Option<&str>, expected: Result<&str, &str>| {
            let source = Source::from_pairs(variable.map(|value| ("LONGSHORE_URL", value)));
            let found = Client::new(&Service { url: url.map(str::to_owned) }, &source);
            match (found, expected) {
                (Ok(client), Ok(address)) => assert_eq!(client.address.to_string(), address),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, expected) => panic!("{found:?} is not {expected:?}"),
            }
        };
        check(None, None, Ok("127.0.0.1:8000"));
        check(None, Some("http://b:2/"), Ok("b:2"));
        check(Some("a:1"), Some("http://b:2"), Ok("a:1"));
        check(Some("nowhere"), None, Err("--url is \"nowhere\", but must be host:port"));
        check(None, Some("nowhere"), Err("LONGSHORE_URL is \"nowhere\""));
    }
}
