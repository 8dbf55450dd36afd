//! The client of a trial: it submits, waits, cancels and retries like anybody else, and writes down everything that it was told.

use std::cell::Cell;
use std::time::Duration;

use chassis::clock::now_ms;
use futures_util::{StreamExt, stream};
use harness::{Answer, Http};
use http::Method;
use protocol::api::{Accepted, JobView, Status};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::data::keys::Keys;
use super::errands::{Errand, Manner, Then, Work, errand};
use super::handler::Payload;
use super::history::{Event, Recorder, Shown};
use super::plan::Focus;

/// No answer may take longer.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(25);
/// Between two attempts at the same submit.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A submit with a name is given up after this: the service was not there for so long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);
const AT_A_TIME: usize = 256;
/// `Prefer: wait`, in seconds.
const WAIT: &str = "wait=5";
const LOOKS: usize = 6;
/// A job may have begun when it is cancelled, or not.
const CANCELLED_AFTER_MS: u64 = 1_500;

const SHORT_MS: u64 = 300;
const COMMAND_MS: u64 = 500;
const LONG_MS: u64 = 6_000;
const DELAY_MS: u64 = 2_000;

/// As the history calls it.
pub(super) const BALANCER: &str = "lb";
/// What jobs void that are not about anybody's data.
const VOIDED: &str = "chaos-invalidated";

/// Gives every submit and every write of a trial a number of its own.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    submits: Cell<u64>,
    writes: Cell<u64>,
}

impl Numbers {
    /// The submits before `submits` have their numbers by the plan.
    pub(super) fn from(submits: u64) -> Self {
        Self { submits: Cell::new(submits), writes: Cell::new(1) }
    }

    pub(super) fn submit(&self) -> u64 {
        self.submits.replace(self.submits.get() + 1)
    }

    pub(super) fn write(&self) -> u64 {
        self.writes.replace(self.writes.get() + 1)
    }
}

/// Talks to the service and remembers.
#[derive(Debug)]
pub(super) struct Client<'a> {
    pub(super) http: Http,
    /// Where it asks: the balancer or a gateway.
    pub(super) at: &'static str,
    pub(super) recorder: &'a Recorder,
    pub(super) numbers: &'a Numbers,
    pub(super) seed: u64,
    pub(super) focus: Focus,
    /// What its jobs void.
    pub(super) keys: Option<&'a Keys>,
}

impl Client<'_> {
    /// `jobs` errands, evenly over `length`.
    pub(super) async fn submit_all(&self, jobs: u64, length: Duration) {
        let start = Instant::now();
        let apart = length.div_f64(jobs.max(1) as f64);
        let due = stream::iter(0..jobs).then(async |number| {
            sleep_until(start + apart.mul_f64(number as f64)).await;
            number
        });
        due.for_each_concurrent(AT_A_TIME, async |number| self.run(errand(self.seed, number, self.focus)).await).await;
    }

    /// From the submit to the last look.
    async fn run(&self, errand: Errand) {
        self.run_voiding(errand, &self.voided(errand)).await;
    }

    pub(super) async fn run_voiding(&self, errand: Errand, keys: &[String]) {
        let Some(id) = self.submit_voiding(errand, keys).await else { return };
        match errand.then {
            Then::Nothing => {}
            Then::Watch => drop(self.ended(&id).await),
            Then::CancelAndRetry => self.cancel_and_retry(&id, errand.number).await,
            Then::Repeat => drop(self.submit_voiding(errand, keys).await),
        }
    }

    /// The id, if the submit was accepted.
    pub(super) async fn submit(&self, errand: Errand) -> Option<String> {
        self.submit_voiding(errand, &self.voided(errand)).await
    }

    fn voided(&self, errand: Errand) -> Vec<String> {
        let slot = usize::try_from(errand.number).unwrap_or_default();
        vec![self.keys.map_or_else(|| VOIDED.to_owned(), |keys| keys.get(slot))]
    }

    /// If it is to void anything, these keys.
    async fn submit_voiding(&self, errand: Errand, keys: &[String]) -> Option<String> {
        let give_up = Instant::now() + GIVE_UP_AFTER;
        if errand.work == Work::Invalidating {
            self.recorder.note(Event::Declares { number: errand.number, keys: keys.to_vec() });
        }
        loop {
            self.recorder.note(Event::Submits { number: errand.number });
            match self.submit_once(errand, keys).await {
                Ok(id) => return Some(id),
                Err(Some(why)) => self.recorder.note(Event::Open { number: errand.number, why }),
                Err(None) => return None,
            }
            let has_name = matches!(errand.manner, Manner::Keyed | Manner::Put(_));
            if !has_name || Instant::now() > give_up {
                return None;
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// `Err`: why it is open whether there is a job; nothing if there is none.
    async fn submit_once(&self, errand: Errand, keys: &[String]) -> Result<String, Option<String>> {
        let Errand { number, manner, .. } = errand;
        let key = format!("\"chaos-{}-{number}\"", self.seed);
        let (method, path, headers) = match manner {
            Manner::Once => (Method::POST, "/longtask".to_owned(), vec![]),
            Manner::Keyed => (Method::POST, "/longtask".to_owned(), vec![("idempotency-key", key.as_str())]),
            Manner::Put(id) => (Method::PUT, format!("/jobs/{id}"), vec![]),
            Manner::Waiting => (Method::POST, "/longtask".to_owned(), vec![("prefer", WAIT)]),
        };
        let began_ms = now_ms();
        let answer = self.send(method, &path, &headers, Some(&body(errand, keys))).await.map_err(Some)?;
        match answer.status.as_u16() {
            200..300 => {
                let accepted = self.accepted(number, began_ms, &answer);
                accepted.ok_or_else(|| Some(format!("not understood: {answer}")))
            }
            429 => Err(Some("429".to_owned())),
            status @ 400..500 => {
                self.recorder.note(Event::Refused { number, status });
                Err(None)
            }
            status => Err(Some(status.to_string())),
        }
    }

    fn accepted(&self, number: u64, began_ms: u64, answer: &Answer) -> Option<String> {
        let accept = |job_id: String| {
            self.recorder.note(Event::Accepted { number, job_id: job_id.clone() });
            Some(job_id)
        };
        // Whoever waited is shown the whole job.
        if let Ok(job) = serde_json::from_slice::<JobView>(&answer.body) {
            self.recorder.note(Event::Seen { began_ms, job: Shown::from(&job) });
            return accept(job.job_id.to_string());
        }
        let accepted = serde_json::from_slice::<Accepted>(&answer.body).ok()?;
        accept(accepted.job_id.to_string())
    }

    /// Asks until the job has ended, so often.
    async fn ended(&self, id: &str) -> Option<Shown> {
        for _ in 0..LOOKS {
            match self.look(id, &[("prefer", WAIT)]).await {
                Some(job) if job.status.is_terminal() => return Some(job),
                Some(_) => {}
                None => sleep(AGAIN_AFTER).await,
            }
        }
        None
    }

    pub(super) async fn look(&self, id: &str, headers: &[(&str, &str)]) -> Option<Shown> {
        let began_ms = now_ms();
        let answer = self.send(Method::GET, &format!("/jobs/{id}"), headers, None).await.ok()?;
        if let status @ (404 | 410) = answer.status.as_u16() {
            self.recorder.note(Event::Missing { job_id: id.to_owned(), status });
        }
        let job = Shown::from(&serde_json::from_slice::<JobView>(&answer.body).ok()?);
        self.recorder.note(Event::Seen { began_ms, job: job.clone() });
        Some(job)
    }

    async fn cancel_and_retry(&self, id: &str, number: u64) {
        sleep(Duration::from_millis(number * 97 % CANCELLED_AFTER_MS)).await;
        let cancelled = self.send(Method::POST, &format!("/jobs/{id}/cancel"), &[], None).await;
        if let Ok(answer) = cancelled
            && answer.status == 404
        {
            self.recorder.note(Event::Missing { job_id: id.to_owned(), status: 404 });
        }
        let Some(job) = self.ended(id).await else { return };
        if job.status != Status::Cancelled || number.is_multiple_of(2) {
            return;
        }
        let retried = self.send(Method::POST, &format!("/jobs/{id}/retry"), &[], None).await;
        if retried.is_ok_and(|answer| answer.status == 202) {
            self.recorder.note(Event::Retried { job_id: id.to_owned(), run: job.run + 1 });
            self.ended(id).await;
        }
    }

    /// One request; what the service owes with every answer is written down here.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let began_ms = now_ms();
        match timeout(HANGS_AFTER, self.http.send(method.clone(), path, headers, body)).await {
            Ok(Ok(answer)) => {
                if let status @ (429 | 503) = answer.status.as_u16() {
                    let says_when = !answer.header("retry-after").is_empty();
                    self.recorder.note(Event::Overload { path: format!("{method} {path}"), status, says_when });
                }
                Ok(answer)
            }
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => {
                self.recorder.note(Event::Hung { path: format!("{method} {path}"), began_ms });
                Err("no answer".to_owned())
            }
        }
    }
}

fn body(errand: Errand, keys: &[String]) -> Value {
    let Errand { number, work, priority, .. } = errand;
    let payload = match work {
        Work::Noop | Work::Delayed | Work::Invalidating => json!({}),
        Work::Short => json!({"duration_ms": SHORT_MS}),
        Work::Command => json!(Payload { ms: COMMAND_MS }),
        Work::LongCommand => json!(Payload { ms: LONG_MS }),
        Work::Flaky => json!({"fail_attempts": 1}),
    };
    let mut body = json!({"task": format!("{}-{number}", work.name()), "payload": payload, "priority": priority});
    match work {
        Work::Delayed => body["delay_ms"] = json!(DELAY_MS),
        Work::Invalidating => body["invalidates"] = json!(keys),
        _ => {}
    }
    body
}
