//! `GET /queues`: what is in the rows, and what this process has counted.

use axum::extract::State;
use axum::response::Response;
use chassis::http::Rejection;
use protocol::dispatch::window;
use protocol::queue::Queues;

use super::Service;
use crate::storage::At;

pub(super) async fn list(State(service): State<Service>) -> Result<Response, Rejection> {
    let settings = service.inner.settings.clone();
    let found = service.inner.readers.read(move |reader| reader.queues(&settings.queues)).await?;
    let now_ms = chassis::clock::now_ms();
    let mut queues = found.read;
    for queue in &mut queues {
        queue.last_minute = service.inner.hub.flows.last_minute(&queue.queue, now_ms);
        queue.window = window(service.inner.settings.window, queue.slots);
    }
    Ok(service.read(At { position: found.position, read: Queues { queues } }))
}
