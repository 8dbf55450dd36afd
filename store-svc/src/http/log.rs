//! `GET /log` and `GET /fenced`: what has happened since a position, and how far it is fenced, by long-poll.

use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chassis::http::{Json, Query, Rejection};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use protocol::ids::{Epoch, InstanceId, Position};
use protocol::problem::{Kind, Problem};
use protocol::store_api::FencedThrough;
use serde::Deserialize;
use tokio::sync::watch;

use super::Service;
use crate::storage::{LogKinds, LogRead, SequencerRenewal};

const ENTRIES_DEFAULT: u32 = 1_000;
const ENTRIES_MAX: u32 = 10_000;
/// After something happened, what follows within this time is answered with it: a burst costs each follower one answer, not one
/// per commit.
const GATHER: Duration = Duration::from_millis(2);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    #[serde(default)]
    after: Position,
    #[serde(default)]
    wait_ms: u64,
    kinds: Option<String>,
    limit: Option<u32>,
    instance: Option<InstanceId>,
    epoch: Option<Epoch>,
}

pub(super) async fn log(State(service): State<Service>, Query(query): Query<LogQuery>) -> Result<Response, Rejection> {
    let kinds = kinds(query.kinds.as_deref())?;
    let limit = query.limit.unwrap_or(ENTRIES_DEFAULT);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        return Err(Problem::invalid("/limit", format!("must be from 1 to {ENTRIES_MAX}")).into());
    }
    let wait = service.wait(query.wait_ms)?;
    let renewed = match (query.instance, query.epoch) {
        (Some(instance), Some(epoch)) => {
            let renewal = SequencerRenewal { instance, epoch };
            Some(service.inner.writer.step(move |transitions| transitions.renew_sequencer(renewal)).await?)
        }
        _ => None,
    };
    let is_lost =
        query.after > *service.inner.hub.head.borrow() && is_beyond_head(&service, query.after, kinds).await?;
    let head = if kinds.jobs { &service.inner.hub.head } else { &service.inner.hub.invalidation };
    let mut head = head.subscribe();
    if !wait.is_zero() && !is_lost && *head.borrow_and_update() <= query.after {
        let news = head.wait_for(|head| *head > query.after);
        let came = service.wait_for(wait, async { drop(news.await) }).await?;
        if came.is_some() && kinds.jobs {
            tokio::time::sleep(GATHER).await;
        }
    }
    let page = service.inner.readers.read(move |reader| reader.log(query.after, kinds, limit)).await?;
    match page.read {
        LogRead::Trimmed => {
            let head = page.position.0;
            Ok(service.at(page.position, Rejection::from(Kind::LogTrimmed.problem().with("head", head))))
        }
        LogRead::Page { entries, through, fenced_through } => {
            let through = through.unwrap_or(page.position);
            let body = render(&service, through, fenced_through, &entries, renewed);
            let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            Ok(service.at(page.position, (json, body).into_response()))
        }
    }
}

/// Nothing that comes would lead on from there. What we have not heard of yet, another store may have written.
async fn is_beyond_head(service: &Service, after: Position, kinds: LogKinds) -> Result<bool, Rejection> {
    let page = service.inner.readers.read(move |reader| reader.log(after, kinds, 1)).await?;
    Ok(matches!(page.read, LogRead::Trimmed))
}

/// A `LogPage`, from entries that are JSON already.
fn render(
    service: &Service,
    through: Position,
    fenced_through: Position,
    entries: &[(Position, String)],
    renewed: Option<bool>,
) -> String {
    let size: usize = entries.iter().map(|(_, change)| change.len() + 40).sum();
    let mut body = String::with_capacity(size + 200);
    let incarnation = service.inner.incarnation;
    let mut write = || {
        write!(
            body,
            r#"{{"incarnation":"{incarnation}","position":{through},"fenced_through":{fenced_through},"entries":["#
        )?;
        for (index, (position, change)) in entries.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(body, r#"{comma}{{"position":{position},"change":{change}}}"#)?;
        }
        body.write_str("]")?;
        if let Some(renewed) = renewed {
            write!(body, r#","renewed":{renewed}"#)?;
        }
        body.write_str("}")
    };
    write().expect("writing to a String cannot fail");
    body
}

fn kinds(stated: Option<&str>) -> Result<LogKinds, Problem> {
    let Some(stated) = stated else { return Ok(LogKinds { jobs: true, invalidations: true }) };
    let mut kinds = LogKinds { jobs: false, invalidations: false };
    for kind in stated.split(',') {
        match kind {
            "job" => kinds.jobs = true,
            "invalidation" => kinds.invalidations = true,
            _ => return Err(Problem::invalid("/kinds", "must be job, invalidation, or both with a comma")),
        }
    }
    Ok(kinds)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FencedQuery {
    through: Position,
    #[serde(default)]
    wait_ms: u64,
}

pub(super) async fn fenced(
    State(service): State<Service>,
    Query(query): Query<FencedQuery>,
) -> Result<Response, Rejection> {
    let wait = service.wait(query.wait_ms)?;
    let hub = &service.inner.hub;
    let mut fenced: watch::Receiver<Position> = hub.fenced_through.subscribe();
    if !wait.is_zero() && *fenced.borrow_and_update() < query.through {
        let news = fenced.wait_for(|fenced| *fenced >= query.through);
        service.wait_for(wait, async { drop(news.await) }).await?;
    }
    let fenced_through = *hub.fenced_through.borrow();
    Ok(service.at(*hub.head.borrow(), Json(FencedThrough { fenced_through })))
}
