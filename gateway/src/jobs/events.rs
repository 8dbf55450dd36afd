//! `GET /jobs/{id}/events`: a job's changes as server-sent events (WHATWG HTML §9.2), until it has ended.
//!
//! Each event is the job as it is, so nothing is buffered for a client that reads slowly: what changes meanwhile is one event. An event's
//! id is where in the store's log the job last changed, so any gateway knows what a client that comes back has seen.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chassis::backoff::Backoff;
use chassis::client::Error;
use chassis::http::{Context, Path, Rejection};
use futures_util::stream;
use http::{HeaderMap, HeaderName, StatusCode};
use protocol::ids::{JobId, Place};
use protocol::problem::{Kind, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::seen::{Glimpse, Seen};
use super::waiters::{Sight, Ticket};
use crate::openapi::problems::{Any, OfJob};
use crate::openapi::{JOBS, headers};
use crate::state::Gateway;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// When a client that lost its stream comes back.
const RETRY: Duration = Duration::from_secs(1);

/// The places of streams.
#[derive(Debug)]
pub(crate) struct Streams {
    free: Arc<Semaphore>,
    /// Silence is broken by a comment after this, so that nobody between takes the connection for dead.
    heartbeat: Duration,
}

impl Streams {
    pub(crate) fn new(streams_max: usize, heartbeat: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(streams_max)), heartbeat }
    }

    /// A place, if one is free. The console's overview takes one, too.
    pub(crate) fn enter(&self) -> Option<Open> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        metrics::gauge!("longshore_streams", "program" => "gateway").increment(1.0);
        Some(Open { _permit: permit })
    }
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct Open {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("longshore_streams", "program" => "gateway").decrement(1.0);
    }
}

/// 204 if the job has ended and the client has seen its end: that is how a stream is told not to come back.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = JOBS, operation_id = "streamJob",
    summary = "Every change, as it happens",
    description = "Server-sent events: `event` is `status`, or `progress` when nothing else has changed; `data` is the job as `GET /jobs/{id}` shows \
                   it. The first event is the job as it is, the last one its end.",
    params(("id" = JobId, Path, description = "The job."), headers::LastEventId),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream", headers(("Cache-Control"))),
        (status = 204, description = "The client has seen the end: it need not come back."),
        Any, OfJob,
    ),
)]
pub(crate) async fn events(
    gateway: Gateway,
    Path(job_id): Path<JobId>,
    context: Context,
    headers: HeaderMap,
) -> Result<Response, Rejection> {
    let Some(open) = gateway.streams.enter() else { return Err(too_many().into()) };
    let mut stream = Stream { gateway, job_id, known: last_seen(&headers), shown: None, last: false, next: None };
    let (ticket, seen) = stream.read().await?;
    if seen.is_terminal() && seen.changed.is_some() && seen.changed == stream.known {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    stream.next = Some(Next::Look(ticket, seen));
    let heartbeat = KeepAlive::new().interval(stream.gateway.streams.heartbeat);
    let events = stream::unfold((stream, open), move |(mut stream, open)| {
        context.clone().scope(async move {
            let event = stream.next().await?;
            Some((Ok::<_, Infallible>(event), (stream, open)))
        })
    });
    Ok(Sse::new(events).keep_alive(heartbeat).into_response())
}

pub(crate) fn too_many() -> Problem {
    Kind::RateLimited
        .detail("Too many streams of events are open; ask for the job itself, with Prefer: wait, or later.")
}

/// What the client has seen last. An id that is none of ours, or of another history of the store, says nothing: it is shown what is.
fn last_seen(headers: &HeaderMap) -> Option<Place> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

/// A client that follows a job.
struct Stream {
    gateway: Gateway,
    job_id: JobId,
    /// The last change that the client knows.
    known: Option<Place>,
    /// What it was shown last.
    shown: Option<Glimpse>,
    /// The last event is out.
    last: bool,
    next: Option<Next>,
}

/// What to do before the next event.
enum Next {
    /// The job was read.
    Look(Ticket, Seen),
    Wait(Ticket),
}

impl Stream {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        while !self.last {
            let (ticket, seen) = match self.next.take() {
                Some(Next::Look(ticket, seen)) => (ticket, seen),
                Some(Next::Wait(mut ticket)) => {
                    tokio::select! {
                        () = ticket.woken() => {}
                        () = self.gateway.shutdown.draining() => return None,
                    }
                    drop(ticket);
                    self.read_patiently().await?
                }
                None => self.read_patiently().await?,
            };
            self.last = seen.is_terminal() || seen.place.is_none();
            let has_changed = seen.changed.is_none() || seen.changed != self.known;
            // Said before the event is sent: the follower keeps on, also while the client takes its time.
            let place = seen.place.filter(|_| !self.last);
            self.next = place.filter(|place| ticket.saw(*place) == Sight::Ahead).map(|_| Next::Wait(ticket));
            if has_changed {
                return Some(self.show(&seen));
            }
        }
        None
    }

    fn show(&mut self, seen: &Seen) -> Event {
        let is_progress = self.shown == Some(seen.state);
        let is_first = self.shown.is_none();
        (self.known, self.shown) = (seen.changed, Some(seen.state));
        let event = Event::default().event(if is_progress { "progress" } else { "status" });
        let event = if is_first { event.retry(RETRY) } else { event };
        let event = match seen.changed {
            Some(changed) => event.id(changed.to_string()),
            None => event,
        };
        event.data(String::from_utf8_lossy(&seen.json))
    }

    /// First the ticket, then the job: a change is in one of the two.
    async fn read(&self) -> Result<(Ticket, Seen), Error> {
        let ticket = self.gateway.waiters.watch(self.job_id);
        let seen = Seen::read(&self.gateway.store, self.job_id).await?;
        Ok((ticket, seen))
    }

    /// While the store is away the stream stays open. `None`: the job is gone, or the gateway is ending.
    async fn read_patiently(&self) -> Option<(Ticket, Seen)> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(5));
        loop {
            match self.read().await {
                Ok(read) => return Some(read),
                Err(error) if error.is_transient() => tracing::debug!(%error, "a stream cannot go on"),
                Err(error) => {
                    tracing::debug!(%error, "a stream ends");
                    return None;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_random()) => {}
                () = self.gateway.shutdown.draining() => return None,
            }
        }
    }
}
