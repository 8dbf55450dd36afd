//! One request: to a backend, to the next one if that does no harm, and the answer back.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, request};
use hyper::body::Incoming;
use protocol::problem::{Kind, Problem};

use crate::answer::{self, AnswerBody, Download};
use crate::connection::Client;
use crate::fields::{self, IDEMPOTENCY_KEY};
use crate::own;
use crate::pool::{InFlight, Pool};
use crate::record::Record;
use crate::retry::{self, Failure, Next};
use crate::upload::Upload;
use crate::upstream::{Lost, Upstream};

/// A request until it is answered. The head is copied for an attempt only if it may have to be sent again.
struct Pending {
    head: Option<request::Parts>,
    upload: Upload,
    is_repeatable: bool,
}

pub(crate) async fn answer(client: Rc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    client.watch.begin();
    let shared = &client.event_loop.shared;
    let (mut head, body) = request.into_parts();
    let mut record = Record::new(&client.event_loop, &head);
    if client.is_refused {
        let upload = Upload::new(body, &client.watch, 0);
        return own_answer(&client, answer::problem(&Kind::TooManyConnections.problem(), true), record, upload);
    }
    if let Some(answer) = own::answer(shared, &head) {
        return own_answer(&client, answer, record, Upload::new(body, &client.watch, 0));
    }
    if let Err(refusal) = fields::admit(&mut head, &client.origin, rand::random) {
        let problem = refusal.kind().detail(refusal.detail());
        return own_answer(&client, answer::problem(&problem, true), record, Upload::new(body, &client.watch, 0));
    }
    record.identify(&head.headers);
    let has_key = head.headers.contains_key(IDEMPOTENCY_KEY);
    let remembered = if has_key { shared.config.replay_bytes } else { 0 };
    let upload = Upload::new(body, &client.watch, remembered);
    let is_repeatable = retry::is_repeatable(&head.method, has_key);
    let pending = Pending { head: Some(head), upload: upload.clone(), is_repeatable };
    forward(&client, pending, record, upload).await
}

/// Makes attempts until one is answered or no more may be made.
async fn forward(
    client: &Rc<Client>,
    mut pending: Pending,
    mut record: Record,
    upload: Upload,
) -> Response<AnswerBody> {
    let event_loop = &client.event_loop;
    let pools = event_loop.pools();
    let turn = event_loop.shared.next_turn();
    let (mut attempt, mut fresh) = (0, false);
    let mut last = Failure::Connect;
    while let Some(pool) = pools.pick(turn, attempt) {
        let in_flight = InFlight::enter(pool);
        record.attempt(pool);
        match pending.attempt(client, pool, fresh).await {
            Ok((response, upstream)) => return pass_on(client, response, upstream, in_flight, record, upload),
            Err(failure) => last = failure,
        }
        record.failed(last);
        match retry::next(last, pending.is_repeatable, pending.upload.is_whole()) {
            Next::FreshConnection => fresh = true,
            Next::OtherBackend => (attempt, fresh) = (attempt + 1, false),
            Next::GiveUp => break,
        }
    }
    let is_cut = !upload.is_finished();
    own_answer(client, answer::problem(&apology(last), is_cut), record, upload)
}

impl Pending {
    async fn attempt(
        &mut self,
        client: &Client,
        pool: &Pool,
        fresh: bool,
    ) -> Result<(Response<Incoming>, Upstream), Failure> {
        let mut upstream = self.connection(client, pool, fresh).await?;
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
            // Nobody asked for another protocol.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => Err(Failure::Garbled),
            Ok(mut response) => match fields::pass_on(response.headers_mut()) {
                Ok(()) => Ok((response, upstream)),
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
    record.answered(head.status);
    client.watch.answering();
    head.version = http::Version::HTTP_11;
    let download = Download { incoming, upstream, in_flight, clock: Rc::clone(&client.event_loop.clock) };
    Response::from_parts(head, AnswerBody::streamed(download, record, &client.watch, upload))
}

fn own_answer(client: &Client, answer: Response<Bytes>, mut record: Record, upload: Upload) -> Response<AnswerBody> {
    record.refused(answer.status());
    client.watch.answering();
    answer.map(|content| AnswerBody::whole(content, record, &client.watch, upload))
}

/// What the client is told when no backend's answer can be.
fn apology(failure: Failure) -> Problem {
    match failure {
        Failure::Connect => Kind::Unavailable.problem(),
        Failure::Stale | Failure::Unanswered { .. } | Failure::Garbled => Kind::BadGateway.problem(),
        Failure::Overdue => Kind::GatewayTimeout.problem(),
        Failure::Stalled => Kind::RequestTimeout.problem(),
        Failure::Abandoned => Kind::BadRequest.problem(),
    }
}
