//! The requests of a load, built once, and what an answer means.

use std::time::Duration;

use bytes::Bytes;
use chassis::client::{Answer, Call, Error};
use http::{HeaderValue, Method, StatusCode};
use protocol::api::{self, Priority, WAIT_S_MAX};
use protocol::ids::JobId;
use protocol::problem::Problem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::mix::Kind;
use super::plan::Plan;

/// What all requests of one load look like.
#[derive(Debug)]
pub(crate) struct Requests {
    /// By kind; of those about data one per key.
    calls: [Vec<Call>; 5],
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As asked for; a job if one was accepted.
    Done(Option<JobId>),
    /// The service, or the network, said no: too quickly to be mixed with the times of answers.
    Failed(String),
    /// It waited for an answer that did not come in its time.
    Unanswered(String),
}

/// Of an accepted job; the rest of the answer is skipped.
#[derive(Deserialize)]
struct Named {
    job_id: JobId,
}

impl Requests {
    pub(crate) fn new(plan: &Plan) -> serde_json::Result<Self> {
        let job = api::Submit {
            task: plan.task.clone(),
            payload: Some(payload(plan)?),
            queue: plan.queue.clone(),
            priority: Priority::Normal,
            delay_ms: None,
            run_at: None,
            max_attempts: None,
            timeout_ms: None,
            start_deadline_ms: None,
            unique_key: None,
            invalidates: Vec::new(),
            job_id: None,
            idempotency_key: None,
        };
        let submit = Call::post("/longtask", &job)?.within(plan.timeout);
        let held = HeaderValue::try_from(format!("wait={WAIT_S_MAX}")).expect("digits are a header value");
        let hold = Duration::from_secs(WAIT_S_MAX) + plan.timeout;
        let wait = submit.clone().header("prefer", held).within(hold);
        let of_keys = |call: &dyn Fn(String) -> Call| (0..plan.keys).map(|number| call(key(number))).collect();
        let value = serde_json::to_vec(&serde_json::json!({"data": "x".repeat(plan.bytes)}))?;
        let write = |key| Call::new(Method::PUT, format!("/data/{key}"), false).json_bytes(value.clone());
        let within = plan.timeout;
        Ok(Self {
            calls: [
                vec![submit],
                vec![wait],
                of_keys(&|key| Call::get(format!("/data/{key}")).within(within)),
                of_keys(&|key| write(key).within(within)),
                of_keys(&|key| Call::delete(format!("/cache/{key}")).within(within)),
            ],
        })
    }

    pub(crate) fn call(&self, kind: Kind, key: usize) -> &Call {
        let calls = &self.calls[kind.place()];
        &calls[key % calls.len()]
    }
}

/// The data keys of a load: of its own, so that it overwrites nobody's.
fn key(number: usize) -> String {
    format!("load-{number}")
}

/// What each job is given: as asked for, or so many bytes of JSON.
fn payload(plan: &Plan) -> serde_json::Result<Box<RawValue>> {
    match &plan.payload {
        Some(payload) => Ok(payload.clone()),
        None => serde_json::value::to_raw_value(&serde_json::json!({"data": "x".repeat(plan.bytes)})),
    }
}

/// What the answer to a request of this kind means.
pub(crate) fn judge(kind: Kind, answer: &Result<Answer<Bytes>, Error>) -> Outcome {
    match answer {
        Ok(answer) if answer.status.is_success() => accepted(kind, answer),
        Ok(answer) => Outcome::Failed(refusal(answer.status, &answer.body)),
        Err(Error::Timeout { .. }) => Outcome::Unanswered("no answer in time".to_owned()),
        Err(Error::Unreachable { .. }) => Outcome::Failed("no connection".to_owned()),
        Err(Error::Broken { .. }) => Outcome::Failed("connection broken".to_owned()),
        Err(Error::Malformed { .. }) => Outcome::Failed("answer not understood".to_owned()),
        Err(Error::Problem { problem, .. }) => Outcome::Failed(problem_text(problem)),
    }
}

fn accepted(kind: Kind, answer: &Answer<Bytes>) -> Outcome {
    if !kind.makes_a_job() {
        return Outcome::Done(None);
    }
    match serde_json::from_slice::<Named>(&answer.body) {
        Ok(job) => Outcome::Done(Some(job.job_id)),
        Err(_) => Outcome::Failed("answer not understood".to_owned()),
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem_text(&problem),
        Err(_) => format!("{} without a problem", status.as_u16()),
    }
}

/// Status and the last part of the type: `429 rate-limited`.
fn problem_text(problem: &Problem) -> String {
    let name = problem.type_uri.rsplit(':').next().unwrap_or_default();
    format!("{} {name}", problem.status)
}

#[cfg(test)]
mod tests {
    use chassis::config::Address;
    use protocol::problem;

    use super::*;

    fn answer(status: u16, body: impl Into<Bytes>) -> Result<Answer<Bytes>, Error> {
        let status = StatusCode::from_u16(status).expect("a status");
        Ok(Answer { address: Address::loopback(1), status, headers: Default::default(), body: body.into() })
    }

    #[test]
    fn answers_are_judged_by_what_was_asked() {
        let check = |kind, answer: Result<Answer<Bytes>, Error>, expected| assert_eq!(judge(kind, &answer), expected);
        let failed = |text: &str| Outcome::Failed(text.to_owned());
        let id: JobId = "01890000-0000-7000-8000-000000000001".parse().expect("an id");
        let told = format!("{{\"job_id\":\"{id}\",\"status\":\"queued\"}}");
        check(Kind::Submit, answer(202, told.clone()), Outcome::Done(Some(id)));
        check(Kind::Wait, answer(200, told), Outcome::Done(Some(id)));
        check(Kind::Submit, answer(202, "hello"), failed("answer not understood"));
        check(Kind::Read, answer(200, "{}"), Outcome::Done(None));
        let limited = serde_json::to_vec(&problem::Kind::RateLimited.problem()).expect("JSON");
        check(Kind::Submit, answer(429, limited), failed("429 rate-limited"));
        check(Kind::Read, answer(502, "<html>"), failed("502 without a problem"));
        let (address, reason) = (Address::loopback(1), String::new());
        check(Kind::Read, Err(Error::Unreachable { address: address.clone(), reason }), failed("no connection"));
        let timeout = Error::Timeout { address, deadline: Duration::from_secs(1) };
        check(Kind::Read, Err(timeout), Outcome::Unanswered("no answer in time".to_owned()));
    }
}
