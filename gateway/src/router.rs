//! The routes of the public HTTP API. What is not here is not promised: it answers 404.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};

use crate::access::guard::guard;
use crate::access::manage;
use crate::admission::{Room, admit};
use crate::console;
use crate::data::{inspect, read, write};
use crate::jobs::{batch, control, events, list, retry_many, status, submit};
use crate::leases;
use crate::openapi;
use crate::queues;
use crate::schedules;
use crate::state::Edge;
use crate::tenants;
use crate::webhooks;

pub(crate) fn router(edge: Edge, room: Room) -> Router {
    let guarded = from_fn_with_state(edge.access(), guard);
    // Around the handlers that read a body, and no others: a read pays for nothing that it does not need.
    let admitted = from_fn_with_state(room, admit);
    Router::new()
        .route("/longtask", post(submit::post).layer(admitted.clone()))
        .route("/jobs", get(list::jobs))
        .route("/jobs:batch", post(batch::post).layer(admitted.clone()))
        .route("/jobs:retry", get(retry_many::list).merge(post(retry_many::post).layer(admitted.clone())))
        .route("/jobs:retry/{id}", delete(retry_many::stop))
        .route("/jobs/{id}", get(status::job).merge(put(submit::put).layer(admitted.clone())).delete(control::purge))
        .route("/jobs/{id}/events", get(events::events))
        .route("/jobs/{id}/result", get(status::result))
        .route("/jobs/{id}/payload", get(status::payload))
        .route("/jobs/{id}/logs", get(status::logs))
        .route("/jobs/{id}/explain", get(status::explain))
        .route("/jobs/{id}/cancel", post(control::cancel))
        .route("/jobs/{id}/retry", post(control::retry))
        .route("/leases", post(leases::take).layer(admitted.clone()))
        .route("/leases/{id}/heartbeat", post(leases::heartbeat).layer(admitted.clone()))
        .route("/leases/{id}/complete", post(leases::complete).layer(admitted.clone()))
        .route("/leases/{id}/fail", post(leases::fail).layer(admitted.clone()))
        .route("/leases/{id}/release", post(leases::release))
        .route("/queues", get(queues::list))
        .route("/queues/{queue}/pause", post(queues::pause))
        .route("/queues/{queue}/resume", post(queues::resume))
        .route("/schedules", get(schedules::list::list))
        .route(
            "/schedules/{name}",
            get(schedules::list::one)
                .merge(put(schedules::put::put).layer(admitted.clone()))
                .delete(schedules::control::delete),
        )
        .route("/schedules/{name}/pause", post(schedules::control::pause))
        .route("/schedules/{name}/resume", post(schedules::control::resume))
        .route("/schedules/{name}/run", post(schedules::control::run))
        .route("/webhooks", get(webhooks::list::list))
        .route(
            "/webhooks/{name}",
            get(webhooks::list::one)
                .merge(put(webhooks::put::put).layer(admitted.clone()))
                .delete(webhooks::control::delete),
        )
        .route("/webhooks/{name}/enable", post(webhooks::control::enable))
        .route("/webhooks/{name}/disable", post(webhooks::control::disable))
        .route("/webhooks/{name}/rotate", post(webhooks::control::rotate).layer(admitted.clone()))
        .route("/webhooks/{name}/resend", post(webhooks::deliveries::resend_many).layer(admitted.clone()))
        .route("/webhooks/{name}/deliveries", get(webhooks::deliveries::list))
        .route("/webhooks/{name}/deliveries/{id}/resend", post(webhooks::deliveries::resend))
        .route("/workers", get(list::workers))
        .route("/tenants", get(tenants::list))
        .route("/tenants/{tenant}", put(tenants::put).layer(admitted.clone()))
        .route("/data", get(read::default_key))
        .route("/data/{key}", get(read::key).merge(put(write::put).layer(admitted.clone())).delete(write::delete))
        .route("/bytes/{key}", get(read::bytes).merge(put(write::put_bytes).layer(admitted.clone())))
        .route("/cache/debug/{key}", get(inspect::debug))
        .route("/cache/{key}", delete(write::invalidate_key))
        .route("/cache:invalidate", post(write::invalidate_many).layer(admitted.clone()))
        .route("/keys", get(manage::list).merge(post(manage::create).layer(admitted.clone())))
        .route("/keys/{id}", get(manage::one).delete(manage::revoke))
        .route("/keys/{id}/rotate", post(manage::rotate).layer(admitted.clone()))
        .route("/keys/{id}/limits", put(manage::limit).layer(admitted))
        .route("/audit", get(manage::audit))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page::page))
        .route("/docs/{file}", get(openapi::page::file))
        .merge(console::routes())
        .route_layer(guarded)
        .with_state(edge)
}
