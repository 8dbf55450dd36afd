//! `POST /apply`: commands, applied in one commit with those of others.

use axum::extract::State;
use axum::response::Response;
use chassis::http::{Json, Rejection};
use protocol::problem::Problem;
use protocol::store_api::{Answer, Applied, Apply, ITEMS_MAX, Reply};

use super::Service;
use super::tenants::For;
use super::traced::Commits;

pub(super) async fn apply(
    State(service): State<Service>,
    For(tenant): For,
    Json(apply): Json<Apply>,
) -> Result<Response, Rejection> {
    if apply.items.len() > ITEMS_MAX {
        return Err(Problem::invalid("/items", format!("at most {ITEMS_MAX} items")).into());
    }
    let commits = Commits::begin(&apply.items);
    let written = service.inner.writer.apply(tenant, apply.items).await;
    match (commits, &written) {
        (Some(commits), Ok(written)) => commits.written(&written.answers),
        (Some(commits), Err(_)) => commits.lost(),
        (None, _) => {}
    }
    let written = written?;
    let items = written.answers.into_iter().map(|answer| seen(&service, answer)).collect();
    let applied = Applied { incarnation: service.inner.incarnation, position: written.position, items };
    Ok(service.at(written.position, Json(applied)))
}

fn seen(service: &Service, answer: Answer) -> Answer {
    let Answer::Ok(reply) = answer else { return answer };
    let reply = match *reply {
        Reply::Cancelled { cancelled, job } => Reply::Cancelled { cancelled, job: Box::new(service.seen(*job)) },
        Reply::Retried { job: Some(job) } => Reply::Retried { job: Some(Box::new(service.seen(*job))) },
        other => other,
    };
    Answer::Ok(Box::new(reply))
}
