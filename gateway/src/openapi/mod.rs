//! The description of the HTTP API, OpenAPI 3.1, made of what is written beside the handlers and the types; and a page to read and try it.

pub(crate) mod headers;
pub(crate) mod page;
pub(crate) mod problems;
mod secured;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::response::Response;
use http::HeaderMap;
use utoipa::OpenApi;

use crate::access::manage;
use crate::data::{inspect, read, write};
use crate::embedded::Embedded;
use crate::jobs::{batch, control, events, list, retry_many, status, submit};
use crate::leases::{end, take};
use crate::queues;
use crate::schedules;
use crate::tenants;
use crate::webhooks;
use headers::IfNoneMatch;
use problems::Any;
use secured::Secured;
use shared::Shared;

/// The tags of operations, in the order in which they are shown.
pub(crate) const JOBS: &str = "Jobs";
pub(crate) const QUEUES: &str = "Queues and workers";
pub(crate) const TENANTS: &str = "Tenants";
pub(crate) const SCHEDULES: &str = "Schedules";
pub(crate) const WEBHOOKS: &str = "Webhooks";
pub(crate) const LEASES: &str = "Leases";
pub(crate) const DATA: &str = "Data";
pub(crate) const CACHES: &str = "Caches";
pub(crate) const ACCESS: &str = "Keys and audit";
pub(crate) const DESCRIPTION: &str = "Description";

#[derive(OpenApi)]
#[openapi(
    info(title = "Longshore", description = include_str!("about.md")),
    servers((url = "/")),
    tags(
        (name = JOBS, description = "Long work: submit it, look at it, wait for its end, stop it."),
        (name = QUEUES, description = "What waits, and who works."),
        (name = TENANTS, description = "Whose jobs there are, and what each may have."),
        (name = SCHEDULES, description = "Jobs that are made again and again, at times that a cron expression names in a time zone."),
        (name = WEBHOOKS, description = "Who is told, by a signed POST, that a job has ended."),
        (name = LEASES, description = "Workers over HTTP: take jobs, keep them, and say how they ended."),
        (name = DATA, description = "Hot data, read from caches that give no stale answer once a write is acknowledged."),
        (name = CACHES, description = "For data that was changed elsewhere."),
        (name = ACCESS, description = "Who may call, and what operators did. Without authentication everybody may do everything."),
        (name = DESCRIPTION, description = "What you are reading."),
    ),
    paths(
        submit::post, batch::post, list::jobs, status::job, submit::put, control::purge, events::events, status::result,
        status::payload, status::logs, status::explain, control::cancel, control::retry, retry_many::post, retry_many::list,
        retry_many::stop, queues::list, queues::pause, queues::resume, tenants::list, tenants::put,
        schedules::list::list, schedules::list::one, schedules::put::put, schedules::control::delete, schedules::control::pause,
        schedules::control::resume, schedules::control::run, webhooks::list::list, webhooks::list::one, webhooks::put::put,
        webhooks::control::delete, webhooks::control::enable, webhooks::control::disable, webhooks::control::rotate,
        webhooks::deliveries::list, webhooks::deliveries::resend, webhooks::deliveries::resend_many, list::workers, take::take, end::heartbeat,
        end::complete, end::fail, end::release, read::default_key, read::key, write::put, write::delete, read::bytes,
        write::put_bytes, write::invalidate_key, write::invalidate_many, inspect::debug, manage::list,
        manage::create, manage::one, manage::rotate, manage::limit, manage::revoke, manage::audit, document, page::page,
        page::file,
    ),
    components(schemas(protocol::problem::Problem, protocol::webhook::Event)),
    modifiers(&Secured, &Shared),
)]
struct Document;

/// Made once.
static JSON: LazyLock<Embedded> = LazyLock::new(|| {
    let text = Document::openapi().to_json().expect("the document is plain data");
    Embedded::new("openapi.json", "application/json", text)
});

/// `GET /openapi.json`
#[utoipa::path(
    get, path = "/openapi.json", tag = DESCRIPTION, operation_id = "getDescription",
    summary = "This document",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json", headers(("ETag"), ("Cache-Control"))),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"))),
        Any,
    ),
)]
pub(crate) async fn document(headers: HeaderMap) -> Response {
    JSON.answer(&headers)
}
