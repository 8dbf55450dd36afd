//! One request: to a backend, to the next one if that does no harm, and the answer back.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response, StatusCode, request};
use hyper::body::{Body, Incoming};
use protocol::problem::{Kind, Problem};

use crate::answer::{self, AnswerBody, Download};
use crate::connection::Client;
use crate::core::pick::Draw;
use crate::fields::{self, IDEMPOTENCY_KEY};
use crate::own;
use crate::pool::{InFlight, Pool, Pools, Seeker};
use crate::record::{Phase, Record};
use crate::retry::{self, Failure, Next};
use crate::shared::Shared;
use crate::tunnel::{Switched, Tunnel};
use crate::upload::Upload;
use crate::upstream::{Lost, Upstream};

/// A request until it is answered. The head is copied for an attempt only if it may have to be sent again.
struct Pending {
    head: Option<request::Parts>,
    upload: Upload,
    is_repeatable: bool,
    /// It asks to wait for something, or for as long as a tunnel lasts.
    waits: bool,
    /// It asks for another protocol.
    is_upgrade: bool,
}

/// The head of a backend's answer, and what it came on.
enum Answered {
    Plain(Response<Incoming>, Upstream),
    /// Another protocol is spoken from now on.
    Switched(Response<Incoming>, Switched),
}

pub(crate) async fn answer(client: Rc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    client.watch.begin();
    let shared = &client.event_loop.shared;
    let (mut head, body) = request.into_parts();
    let mut record = Record::new(&client, &head);
    let unasked = if let Some(kind) = client.refused {
        Some(answer::problem(&too_many_connections(kind), true))
    } else if let Some(answer) = own::answer(shared, &head) {
        Some(answer)
    } else if let Err(wait_s) = within_rate(&client, &head, &record) {
        let problem = Kind::RateLimited.problem().retry_after_s(wait_s);
        // What of the body has not come would have to be waited for.
        Some(answer::problem(&problem, !body.is_end_stream()))
    } else if let Err(refusal) = fields::admit(&mut head, &client.origin, rand::random) {
        Some(answer::problem(&refusal.kind().detail(refusal.detail()), true))
    } else {
        None
    };
    if let Some(answer) = unasked {
        return own_answer(&client, answer, record, Upload::new(body, &client.watch, 0));
    }
    record.identify(&head.headers);
    record.trace(&mut head, &client);
    let has_key = head.headers.contains_key(IDEMPOTENCY_KEY);
    let remembered = if has_key { shared.config.replay_bytes } else { 0 };
    let upload = Upload::new(body, &client.watch, remembered);
    let is_repeatable = retry::is_repeatable(&head.method, has_key);
    let is_upgrade = head.headers.contains_key(UPGRADE);
    let waits = is_upgrade || fields::asks_to_wait(&head.headers);
    let pending = Pending { head: Some(head), upload: upload.clone(), is_repeatable, waits, is_upgrade };
    forward(&client, pending, record, upload).await
}

fn within_rate(client: &Client, head: &request::Parts, record: &Record) -> Result<(), u64> {
    let shared = &client.event_loop.shared;
    let Some(limit) = &shared.rate_limit else { return Ok(()) };
    let taken = limit.take(&head.headers, client.address, record.since(shared.started));
    if taken.is_err() {
        shared.counts.rate_limited.fetch_add(1, Relaxed);
    }
    taken
}

fn too_many_connections(kind: Kind) -> Problem {
    kind.detail("There are too many connections from this address; use those that are open, or try again later.")
}

/// Makes attempts until one is answered or no more may be made.
async fn forward(
    client: &Rc<Client>,
    mut pending: Pending,
    mut record: Record,
    upload: Upload,
) -> Response<AnswerBody> {
    let shared = &client.event_loop.shared;
    let pools = client.event_loop.pools();
    let draw = Draw { turn: shared.next_turn(), random: rand::random() };
    let now = record.since(shared.started);
    let mut tried = Vec::new();
    let mut last = Failure::Connect;
    loop {
        let seeker = Seeker { draw, now, waits: pending.waits, tried: &tried };
        let in_flight = match enter(shared, &pools, &seeker).await {
            Ok(in_flight) => in_flight,
            Err(Some(failure)) => {
                last = failure;
                record.turned_away(last);
                break;
            }
            Err(None) => break,
        };
        let mut fresh = false;
        let next = loop {
            record.attempt(in_flight.pool());
            match pending.attempt(client, in_flight.pool(), fresh, &mut record).await {
                Ok(Answered::Plain(response, upstream)) => {
                    return pass_on(client, response, upstream, in_flight, record, upload);
                }
                Ok(Answered::Switched(response, switched)) => {
                    return begin_tunnel(client, response, Tunnel { switched, in_flight, record });
                }
                Err(failure) => last = failure,
            }
            record.failed(last);
            match retry::next(last, pending.is_repeatable, pending.upload.is_whole()) {
                Next::FreshConnection => fresh = true,
                next => break next,
            }
        };
        tried.push(in_flight.place());
        let is_over = next == Next::GiveUp || tried.len() == pools.count();
        if is_over || (last.is_of_an_asked_one() && !shared.budget.take()) {
            break;
        }
    }
    let is_cut = !upload.is_finished();
    own_answer(client, answer::problem(&apology(last), is_cut), record, upload)
}

/// A backend that takes the request up, as soon as one has room. `Err`: why there is none, unless all have failed it.
async fn enter(shared: &Shared, pools: &Pools, seeker: &Seeker<'_>) -> Result<InFlight, Option<Failure>> {
    // Whoever waits already is first.
    if shared.room.waiting() == 0 || seeker.waits {
        match pools.enter(seeker, shared) {
            Ok(in_flight) => return Ok(in_flight),
            Err(false) => return Err(None),
            Err(true) => {}
        }
    }
    let Some(place) = shared.room.queue(shared.config.backend_queue_max) else { return Err(Some(Failure::NoRoom)) };
    let entered = place.until(|| match pools.enter(seeker, shared) {
        Ok(in_flight) => Some(Ok(in_flight)),
        Err(true) => None,
        Err(false) => Some(Err(None)),
    });
    let limit = Duration::from_millis(shared.config.backend_queue_ms);
    tokio::time::timeout(limit, entered).await.unwrap_or(Err(Some(Failure::NoRoom)))
}

impl Pending {
    async fn attempt(
        &mut self,
        client: &Client,
        pool: &Pool,
        fresh: bool,
        record: &mut Record,
    ) -> Result<Answered, Failure> {
        let connected = self.connection(client, pool, fresh).await;
        record.passed_phase(Phase::Connect);
        let mut upstream = connected?;
        let Some(head) = self.head.take() else { return Err(Failure::Abandoned) };
        if self.is_repeatable {
            self.head = Some(copy(&head));
        }
        client.watch.expect_answer();
        self.upload.rewind();
        let expired = || {
            let failure = if self.upload.is_starved() { Failure::Stalled } else { Failure::Overdue };
            client.watch.is_overdue().then_some(failure)
        };
        let request = Request::from_parts(head, self.upload.clone());
        match upstream.exchange(request, &self.upload, expired).await {
            Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let agreed = self.is_upgrade.then(|| fields::switched(response.headers_mut())).flatten();
                let switched = agreed.and_then(|()| upstream.into_switched()).ok_or(Failure::Garbled)?;
                Ok(Answered::Switched(response, switched))
            }
            Ok(mut response) => match fields::pass_on(response.headers_mut()) {
                Ok(()) => Ok(Answered::Plain(response, upstream)),
                Err(_) => Err(Failure::Garbled),
            },
            Err(Lost { failure, request }) => {
                self.head = request.map(|request| request.into_parts().0).or(self.head.take());
                Err(failure)
            }
        }
    }

    /// A kept connection, else a new one.
    async fn connection(&self, client: &Client, pool: &Pool, fresh: bool) -> Result<Upstream, Failure> {
        if !fresh {
            if !self.is_repeatable {
                // Lets the loop hear of connections closed meanwhile: this request cannot be sent twice.
                tokio::task::yield_now().await;
            }
            if let Some(kept) = pool.take(client.event_loop.clock.now_ms()) {
                return Ok(kept);
            }
        }
        pool.backend.counts.connects.fetch_add(1, Relaxed);
        let limit = Duration::from_millis(client.event_loop.shared.config.backend_connect_ms);
        Upstream::connect(pool.backend.address, limit).await.map_err(|error| {
            tracing::debug!(%error, backend = pool.backend.name, "no connection");
            Failure::Connect
        })
    }
}

fn copy(head: &request::Parts) -> request::Parts {
    let mut copied = Request::new(()).into_parts().0;
    copied.method = head.method.clone();
    copied.uri = head.uri.clone();
    copied.headers = head.headers.clone();
    copied
}

fn pass_on(
    client: &Client,
    response: Response<Incoming>,
    upstream: Upstream,
    in_flight: InFlight,
    mut record: Record,
    upload: Upload,
) -> Response<AnswerBody> {
    let (mut head, incoming) = response.into_parts();
    record.answered(head.status, !in_flight.waits());
    client.watch.answering();
    head.version = http::Version::HTTP_11;
    let download = Download { incoming, upstream, in_flight, clock: Rc::clone(&client.event_loop.clock) };
    Response::from_parts(head, AnswerBody::streamed(download, record, &client.watch, upload))
}

/// The client is told that the other protocol begins; the tunnel follows once that is written.
fn begin_tunnel(client: &Client, response: Response<Incoming>, mut tunnel: Tunnel) -> Response<AnswerBody> {
    tunnel.record.answered(response.status(), false);
    client.watch.answering();
    client.tunnel.set(Some(tunnel));
    response.map(|_| AnswerBody::none(&client.watch))
}

fn own_answer(client: &Client, answer: Response<Bytes>, mut record: Record, upload: Upload) -> Response<AnswerBody> {
    record.refused(answer.status());
    client.watch.answering();
    answer.map(|content| AnswerBody::whole(content, record, &client.watch, upload))
}

/// What the client is told when no backend's answer can be.
fn apology(failure: Failure) -> Problem {
    match failure {
        Failure::Connect | Failure::NoRoom => Kind::Unavailable.problem(),
        Failure::Stale | Failure::Unanswered { .. } | Failure::Garbled => Kind::BadGateway.problem(),
        Failure::Overdue => Kind::GatewayTimeout.problem(),
        Failure::Stalled => Kind::RequestTimeout.problem(),
        Failure::Abandoned => Kind::BadRequest.problem(),
    }
}
