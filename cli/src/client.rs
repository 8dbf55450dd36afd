//! The service as its command-line client calls it; what goes wrong becomes a sentence that says what to do next.

pub(crate) mod input;

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use chassis::client::{Answer, Call, Error, Http, Pieces};
use chassis::config::{Address, ConfigError, ExitWith, Fault, Source, load, text_of};
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use protocol::ids::JobId;
use protocol::problem::{FieldError, Kind, Problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::arguments::Service;

/// `EX_DATAERR` of sysexits.h: the service refused what it was asked.
pub(crate) const REFUSED: u8 = 65;
/// `EX_UNAVAILABLE`: the service, or a part of it, is not there.
pub(crate) const UNAVAILABLE: u8 = 69;

/// A call that is not given another deadline; longer than the service's own, so that its answer says what was slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The settings of the client commands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: Address,
    admin_listen: String,
    api_key: String,
    api_key_file: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: Http,
    address: Address,
    /// `Bearer KEY`; it is not shown where this is.
    authorization: Option<HeaderValue>,
}

impl Client {
    /// # Errors
    /// When the address is none.
    pub(crate) fn new(service: &Service, source: &Source) -> Result<Self, ConfigError> {
        let settings: Settings = load(include_str!("client.toml"), source)?;
        let address = match &service.url {
            Some(url) => url.parse().map_err(|accepted| Fault::value("--url", url, accepted))?,
            None => settings.url.clone(),
        };
        let authorization = authorization(service, &settings)?;
        Ok(Self { authorization, ..Self::at(address) })
    }

    /// Of the balancer's port for operators; `None`: it has none, as far as is known.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn admin(argument: Option<&str>, source: &Source) -> Result<Option<Self>, ConfigError> {
        let settings: Settings = load(include_str!("client.toml"), source)?;
        let (name, text) = match argument {
            Some(text) => ("--admin", text),
            None => ("LONGSHORE_ADMIN_LISTEN", settings.admin_listen.as_str()),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse().map_err(|accepted| Fault::value(name, text, accepted))?;
        Ok(Some(Self::at(address)))
    }

    /// Of whatever answers there.
    pub(crate) fn at(address: Address) -> Self {
        Self { http: Http::new(), address, authorization: None }
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
        self.accepted(call, answer)
    }

    /// [`Client::call`] about a job, whose id may be one that nobody knows.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn call_job(&self, job_id: JobId, call: &Call) -> Result<Answer<Bytes>, ExitWith> {
        let answer = self.send(call).await.map_err(|error| self.absent(&error))?;
        match unless_unknown(job_id, &answer) {
            Some(unknown) => Err(unknown),
            None => self.accepted(call, answer),
        }
    }

    /// The answer, unless it is an error.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) fn accepted(&self, call: &Call, answer: Answer<Bytes>) -> Result<Answer<Bytes>, ExitWith> {
        if answer.status.is_client_error() || answer.status.is_server_error() {
            return Err(self.refusal(call, &answer));
        }
        Ok(answer)
    }

    /// The body of an answer as what the call asks for.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ExitWith> {
        serde_json::from_slice(body).map_err(|error| self.misunderstood(&error))
    }

    /// [`Client::call_job`] for an answer that goes on.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn open_job(&self, job_id: JobId, call: &Call) -> Result<Pieces, ExitWith> {
        let opened =
            self.http.open(&self.address, &self.authorized(call)).await.map_err(|error| self.absent(&error))?;
        if opened.status.is_success() {
            return Ok(opened.body);
        }
        let Answer { address, status, headers, body } = opened;
        let body = body.whole().await.map_err(|error| self.absent(&error))?;
        let answer = Answer { address, status, headers, body };
        Err(unless_unknown(job_id, &answer).unwrap_or_else(|| self.refusal(call, &answer)))
    }

    /// Sends a call; every status is an answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer<Bytes>, Error> {
        self.http.send(&self.address, &self.authorized(call)).await
    }

    fn authorized<'c>(&self, call: &'c Call) -> Cow<'c, Call> {
        match &self.authorization {
            Some(authorization) => Cow::Owned(call.clone().header(AUTHORIZATION, authorization.clone())),
            None => Cow::Borrowed(call),
        }
    }

    /// What to say when there is no answer.
    pub(crate) fn absent(&self, error: &Error) -> ExitWith {
        let url = format!("http://{}", self.address);
        let sentence = match error {
            Error::Unreachable { .. } => format!(
                "nothing answers at {url}: start Longshore with `longshore up`, or say where it is with --url or LONGSHORE_URL."
            ),
            Error::Timeout { deadline, .. } => {
                format!(
                    "{url} did not answer within {} s: look at its log, or try again; `longshore doctor` says what is missing.",
                    deadline.as_secs()
                )
            }
            Error::Broken { .. } => format!("{url} ended the connection before it answered: try again."),
            Error::Malformed { reason, .. } => {
                format!("{url} gave an answer that is not understood ({reason}): is it Longshore?")
            }
            Error::Problem { problem, .. } => describe("the call", problem),
        };
        ExitWith { status: UNAVAILABLE, sentence }
    }

    /// What to say about an answer that is an error: what was asked, what came back, and what to do next.
    pub(crate) fn refusal(&self, call: &Call, answer: &Answer<Bytes>) -> ExitWith {
        let status = if answer.status.is_server_error() { UNAVAILABLE } else { REFUSED };
        let (asked, address) = (call.asked(), &self.address);
        let sentence = match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => {
                let told = describe(&asked, &problem);
                let next = next_step(&problem, answer.text("retry-after"), answer.text("x-request-id"));
                format!("{told}{next}")
            }
            Err(_) => format!(
                "http://{address} answered {asked} with {}, and not as Longshore does: is it Longshore?",
                answer.status
            ),
        };
        ExitWith { status, sentence }
    }

    /// The error of a body that is not what the call asks for.
    fn misunderstood(&self, error: &serde_json::Error) -> ExitWith {
        let address = self.address.clone();
        self.absent(&Error::Malformed { address, reason: error.to_string() })
    }
}

/// The key, from whichever place it is said; an argument wins over variables.
fn authorization(service: &Service, settings: &Settings) -> Result<Option<HeaderValue>, ConfigError> {
    let said = match (&service.api_key_file, settings.api_key_file.as_str(), settings.api_key.as_str()) {
        (Some(file), ..) => text_of("--api-key-file", &file.display().to_string())?,
        (None, "", "") => return Ok(None),
        (None, "", key) => key.to_owned(),
        (None, file, "") => text_of("LONGSHORE_API_KEY_FILE", file)?,
        (None, ..) => {
            let sentence = "LONGSHORE_API_KEY and LONGSHORE_API_KEY_FILE are both set: leave one of them out.";
            return Err(Fault::sentence(sentence.to_owned()).into());
        }
    };
    let malformed = |_| Fault::sentence("the API key is not one word of printable characters.".to_owned());
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", said.trim())).map_err(malformed)?;
    authorization.set_sensitive(true);
    Ok(Some(authorization))
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

/// The sentence of an id that nobody knows. A job that has no result yet is no such id.
fn unless_unknown(job_id: JobId, answer: &Answer<Bytes>) -> Option<ExitWith> {
    let kind = serde_json::from_slice::<Problem>(&answer.body).ok().and_then(|problem| problem.kind());
    let sentence = match (answer.status, kind) {
        (StatusCode::NOT_FOUND, Some(Kind::NotFound)) => {
            format!("there is no job {job_id}: list them with `longshore jobs`.")
        }
        (StatusCode::GONE, _) => {
            format!("the job {job_id} ended so long ago that it is no longer kept, or was purged.")
        }
        _ => return None,
    };
    Some(ExitWith { status: REFUSED, sentence })
}

/// A problem in one sentence; several faults in one line each.
fn describe(asked: &str, problem: &Problem) -> String {
    let outcome = if problem.status >= 500 { "failed" } else { "was refused" };
    let head = format!("{asked} {outcome} ({} {})", problem.status, problem.title);
    match problem.errors.as_slice() {
        [] => format!("{head}: {}", problem.detail),
        several => {
            let faults: Vec<String> = several.iter().map(|error| format!("\n  {}", fault(error))).collect();
            format!("{head}:{}", faults.concat())
        }
    }
}

/// What is wrong with one field.
pub(crate) fn fault(error: &FieldError) -> String {
    let field = error.pointer.strip_prefix('/').unwrap_or(&error.pointer);
    let separator = if field.is_empty() { "" } else { ": " };
    format!("{field}{separator}{}", error.detail)
}

/// What to do about a problem, as a further sentence.
fn next_step(problem: &Problem, retry_after: Option<&str>, request_id: Option<&str>) -> String {
    let holder = problem.extensions.get("job_id").and_then(|id| id.as_str());
    match (problem.kind(), problem.status, holder) {
        (Some(Kind::UniqueConflict), _, Some(holder)) => format!(" See `longshore watch {holder}`."),
        (Some(Kind::NotFinished), ..) => " See `longshore watch`.".to_owned(),
        (Some(Kind::NoResult), ..) => " See `longshore show`.".to_owned(),
        (Some(Kind::PreconditionFailed), ..) => " Read it again with `longshore data get`.".to_owned(),
        (Some(Kind::Unauthenticated), ..) => {
            " Say which key with --api-key-file, LONGSHORE_API_KEY_FILE or LONGSHORE_API_KEY.".to_owned()
        }
        (Some(Kind::FenceTimeout), ..) => " It is done; somebody may see the old value for a moment.".to_owned(),
        (Some(Kind::Internal), ..) => {
            let id = request_id.map_or_else(String::new, |id| format!(" under the request id {id}"));
            format!(" The log says why{id}.")
        }
        (_, 429, _) => format!(" Try again{}.", after(retry_after)),
        (_, 502..=504, _) => format!(" Try again{}; `longshore doctor` says what is missing.", after(retry_after)),
        _ => String::new(),
    }
}

fn after(retry_after: Option<&str>) -> String {
    retry_after.map_or_else(String::new, |seconds| format!(" in {seconds} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_become_sentences() {
        let check = |problem: Problem, expected: &str| {
            let told = describe("PUT /jobs/7", &problem);
            assert_eq!(told, expected);
        };
        check(
            Kind::Conflict.detail("The job has ended."),
            "PUT /jobs/7 was refused (409 Conflict): The job has ended.",
        );
        check(
            Kind::Unavailable.problem(),
            "PUT /jobs/7 failed (503 Unavailable): The service cannot answer now; try again later.",
        );
        check(
            Problem::invalid("/queue", "is unknown"),
            "PUT /jobs/7 was refused (422 Invalid request):\n  queue: is unknown",
        );
        let two = vec![FieldError::new("", "is no object"), FieldError::new("/b/0", "is long")];
        check(
            Problem::invalid_fields(two),
            "PUT /jobs/7 was refused (422 Invalid request):\n  is no object\n  b/0: is long",
        );
    }

    #[test]
    fn the_next_step_is_said() {
        let check = |problem: Problem, retry_after: Option<&str>, expected: &str| {
            assert_eq!(next_step(&problem, retry_after, Some("r-1")), expected);
        };
        check(Kind::QueueFull.problem(), Some("5"), " Try again in 5 s.");
        check(Kind::Unavailable.problem(), None, " Try again; `longshore doctor` says what is missing.");
        check(Kind::Internal.problem(), None, " The log says why under the request id r-1.");
        check(Kind::UniqueConflict.problem().with("job_id", "7"), None, " See `longshore watch 7`.");
        check(Kind::Conflict.problem(), None, "");
    }

    #[test]
    fn the_service_is_where_the_argument_says_else_the_variable() {
        let check = |url: Option<&str>, variable: Option<&str>, expected: Result<&str, &str>| {
            let source = Source::from_pairs(variable.map(|value| ("LONGSHORE_URL", value)));
            let found = Client::new(&Service { url: url.map(str::to_owned), api_key_file: None }, &source);
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

    #[test]
    fn the_key_comes_from_one_place_and_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "from-file\n").expect("written");
        let named = file.display().to_string();
        let check = |argument: bool, variables: &[(&str, &str)], expected: Result<Option<&str>, &str>| {
            let service = Service { url: None, api_key_file: argument.then(|| file.clone()) };
            match (Client::new(&service, &Source::from_pairs(variables.iter().copied())), expected) {
                (Ok(client), Ok(key)) => {
                    let shown = client.authorization.as_ref().map(|value| value.to_str().expect("text").to_owned());
                    assert_eq!(shown, key.map(|key| format!("Bearer {key}")), "{variables:?}");
                    assert!(!format!("{client:?}").contains("from-"), "{client:?}");
                }
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, expected) => panic!("{found:?} is not {expected:?}"),
            }
        };
        check(false, &[], Ok(None));
        check(false, &[("LONGSHORE_API_KEY", "from-variable")], Ok(Some("from-variable")));
        check(false, &[("LONGSHORE_API_KEY_FILE", &named)], Ok(Some("from-file")));
        check(true, &[("LONGSHORE_API_KEY", "from-variable")], Ok(Some("from-file")));
        check(false, &[("LONGSHORE_API_KEY", "a"), ("LONGSHORE_API_KEY_FILE", &named)], Err("both set"));
        check(false, &[("LONGSHORE_API_KEY_FILE", "/nowhere/key")], Err("cannot be read"));
    }
}
