//! `POST /pull`: jobs for a worker that asks for them, held until there is one.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use chassis::clock::now_ms;
use chassis::http::{Json, Query, Rejection};
use protocol::ids::Position;
use protocol::problem::Kind;
use protocol::store_api::{Answer, Command, Pull, Pulled, PulledJob, Reply};
use protocol::tenant::Tenant;
use serde::Deserialize;
use tokio::time::Instant;

use super::Service;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PullQuery {
    #[serde(default)]
    wait_ms: u64,
}

pub(super) async fn pull(
    State(service): State<Service>,
    Query(query): Query<PullQuery>,
    Json(pull): Json<Pull>,
) -> Result<Response, Rejection> {
    let came_ms = now_ms();
    let deadline = Instant::now() + service.wait(query.wait_ms)?;
    let _place = service.inner.pulls.try_acquire().map_err(|_| Kind::Unavailable)?;
    let ticket = service.inner.hub.pull_desk.queue_up(&pull);
    loop {
        let waited_ms = now_ms().saturating_sub(came_ms);
        ticket.look();
        let (position, jobs) = take(&service, pull.clone()).await?;
        if !jobs.is_empty() || deadline <= Instant::now() {
            return Ok(service.at(position, Json(Pulled { waited_ms, jobs })));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let woken = tokio::time::timeout(left.max(Duration::from_millis(1)), ticket.woken());
        tokio::select! {
            woken = woken => if woken.is_err() { return Ok(service.at(position, Json(Pulled { waited_ms, jobs }))) },
            () = service.inner.shutdown.draining() => return Ok(service.at(position, Json(Pulled { waited_ms, jobs }))),
        }
    }
}

async fn take(service: &Service, pull: Pull) -> Result<(Position, Vec<PulledJob>), Rejection> {
    let mut written = service.inner.writer.apply(Tenant::default(), vec![Command::Pull(pull)]).await?;
    match written.answers.pop() {
        Some(Answer::Ok(reply)) => match *reply {
            Reply::Pulled { jobs } => Ok((written.position, jobs)),
            other => Err(anyhow::anyhow!("a pull was answered {}", other.name()).into()),
        },
        Some(Answer::Error(problem)) => Err(Rejection(problem)),
        None => Err(anyhow::anyhow!("a pull was not answered").into()),
    }
}
