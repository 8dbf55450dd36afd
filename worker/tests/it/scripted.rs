//! A store that keeps jobs with the real state machine and misbehaves on request: it loses answers, forgets sessions, falls silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body::Body};
use chassis::task::Tasks;
use protocol::ids::{Dispatch, Fence, Incarnation, JobId, Position, SessionId};
use protocol::job::{ClaimRefusal, Ended, Job, Settled, State as JobState};
use protocol::problem::Kind;
use protocol::store_api::{
    Answer, Applied, Apply, Claim, Claimed, Command, Complete, Heartbeat, HeartbeatReply, JobFence, News, Next,
    Outcome, PulledJob, Release, Reply,
};
use serde_json::value::RawValue;
use tokio::sync::Notify;

/// What the store does wrong from now on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// So many claims, outcomes and releases take effect and their answers are lost.
    pub(crate) lose_answers: usize,
    /// Every call is refused.
    pub(crate) away: bool,
    /// Every call that tells an outcome is.
    pub(crate) no_outcomes: bool,
    /// Heartbeats get no answer.
    pub(crate) silent_heartbeats: bool,
}

/// One job as the store keeps it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) task: String,
    pub(crate) payload: Option<Box<RawValue>>,
    pub(crate) job: Job,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) timeout_ms: Option<u64>,
}

impl Row {
    fn claimed(&self, lease_ms: u64, more: bool) -> Claimed {
        Claimed {
            job_id: None,
            tenant: protocol::tenant::Tenant::default(),
            fence: self.job.fence,
            task: self.task.clone(),
            queue: "default".to_owned(),
            run: self.job.run,
            attempt: self.job.attempt,
            max_attempts: self.job.max_attempts,
            lease_ms,
            timeout_ms: self.timeout_ms,
            payload: self.payload.clone(),
            trace: None,
            cancel_requested: self.job.cancel_requested,
            more,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) faults: Faults,
    pub(crate) rows: BTreeMap<JobId, Row>,
    /// Rows without a bell, in their order.
    pub(crate) backlog: VecDeque<JobId>,
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) heartbeats: Vec<Heartbeat>,
    /// Names of the commands that came, heartbeats left out.
    pub(crate) commands: Vec<&'static str>,
    /// Commands that were refused because of their session.
    pub(crate) unknown_sessions: usize,
    pub(crate) refused: usize,
    /// Calls refused while it was away.
    pub(crate) turned_away: usize,
    pub(crate) ended_sessions: usize,
    news: Vec<News>,
}

/// A handle on the store; clones are the same.
#[derive(Clone)]
pub(crate) struct ScriptedStore {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    has_news: Arc<Notify>,
    tasks: Tasks,
}

impl ScriptedStore {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let store = Self { address, inner: Arc::default(), has_news: Arc::default(), tasks: Tasks::new() };
        let router = Router::new()
            .route("/apply", post(apply))
            .route("/sessions/{id}/news", get(news))
            .with_state(store.clone());
        store.tasks.spawn("scripted store", async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        store
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test broke")
    }

    /// A job that waits under its first bell.
    pub(crate) fn create(&self, task: &str, payload: &str, max_attempts: u32) -> JobId {
        let job_id = JobId::generate();
        let payload = RawValue::from_string(payload.to_owned()).ok();
        let job = Job::create(true, max_attempts, false);
        self.inner().rows.insert(job_id, Row { task: task.to_owned(), payload, job, outcome: None, timeout_ms: None });
        job_id
    }

    pub(crate) fn job<T>(&self, job_id: JobId, look: impl FnOnce(&Row) -> T) -> T {
        look(self.inner().rows.get(&job_id).expect("a row"))
    }

    pub(crate) fn state(&self, job_id: JobId) -> JobState {
        self.job(job_id, |row| row.job.state)
    }

    pub(crate) fn outcome(&self, job_id: JobId) -> String {
        self.job(job_id, |row| match &row.outcome {
            Some(Outcome::Succeeded { result }) => result.as_ref().map_or("-", |result| result.get()).to_owned(),
            Some(Outcome::Failed { error, .. }) => format!("{:?}: {}", error.kind, error.message),
            None => "none".to_owned(),
        })
    }

    pub(crate) fn tell(&self, news: News) {
        self.inner().news.push(news);
        self.has_news.notify_waiters();
    }

    /// How the present owner of the job is named.
    pub(crate) fn owner(&self, job_id: JobId) -> JobFence {
        JobFence { job_id, fence: self.job(job_id, |row| row.job.fence) }
    }

    /// The lease is over: the job is queued again, under the returned bell.
    pub(crate) fn reap(&self, job_id: JobId) -> Dispatch {
        let mut inner = self.inner();
        let job = &mut inner.rows.get_mut(&job_id).expect("a row").job;
        let (fence, renewal) = (job.fence, job.renewal);
        job.reap(fence, renewal).expect("it was running");
        job.dispatch
    }
}

async fn apply(State(store): State<ScriptedStore>, body: Bytes) -> Response {
    let Apply { items } = serde_json::from_slice(&body).expect("a batch of commands");
    let is_heartbeat = items.iter().any(|item| matches!(item, Command::Heartbeat(_)));
    let (answer, hold) = {
        let mut inner = store.inner();
        let tells_outcome = items.iter().any(|item| matches!(item, Command::Complete(_)));
        if inner.faults.away || inner.faults.no_outcomes && tells_outcome {
            inner.turned_away += 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let items: Vec<_> = items.into_iter().map(|item| inner.apply(item)).collect();
        let lose = !is_heartbeat && inner.faults.lose_answers > 0;
        inner.faults.lose_answers -= usize::from(lose);
        let applied = Applied { incarnation: Incarnation::generate(), position: Position(0), items };
        if lose {
            // The body ends before its time: the connection broke after the commit.
            let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
            return Response::new(Body::from_stream(broken));
        }
        (serde_json::to_vec(&applied).expect("JSON"), is_heartbeat && inner.faults.silent_heartbeats)
    };
    if hold {
        std::future::pending::<()>().await;
    }
    ([("content-type", "application/json")], answer).into_response()
}

async fn news(State(store): State<ScriptedStore>, Path(session): Path<SessionId>) -> Response {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let changed = store.has_news.notified();
        {
            let mut inner = store.inner();
            if inner.faults.away {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            if !inner.sessions.contains(&session) {
                let problem = serde_json::to_vec(&Kind::UnknownSession.problem()).expect("JSON");
                return (StatusCode::CONFLICT, problem).into_response();
            }
            if let Some(news) = inner.news.pop() {
                return serde_json::to_vec(&news).expect("JSON").into_response();
            }
        }
        if tokio::time::timeout_at(until, changed).await.is_err() {
            return serde_json::to_vec(&News::default()).expect("JSON").into_response();
        }
    }
}

impl Inner {
    fn apply(&mut self, command: Command) -> Answer {
        let answer = match command {
            Command::Heartbeat(heartbeat) => self.heartbeat(heartbeat),
            Command::Claim(claim) => {
                self.commands.push("claim");
                self.claim(&claim)
            }
            Command::Complete(Complete { job_id, fence, outcome, next, .. }) => {
                self.commands.push("complete");
                Some(self.complete(job_id, fence, outcome, next))
            }
            Command::Release(Release { job_id, fence, .. }) => {
                self.commands.push("release");
                let settled = self.rows.get_mut(&job_id).expect("a row").job.release(fence);
                Some(self.settled(settled, None))
            }
            Command::EndSession { session } => {
                self.sessions.remove(&session);
                self.ended_sessions += 1;
                Some(Reply::Done)
            }
            other => unreachable!("a worker does not send {other:?}"),
        };
        let unknown = || Answer::Error(Box::new(Kind::UnknownSession.problem()));
        answer.map_or_else(unknown, |reply| Answer::Ok(Box::new(reply)))
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Option<Reply> {
        if heartbeat.register {
            self.sessions.insert(heartbeat.session);
        }
        if !self.sessions.contains(&heartbeat.session) {
            self.unknown_sessions += 1;
            return None;
        }
        let mut reply = HeartbeatReply::default();
        for held in &heartbeat.holds {
            let who = JobFence { job_id: held.job_id, fence: held.fence };
            let job = &mut self.rows.get_mut(&held.job_id).expect("a row").job;
            if job.renew(held.fence).is_err() {
                reply.lost.push(who);
            } else if job.cancel_requested {
                reply.cancelled.push(who);
            }
        }
        self.heartbeats.push(heartbeat);
        Some(Reply::Heartbeat(reply))
    }

    fn claim(&mut self, claim: &Claim) -> Option<Reply> {
        if !self.sessions.contains(&claim.session) {
            self.unknown_sessions += 1;
            return None;
        }
        let more = !self.backlog.is_empty();
        let Some(row) = self.rows.get_mut(&claim.job_id) else {
            return Some(Reply::ClaimRefused(ClaimRefusal::UnknownJob));
        };
        Some(match row.job.claim(claim.dispatch, claim.claim_id) {
            Err(refusal) => Reply::ClaimRefused(refusal),
            Ok(_) => Reply::Claimed(Box::new(row.claimed(claim.lease_ms, more))),
        })
    }

    fn next(&mut self, next: &Next) -> Option<Box<PulledJob>> {
        let held = self.rows.iter_mut().filter(|(_, row)| row.job.state == JobState::Running);
        let taken = held.map(|(job_id, row)| (*job_id, row.job.pull(next.claim_id))).find(|(_, pulled)| pulled.is_ok());
        let job_id = taken.map(|(job_id, _)| job_id).or_else(|| self.backlog.pop_front())?;
        let more = !self.backlog.is_empty();
        let row = self.rows.get_mut(&job_id).expect("a row");
        row.job.pull(next.claim_id).ok()?;
        Some(Box::new(PulledJob { job_id, claimed: row.claimed(next.lease_ms, more) }))
    }

    fn complete(&mut self, job_id: JobId, fence: Fence, outcome: Outcome, next: Option<Next>) -> Reply {
        let row = self.rows.get_mut(&job_id).expect("a row");
        let ended = match &outcome {
            Outcome::Succeeded { .. } => Ended::Succeeded,
            Outcome::Failed { may_retry, .. } => Ended::Failed { may_retry: *may_retry },
        };
        let settled = row.job.complete(fence, ended);
        if settled == Settled::Recorded {
            row.outcome = Some(outcome);
        }
        let next = next.filter(|_| settled != Settled::Refused).and_then(|next| self.next(&next));
        self.settled(settled, next)
    }

    fn settled(&mut self, settled: Settled, next: Option<Box<PulledJob>>) -> Reply {
        self.refused += usize::from(settled == Settled::Refused);
        Reply::Settled { settled, status: None, next }
    }
}
