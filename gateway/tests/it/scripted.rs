//! A store in memory that keeps little, remembers every command, ends jobs when told to, and is away or slow on request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chassis::http::{Json, Rejection};
use chassis::task::Tasks;
use protocol::api::{JobView, Links, Progress, Status, Workers};
use protocol::bulk_retry::{BulkRetries, BulkRetry, BulkState, RetryFilter, RetryPreview};
use protocol::ids::{Dispatch, Incarnation, JobId, Position, Version};
use protocol::job::{Cancelled, Settled};
use protocol::logs::JobLogs;
use protocol::problem::{Kind, Problem};
use protocol::queue::{Pause, QueueView, Queues};
use protocol::store_api::{
    Answer, Applied, Apply, BellId, CHANGED_HEADER, Change, Command, Create, Created, DataView, FencedThrough,
    HeartbeatReply, INCARNATION_HEADER, JobFence, LogEntry, LogPage, POSITION_HEADER, Pull, Pulled, PulledJob, PutData,
    Replayed, Reply, RetryJobs,
};
use protocol::time::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::keyring::Keyring;
use crate::samples::{CREATED_AT_MS, created, view};

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// Every call is refused.
    pub(crate) away: bool,
    /// Creates get no answer.
    pub(crate) silent: bool,
    /// The queues take no more jobs.
    pub(crate) full: bool,
    /// The log does not reach back.
    pub(crate) trimmed: bool,
    pub(crate) creates: Vec<Create>,
    /// Requests with creates.
    pub(crate) applies: usize,
    pub(crate) sent: Vec<BellId>,
    pub(crate) ring_again: Vec<BellId>,
    pub(crate) log_calls: usize,
    pub(crate) job_reads: usize,
    pub(crate) queue_reads: usize,
    pub(crate) retries: Vec<BulkRetry>,
    /// The filters of dry runs.
    pub(crate) previews: Vec<RetryFilter>,
    /// Jobs for whoever pulls first.
    pub(crate) for_pull: Vec<PulledJob>,
    pub(crate) pulls: Vec<Pull>,
    /// What was said about leases.
    pub(crate) words: Vec<Command>,
    /// Every lease has another owner.
    pub(crate) leases_lost: bool,
    /// The last query of `GET /jobs`.
    pub(crate) listed: Option<String>,
    /// The versions given to data writes.
    writes: u64,
    fenced_through: Position,
    data: BTreeMap<String, String>,
    jobs: BTreeMap<JobId, (JobView, String)>,
    pub(crate) keyring: Keyring,
    keys: BTreeMap<String, JobId>,
    unique: BTreeMap<String, JobId>,
    expired: Vec<JobId>,
    log: Vec<LogEntry>,
    incarnation: u128,
}

/// A handle on the store; clones are the same.
#[derive(Clone)]
pub(crate) struct ScriptedStore {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    tasks: Tasks,
}

impl ScriptedStore {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let store = Self { address, inner: Arc::default(), changed: Arc::default(), tasks: Tasks::new() };
        let keyring = store.inner().keyring.clone();
        let router = Router::new()
            .route("/apply", post(apply))
            .route("/jobs", get(list))
            .route("/jobs/{id}", get(job))
            .route("/jobs/{id}/result", get(result))
            .route("/jobs/{id}/explain", get(explain))
            .route("/queues", get(queues))
            .route("/workers", get(workers))
            .route("/retries", get(retries))
            .route("/retries:preview", post(preview))
            .route("/jobs/{id}/payload", get(payload))
            .route("/jobs/{id}/logs", get(logs))
            .route("/log", get(log))
            .route("/fenced", get(fenced))
            .route("/pull", post(pull))
            .route("/data/{key}", get(data))
            .route("/live", get(|| async { "live" }))
            .with_state(store.clone())
            .merge(keyring.routes());
        store.tasks.spawn("scripted store", async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        store
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test broke")
    }

    /// A job that is there already.
    pub(crate) fn has_job(&self, status: Status) -> JobId {
        let job_id = JobId::generate();
        let mut inner = self.inner();
        let view = view(job_id, "noop", status);
        inner.jobs.insert(job_id, (view, String::new()));
        job_id
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str, json: &str) {
        self.inner().data.insert(key.to_owned(), json.to_owned());
    }

    pub(crate) fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// Everything in the log is fenced.
    pub(crate) fn fence(&self) {
        let mut inner = self.inner();
        inner.fenced_through = inner.position();
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The job ends, and the log says so.
    pub(crate) fn end(&self, job_id: JobId, status: Status) {
        let mut inner = self.inner();
        inner.jobs.get_mut(&job_id).expect("a job").0.status = status;
        inner.append(Change::Job { job_id, run: 1, status });
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The job looks different, and the log says so.
    pub(crate) fn becomes(&self, job_id: JobId, status: Status) {
        let mut inner = self.inner();
        if let Some((job, _)) = inner.jobs.get_mut(&job_id) {
            job.status = status;
        }
        inner.append(Change::Job { job_id, run: 1, status });
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The job gets on.
    pub(crate) fn progresses(&self, job_id: JobId, progress: Progress) {
        let mut inner = self.inner();
        inner.jobs.get_mut(&job_id).expect("a job").0.progress = Some(progress.clone());
        inner.append(Change::Progress { job_id, progress });
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A job for whoever pulls.
    pub(crate) fn offer(&self, job: PulledJob) {
        self.inner().for_pull.push(job);
        self.changed.notify_waiters();
    }

    /// Something else happens.
    pub(crate) fn go_on(&self) {
        let job_id = JobId::generate();
        self.inner().append(Change::Job { job_id, run: 1, status: Status::Running });
        self.changed.notify_waiters();
    }

    pub(crate) fn change(&self, job_id: JobId, change: impl FnOnce(&mut JobView)) {
        change(&mut self.inner().jobs.get_mut(&job_id).expect("a job").0);
    }

    /// A restored backup: the same jobs, another history.
    pub(crate) fn restore(&self) {
        let mut inner = self.inner();
        inner.incarnation += 1;
        inner.log.clear();
        drop(inner);
        self.changed.notify_waiters();
    }

    fn at(&self, answer: impl IntoResponse) -> Response {
        let inner = self.inner();
        let place = [
            (HeaderName::from_static(POSITION_HEADER), inner.position().to_string()),
            (HeaderName::from_static(INCARNATION_HEADER), inner.incarnation().to_string()),
        ];
        (place, answer).into_response()
    }
}

impl Inner {
    fn append(&mut self, change: Change) {
        let position = Position(self.position().0 + 1);
        self.log.push(LogEntry { position, change });
    }

    fn position(&self) -> Position {
        self.log.last().map_or(Position(0), |entry| entry.position)
    }

    fn absent(&self, job_id: JobId) -> Kind {
        if self.expired.contains(&job_id) { Kind::JobExpired } else { Kind::NotFound }
    }

    /// Where the job last changed.
    fn changed(&self, of: JobId) -> Position {
        let is_of = |entry: &&LogEntry| {
            let (Change::Job { job_id, .. } | Change::Progress { job_id, .. }) = &entry.change else { return false };
            *job_id == of
        };
        self.log.iter().rev().find(is_of).map_or(Position(0), |entry| entry.position)
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(uuid::Uuid::from_u128(self.incarnation + 1))
    }

    fn create(&mut self, create: &Create) -> Result<Created, Problem> {
        let known = create.idempotency_key.as_ref().and_then(|key| self.keys.get(key).copied());
        let job_id = known.unwrap_or(create.job_id);
        if let Some((view, fingerprint)) = self.jobs.get(&job_id) {
            if *fingerprint != create.fingerprint {
                return Err(if known.is_some() { Kind::IdempotencyMismatch } else { Kind::Conflict }.problem());
            }
            let replayed = Replayed { status: view.status, run_at: view.run_at };
            return Ok(created(job_id, view.status, Some(replayed), None));
        }
        if self.full {
            return Err(Kind::QueueFull.problem().retry_after_s(5));
        }
        if let Some(key) = &create.unique_key {
            let holder = *self.unique.entry(key.to_string()).or_insert(job_id);
            if holder != job_id {
                let links = serde_json::to_value(Links::of(holder)).expect("JSON");
                return Err(Kind::UniqueConflict.problem().with("job_id", holder.to_string()).with("links", links));
            }
        }
        let status =
            if create.run_at.is_some() || create.delay_ms.is_some() { Status::Scheduled } else { Status::Queued };
        self.jobs.insert(job_id, (view(job_id, create.task.as_str(), status), create.fingerprint.clone()));
        if let Some(key) = &create.idempotency_key {
            self.keys.insert(key.clone(), job_id);
        }
        Ok(created(job_id, status, None, create.wants_bell.then_some(Dispatch(1))))
    }

    fn pause(&self, queue: &str, paused: bool) -> Result<Reply, Problem> {
        let paused_at = paused.then(|| Timestamp::from_unix_ms(CREATED_AT_MS));
        if queue == "default" {
            Ok(Reply::Pause(Pause { queue: queue.to_owned(), paused, paused_at }))
        } else {
            Err(Kind::NotFound.problem())
        }
    }

    fn purge(&mut self, job_id: JobId) -> Result<Reply, Problem> {
        let (job, _) = self.jobs.get(&job_id).ok_or(self.absent(job_id))?;
        let purged = job.status.is_terminal();
        if purged {
            self.jobs.remove(&job_id);
            self.expired.push(job_id);
        }
        Ok(Reply::Purged { purged })
    }

    fn apply(&mut self, command: Command) -> Result<Reply, Problem> {
        match command {
            Command::Create(create) => {
                let created = self.create(&create)?;
                self.creates.push(*create);
                Ok(Reply::Created(created))
            }
            Command::Bells(fates) => {
                self.sent.extend(fates.sent);
                self.ring_again.extend(fates.ring_again);
                Ok(Reply::Done)
            }
            Command::Cancel { job_id } => {
                let (job, _) = self.jobs.get_mut(&job_id).ok_or(Kind::NotFound)?;
                let cancelled = match job.status {
                    Status::Queued | Status::Scheduled => Cancelled::Now,
                    Status::Running => Cancelled::Requested,
                    _ => Cancelled::Conflict,
                };
                if cancelled == Cancelled::Now {
                    job.status = Status::Cancelled;
                }
                Ok(Reply::Cancelled { cancelled, job: Box::new(job.clone()) })
            }
            Command::Retry { job_id } => {
                let (job, _) = self.jobs.get_mut(&job_id).ok_or(Kind::NotFound)?;
                let may = matches!(job.status, Status::Failed | Status::Cancelled);
                Ok(Reply::Retried { job: may.then(|| Box::new(job.clone())) })
            }
            Command::RetryJobs(asked) => Ok(self.retry_jobs(*asked)),
            Command::StopRetry { retry_id } => {
                let known = self.retries.iter_mut().find(|retry| retry.retry_id == retry_id).ok_or(Kind::NotFound)?;
                known.state = BulkState::Stopped;
                Ok(Reply::BulkRetry(Box::new(known.clone())))
            }
            Command::Key(command) => self.keyring.apply(command),
            Command::Audited(audited) => {
                self.keyring.note(audited.act);
                self.apply(audited.command)
            }
            Command::Audit(noted) => {
                self.keyring.note(noted.0);
                Ok(Reply::Done)
            }
            Command::PauseQueue { queue } => self.pause(queue.as_str(), true),
            Command::ResumeQueue { queue } => self.pause(queue.as_str(), false),
            Command::Purge { job_id } => self.purge(job_id),
            Command::PutData(PutData { key, data, .. }) => {
                self.writes += 1;
                let version = Version(self.writes);
                self.data.insert(key.to_string(), data.get().to_owned());
                self.append(Change::Data { key, version });
                Ok(Reply::DataWritten { version, position: self.position() })
            }
            word => self.lease_word(word),
        }
    }

    fn retry_jobs(&mut self, asked: RetryJobs) -> Reply {
        let RetryJobs { retry_id, filter, rate_per_second, limit } = asked;
        let created_at = Timestamp::from_unix_ms(CREATED_AT_MS);
        let (state, retried, skipped, ended_at) = (BulkState::Running, 0, 0, None);
        let begun =
            BulkRetry { retry_id, state, filter, rate_per_second, limit, retried, skipped, created_at, ended_at };
        self.retries.push(begun.clone());
        Reply::BulkRetry(Box::new(begun))
    }

    /// What is said about a lease.
    fn lease_word(&mut self, command: Command) -> Result<Reply, Problem> {
        match command {
            Command::Renew(ref held) => {
                let lease = JobFence { job_id: held.job_id, fence: held.fence };
                let lost = if self.leases_lost { vec![lease] } else { Vec::new() };
                self.words.push(command);
                Ok(Reply::Heartbeat(HeartbeatReply { lost, cancelled: vec![lease], ..HeartbeatReply::default() }))
            }
            Command::Complete(_) | Command::Release(_) => {
                self.words.push(command);
                let settled = if self.leases_lost { Settled::Refused } else { Settled::AlreadyRecorded };
                Ok(Reply::Settled { settled, status: Some(Status::Succeeded), next: None })
            }
            // The gateway sends nothing else.
            _ => Err(Kind::BadRequest.problem()),
        }
    }
}

fn away() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "away").into_response()
}

async fn apply(State(store): State<ScriptedStore>, body: Bytes) -> Response {
    let Apply { items } = serde_json::from_slice(&body).expect("a batch of commands");
    let (is_away, is_silent) = {
        let inner = store.inner();
        (inner.away, inner.silent)
    };
    if is_away {
        return away();
    }
    if is_silent {
        std::future::pending::<()>().await;
    }
    let answer = |inner: &mut Inner, command| match inner.apply(command) {
        Ok(reply) => Answer::Ok(Box::new(reply)),
        Err(problem) => Answer::Error(Box::new(problem)),
    };
    let applied = {
        let mut inner = store.inner();
        inner.applies += usize::from(items.iter().any(|item| matches!(item, Command::Create(_))));
        let items = items.into_iter().map(|command| answer(&mut inner, command)).collect();
        Applied { incarnation: inner.incarnation(), position: inner.position(), items }
    };
    store.at(Json(applied))
}

async fn job(State(store): State<ScriptedStore>, Path(job_id): Path<JobId>) -> Response {
    let found = {
        let mut inner = store.inner();
        inner.job_reads += 1;
        if inner.away {
            return away();
        }
        let changed = inner.changed(job_id).to_string();
        inner.jobs.get(&job_id).map(|(view, _)| (serde_json::to_string(view).expect("JSON"), changed))
    };
    match found {
        Some((json, changed)) => {
            store.at(([("content-type", "application/json"), (CHANGED_HEADER, changed.as_str())], json))
        }
        None => {
            let absent = store.inner().absent(job_id);
            store.at(Rejection::from(absent))
        }
    }
}

async fn result(State(store): State<ScriptedStore>, Path(job_id): Path<JobId>) -> Response {
    let (found, absent) = {
        let inner = store.inner();
        (inner.jobs.get(&job_id).map(|(view, _)| view.clone()), inner.absent(job_id))
    };
    match found {
        None => store.at(Rejection::from(absent)),
        Some(JobView { result: Some(result), .. }) => store.at(Json(result)),
        Some(job) if job.status.is_terminal() => store.at(Rejection::from(Kind::NoResult)),
        Some(_) => store.at(Rejection::from(Kind::NotFinished)),
    }
}

async fn explain(State(store): State<ScriptedStore>, Path(job_id): Path<JobId>) -> Response {
    let found = {
        let inner = store.inner();
        if inner.jobs.contains_key(&job_id) { Ok(()) } else { Err(inner.absent(job_id)) }
    };
    match found {
        Ok(()) => store.at(Json(serde_json::json!({"reason": "It waits."}))),
        Err(absent) => store.at(Rejection::from(absent)),
    }
}

async fn payload(State(store): State<ScriptedStore>, Path(job_id): Path<JobId>) -> Response {
    let given = r#"{"n":  12345678901234567890}"#;
    let found = {
        let inner = store.inner();
        inner.jobs.contains_key(&job_id).then_some(given).ok_or(inner.absent(job_id))
    };
    match found {
        Ok(payload) => store.at(payload),
        Err(absent) => store.at(Rejection::from(absent)),
    }
}

async fn logs(State(store): State<ScriptedStore>, Path(job_id): Path<JobId>) -> Response {
    let found = {
        let inner = store.inner();
        if inner.jobs.contains_key(&job_id) { Ok(()) } else { Err(inner.absent(job_id)) }
    };
    match found {
        Ok(()) => store.at(Json(JobLogs { job_id, attempts: Vec::new() })),
        Err(absent) => store.at(Rejection::from(absent)),
    }
}

async fn list(State(store): State<ScriptedStore>, uri: Uri) -> Response {
    store.inner().listed = Some(uri.query().unwrap_or_default().to_owned());
    store.at(Json(serde_json::json!({"jobs": [], "next_cursor": null})))
}

async fn retries(State(store): State<ScriptedStore>) -> Response {
    let retries = store.inner().retries.clone();
    store.at(Json(BulkRetries { retries }))
}

async fn preview(State(store): State<ScriptedStore>, Json(filter): Json<RetryFilter>) -> Response {
    store.inner().previews.push(filter);
    store.at(Json(RetryPreview { matching: 7, exact: true, sample: Vec::new() }))
}

async fn workers(State(store): State<ScriptedStore>) -> Response {
    store.at(Json(Workers { workers: Vec::new() }))
}

async fn queues(State(store): State<ScriptedStore>) -> Response {
    let is_away = {
        let mut inner = store.inner();
        inner.queue_reads += 1;
        inner.away
    };
    if is_away {
        return away();
    }
    let queue = QueueView { queue: "default".to_owned(), ..QueueView::default() };
    store.at(Json(Queues { queues: vec![queue] }))
}

async fn log(State(store): State<ScriptedStore>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok()).expect("a number");
    let (after, wait) = (Position(number("after")), Duration::from_millis(number("wait_ms")));
    store.inner().log_calls += 1;
    let changed = store.changed.notified();
    tokio::pin!(changed);
    changed.as_mut().enable();
    let page = |inner: &Inner| LogPage {
        incarnation: inner.incarnation(),
        position: inner.position(),
        fenced_through: Position(0),
        entries: inner.log.iter().filter(|entry| entry.position > after).cloned().collect(),
        renewed: None,
    };
    if store.inner().away {
        return away();
    }
    if store.inner().trimmed {
        return store.at(Rejection::from(Kind::LogTrimmed.problem().with("head", 9)));
    }
    if page(&store.inner()).entries.is_empty() {
        drop(tokio::time::timeout(wait, changed).await);
    }
    let page = page(&store.inner());
    store.at(Json(page))
}

async fn data(State(store): State<ScriptedStore>, Path(key): Path<String>) -> Response {
    if store.inner().away {
        return store.at(Rejection::from(Kind::Unavailable));
    }
    let found = store.inner().data.get(&key).cloned();
    match found.and_then(|json| RawValue::from_string(json).ok()) {
        Some(data) => store.at(Json(DataView { version: Version(1), data, tags: Vec::new(), media_type: None })),
        None => store.at(Rejection::from(Kind::NotFound)),
    }
}

async fn pull(
    State(store): State<ScriptedStore>,
    Query(query): Query<BTreeMap<String, String>>,
    Json(pull): Json<Pull>,
) -> Response {
    let wait_ms = query.get("wait_ms").and_then(|text| text.parse::<u64>().ok()).expect("a number");
    let changed = store.changed.notified();
    tokio::pin!(changed);
    changed.as_mut().enable();
    let is_empty = {
        let mut inner = store.inner();
        inner.pulls.push(pull);
        inner.for_pull.is_empty()
    };
    if is_empty {
        drop(tokio::time::timeout(Duration::from_millis(wait_ms), changed).await);
    }
    let jobs = std::mem::take(&mut store.inner().for_pull);
    store.at(Json(Pulled { waited_ms: 7, jobs }))
}

async fn fenced(State(store): State<ScriptedStore>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok()).expect("a number");
    let changed = store.changed.notified();
    tokio::pin!(changed);
    changed.as_mut().enable();
    if store.inner().fenced_through < Position(number("through")) {
        drop(tokio::time::timeout(Duration::from_millis(number("wait_ms")), changed).await);
    }
    let fenced_through = store.inner().fenced_through;
    store.at(Json(FencedThrough { fenced_through }))
}
