//! The store over HTTP: one way in for writes (`POST /apply`), reads, and long-polls. Only other programs of ours call it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chassis::http::{Json, Rejection};
use chassis::shutdown::Shutdown;
use http::{HeaderName, HeaderValue};
use protocol::api::{JobView, WaitingFor};
use protocol::ids::{Incarnation, Position};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{INCARNATION_HEADER, POSITION_HEADER};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::hub::Hub;
use crate::readers::{ReadError, Readers};
use crate::storage::{At, Settings, StorageError};
use crate::writer::{WriteError, Writer};

mod access;
mod apply;
mod data;
mod jobs;
mod log;
mod news;
mod page;
mod pull;
mod queues;
mod retries;
mod schedules;
mod tenants;
mod traced;
mod webhooks;

/// Long-polls at once; one more is answered 503.
const LONG_POLLS_MAX: usize = 1_024;
/// Workers that wait for a job to pull at once, apart from the others; one more is answered 503.
const PULLS_MAX: usize = 4_096;
/// The longest wait of a long-poll, ms.
const WAIT_MS_MAX: u64 = 30_000;

#[derive(Clone, Debug)]
pub(crate) struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    incarnation: Incarnation,
    settings: Arc<Settings>,
    writer: Writer,
    readers: Readers,
    hub: Arc<Hub>,
    long_polls: Semaphore,
    pulls: Semaphore,
    shutdown: Shutdown,
}

impl Service {
    pub(crate) fn new(
        incarnation: Incarnation,
        settings: Arc<Settings>,
        writer: Writer,
        readers: Readers,
        hub: Arc<Hub>,
        shutdown: Shutdown,
    ) -> Self {
        let (long_polls, pulls) = (Semaphore::new(LONG_POLLS_MAX), Semaphore::new(PULLS_MAX));
        Self { inner: Arc::new(Inner { incarnation, settings, writer, readers, hub, long_polls, pulls, shutdown }) }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/apply", post(apply::apply))
            .route("/jobs", get(jobs::list))
            .route("/jobs/{id}", get(jobs::job))
            .route("/jobs/{id}/explain", get(jobs::explain))
            .route("/jobs/{id}/result", get(jobs::result))
            .route("/jobs/{id}/payload", get(jobs::payload))
            .route("/jobs/{id}/logs", get(jobs::logs))
            .route("/workers", get(jobs::workers))
            .route("/queues", get(queues::list))
            .route("/retries", get(retries::list))
            .route("/retries:preview", post(retries::preview))
            .route("/schedules", get(schedules::list))
            .route("/schedules/{name}", get(schedules::one))
            .route("/webhooks", get(webhooks::list))
            .route("/webhooks/{name}", get(webhooks::one))
            .route("/webhooks/{name}/deliveries", get(webhooks::deliveries))
            .route("/keys", get(access::keys))
            .route("/keys/{id}", get(access::key))
            .route("/audit", get(access::audit))
            .route("/tenants", get(tenants::list))
            .route("/log", get(log::log))
            .route("/pull", post(pull::pull))
            .route("/fenced", get(log::fenced))
            .route("/sessions/{id}/news", get(news::news))
            .route("/data/{key}", get(data::entry))
            .route("/db", get(data::db))
            .layer(from_fn_with_state(self.clone(), with_place))
            .with_state(self)
    }

    /// An answer with the log position at which it was read.
    fn at(&self, position: Position, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        put_place(&mut response, position, self.inner.incarnation);
        response
    }

    fn read<T: Serialize>(&self, read: At<T>) -> Response {
        self.at(read.position, Json(read.read))
    }

    /// The job as it is shown: a bell cannot come while the broker is away.
    fn seen(&self, mut job: JobView) -> JobView {
        job.waiting_for = self.waits_for(job.waiting_for);
        job
    }

    fn waits_for(&self, in_rows: Option<WaitingFor>) -> Option<WaitingFor> {
        let waits_for_bell = in_rows == Some(WaitingFor::Slot) && !self.inner.hub.gate.is_up();
        if waits_for_bell { Some(WaitingFor::Broker) } else { in_rows }
    }

    /// How long a long-poll may wait; none while draining.
    fn wait(&self, wait_ms: u64) -> Result<Duration, Problem> {
        if wait_ms > WAIT_MS_MAX {
            return Err(Problem::invalid("/wait_ms", format!("at most {WAIT_MS_MAX}")));
        }
        Ok(Duration::from_millis(if self.inner.shutdown.is_draining() { 0 } else { wait_ms }))
    }

    /// Waits for `news`, at most so long, and not while others could not wait; `None`: nothing came.
    async fn wait_for<T>(&self, wait: Duration, news: impl Future<Output = T>) -> Result<Option<T>, Problem> {
        let _place = self.inner.long_polls.try_acquire().map_err(|_| Kind::Unavailable.problem())?;
        tokio::select! {
            news = news => Ok(Some(news)),
            () = tokio::time::sleep(wait) => Ok(None),
            () = self.inner.shutdown.draining() => Ok(None),
        }
    }
}

/// Gives the place also to answers that read nothing, as it was before they began: going on from there misses nothing.
async fn with_place(State(service): State<Service>, request: Request, next: Next) -> Response {
    let position = *service.inner.hub.head.borrow();
    let mut response = next.run(request).await;
    if !response.headers().contains_key(POSITION_HEADER) {
        put_place(&mut response, position, service.inner.incarnation);
    }
    response
}

fn put_place(response: &mut Response, position: Position, incarnation: Incarnation) {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(POSITION_HEADER), HeaderValue::from(position.0));
    if let Ok(value) = HeaderValue::try_from(incarnation.to_string()) {
        headers.insert(HeaderName::from_static(INCARNATION_HEADER), value);
    }
}

impl From<ReadError> for Rejection {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Storage(StorageError::Internal(_)) => anyhow::Error::from(error).into(),
            ReadError::Overloaded | ReadError::Ended | ReadError::Storage(StorageError::Unavailable(_)) => {
                tracing::warn!(%error, "a read was refused");
                Kind::Unavailable.into()
            }
        }
    }
}

impl From<WriteError> for Rejection {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Storage(StorageError::Internal(_)) => anyhow::Error::from(error).into(),
            WriteError::Overloaded | WriteError::Ended | WriteError::Storage(StorageError::Unavailable(_)) => {
                tracing::warn!(%error, "a write was refused");
                Kind::Unavailable.into()
            }
        }
    }
}
