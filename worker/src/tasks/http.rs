//! Asks a service of the operator's to do a job: a signed POST with the payload, whose answer is the result. A service that says 202 goes on by
//! itself and tells the store how it ends, if its task allows that.

use std::time::Duration;

use bytes::Bytes;
use chassis::clock::{now_ms, wall_ms};
use chassis::http::TRACEPARENT;
use chassis::outbound::{Answer, Failed, Post, Reach, Target, Trust, post};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::lease_api::LeaseId;
use protocol::store_api::JobFence;
use protocol::time::Timestamp;
use protocol::webhook::{Secret, Verdict};

use super::capture::Head;
use crate::context::{JobContext, cut};
use crate::handler::{Failure, Handler, HandlerFuture, Output, output};

/// Of the answer of a failed attempt, this much stands in the job's `error`, in bytes.
const SHOWN_BYTES: usize = 1_024;

/// What `[task.NAME] kind = "http"` says.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTask {
    pub target: Target,
    /// Each signs; there is at least one.
    pub secrets: Vec<Secret>,
    /// Sent besides ours.
    pub headers: HeaderMap,
    pub reach: Reach,
    pub trust: Trust,
    /// A longer answer fails the job.
    pub response_bytes: usize,
    /// Statuses after which another attempt is made, besides those that say so themselves.
    pub retry_on: Vec<u16>,
    /// Whether the service may answer 202 and go on by itself.
    pub report_later: bool,
    /// Where the gateways are, for the service: the beginning of the URLs that it is given.
    pub public_url: Option<String>,
}

impl HttpTask {
    pub const RESPONSE_BYTES: usize = 256 * 1024;
}

impl Handler for HttpTask {
    fn run(&self, job: JobContext) -> HandlerFuture {
        let task = self.clone();
        Box::pin(async move { task.execute(&job).await })
    }
}

impl HttpTask {
    async fn execute(&self, job: &JobContext) -> Result<Output, Failure> {
        let lease = LeaseId(JobFence { job_id: job.job_id(), fence: job.fence() }).to_string();
        let asked = Post {
            target: &self.target,
            reach: &self.reach,
            trust: &self.trust,
            secrets: &self.secrets,
            id: &lease,
            headers: self.headers(job, &lease)?,
            body: Bytes::from(job.job().payload_text().to_owned()),
            answer_bytes_max: self.response_bytes,
        };
        tokio::select! {
            answer = post(asked) => self.judge(answer, job),
            _ = job.cancelled() => Err(Failure::new("the request was ended")),
        }
    }

    fn headers(&self, job: &JobContext, lease: &str) -> Result<HeaderMap, Failure> {
        let now = Timestamp::from_unix_ms(wall_ms());
        let left_ms = job.lease_until_ms().saturating_sub(now_ms());
        let lease_deadline = Timestamp::from_unix_ms(now.unix_ms().saturating_add_unsigned(left_ms));
        let attempt_left = job.deadline().saturating_duration_since(tokio::time::Instant::now());
        let mut fields = vec![
            ("longshore-job", job.job_id().to_string()),
            ("longshore-task", job.task().to_owned()),
            ("longshore-tenant", job.job().tenant.to_string()),
            ("longshore-run", job.job().run.to_string()),
            ("longshore-attempt", job.attempt().to_string()),
            ("longshore-fence", job.fence().to_string()),
            ("longshore-lease-deadline", lease_deadline.to_string()),
            ("longshore-lease-seconds", left_ms.div_euclid(1_000).to_string()),
            ("longshore-timeout-seconds", attempt_left.as_secs().to_string()),
        ];
        if let Some(url) = &self.public_url {
            fields.push(("longshore-heartbeat-url", format!("{url}/leases/{lease}/heartbeat")));
            if self.report_later {
                fields.push(("longshore-complete-url", format!("{url}/leases/{lease}/complete")));
                fields.push(("longshore-fail-url", format!("{url}/leases/{lease}/fail")));
            }
        }
        let mut headers = self.headers.clone();
        if let Some(trace) = &job.job().trace {
            headers.insert(TRACEPARENT, HeaderValue::try_from(trace)?);
        }
        for (name, value) in fields {
            headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value)?);
        }
        Ok(headers)
    }

    fn judge(&self, answer: Result<Answer, Failed>, job: &JobContext) -> Result<Output, Failure> {
        let answer = match answer {
            Ok(answer) => answer,
            // Neither would be different at the next attempt, and the service may have done the work already.
            Err(error @ (Failed::Refused { .. } | Failed::TooLarge(_))) => {
                return Err(Failure::permanent(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let status = answer.status.as_u16();
        match Verdict::of(status) {
            Verdict::Done if status == 202 && self.report_later => {
                job.hand_over();
                output(&())
            }
            Verdict::Done if status == 202 => Err(Failure::permanent(
                "the service answered 202, that it goes on by itself; its task must say report_later = true for that",
            )),
            Verdict::Done if answer.body.is_empty() => output(&()),
            Verdict::Done => Ok(result(&answer.body)),
            Verdict::Again => Err(Failure { retry_after: asked_wait(&answer), ..failure(&answer) }),
            Verdict::Never | Verdict::Gone if self.retry_on.contains(&status) => {
                Err(Failure { retry_after: asked_wait(&answer), ..failure(&answer) })
            }
            Verdict::Never | Verdict::Gone => Err(Failure { may_retry: false, ..failure(&answer) }),
        }
    }
}

/// JSON as it stands, else a string.
fn result(body: &[u8]) -> Output {
    let mut head = Head::new(body.len());
    head.push(body);
    head.into_output()
}

fn failure(answer: &Answer) -> Failure {
    let redirect = if answer.status.is_redirection() { ", a redirect, which is not followed" } else { "" };
    let said = cut(String::from_utf8_lossy(&answer.body).trim().to_owned(), SHOWN_BYTES);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    Failure::new(format!("the service answered {}{redirect}{said}", answer.status))
}

fn asked_wait(answer: &Answer) -> Option<Duration> {
    answer.retry_after_ms().map(Duration::from_millis)
}
