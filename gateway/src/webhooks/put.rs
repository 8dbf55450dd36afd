//! `PUT /webhooks/{name}`: an operator says who is told of which ends of jobs.

use axum::response::{IntoResponse, Response};
use chassis::http::{Json, Path, Rejection};
use chassis::outbound::Target;
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION};
use protocol::key::{QueueName, WebhookName};
use protocol::problem::{FieldError, Problem};
use protocol::store_api::{Command, Reply};
use protocol::webhook::{
    EventType, Filter, PutWebhook, QUEUES_MAX, Secret, TASKS_MAX, Webhook, WebhookCommand, WebhookReply, WebhookView,
};

use crate::jobs::control::unexpected;
use crate::openapi::WEBHOOKS;
use crate::openapi::problems::{Any, OfJson, OfPut};
use crate::state::Gateway;

/// 201 with a new one and, unless the request said it, its secret, which is shown this once; 200 with the one that took the place of another.
#[utoipa::path(
    put, path = "/webhooks/{name}", tag = WEBHOOKS, operation_id = "putWebhook",
    summary = "Create a webhook, or put it in the place of what has its name",
    description = "Its secret is shown once, in the answer that creates it.",
    params(("name" = WebhookName, Path, description = "What it is called.", example = "billing")),
    request_body(content = PutWebhook, example = json!({
        "url": "https://billing.example/longshore", "events": ["job.succeeded", "job.failed"], "tasks": ["invoice_*"],
    })),
    responses(
        (status = 201, description = "It is new.", body = WebhookView, headers(("Location"), ("Cache-Control"))),
        (status = 200, description = "It took the place of another.", body = WebhookView, headers(("Location"), ("Cache-Control"))),
        Any, OfJson, OfPut,
    ),
)]
pub(crate) async fn put(
    gateway: Gateway,
    Path(name): Path<String>,
    Json(asked): Json<PutWebhook>,
) -> Result<Response, Rejection> {
    let name = WebhookName::try_from(name).map_err(|error| Problem::invalid("/name", error.to_string()))?;
    let webhook = checked(name, asked, &gateway.queues)?;
    let command = Command::Webhook(WebhookCommand::Put(Box::new(webhook)));
    // Sent twice, it would not show the secret that it has made.
    match gateway.store.apply(command).await? {
        Reply::Webhook(WebhookReply::Webhook { created, webhook }) => {
            tracing::info!(webhook = %webhook.name, created, "a webhook was put");
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let headers = [(LOCATION, format!("/webhooks/{}", webhook.name)), (CACHE_CONTROL, "no-store".to_owned())];
            Ok((status, headers, Json(*webhook)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

fn checked(name: WebhookName, asked: PutWebhook, queues: &[QueueName]) -> Result<Webhook, Problem> {
    let PutWebhook { url, mut events, tasks, queues: named, secret } = asked;
    let mut errors = Vec::new();
    if let Err(accepted) = url.parse::<Target>() {
        errors.push(FieldError::new("/url", format!("must be {accepted}")));
    }
    for (index, queue) in named.iter().enumerate().filter(|(_, queue)| !queues.contains(queue)) {
        let known: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
        let detail = format!("there is no queue `{queue}`; the queues are {}", known.join(", "));
        errors.push(FieldError::new(format!("/queues/{index}"), detail));
    }
    let lists = [
        ("/events", events.len(), EventType::ALL.len()),
        ("/tasks", tasks.len(), TASKS_MAX),
        ("/queues", named.len(), QUEUES_MAX),
    ];
    for (pointer, count, max) in lists {
        if count > max {
            errors.push(FieldError::new(pointer, format!("has {count} items, but may have at most {max}")));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    events.sort_unstable();
    events.dedup();
    Ok(Webhook { name, url, filter: Filter { events, tasks, queues: named }, secret, made: made() })
}

/// A secret that nobody can guess.
pub(super) fn made() -> Secret {
    Secret::of(rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused, by its pointers.
    fn refused(body: &str) -> Vec<String> {
        let pointers = |problem: Problem| problem.errors.into_iter().map(|error| error.pointer).collect();
        let asked = match Json::<PutWebhook>::from_bytes(body.as_bytes()) {
            Ok(asked) => asked,
            Err(problem) => return pointers(problem),
        };
        let queues = ["default", "reports"].map(|queue| QueueName::try_from(queue).expect("a queue"));
        let name = WebhookName::try_from("billing").expect("a name");
        checked(name, asked, &queues).err().map(pointers).unwrap_or_default()
    }

    #[test]
    fn each_fault_is_named() {
        let check = |body: &str, expected: &[&str]| assert_eq!(refused(body), expected, "{body}");
        check(r#"{"url":"https://a.example/hook"}"#, &[]);
        check(
            r#"{"url":"http://a:8080","events":["job.failed"],"tasks":["a","b*"],"queues":["reports"],
                "secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#,
            &[],
        );
        check(r#"{}"#, &["/url"]);
        check(r#"{"url":"a.example","queues":["default","c"]}"#, &["/url", "/queues/1"]);
        check(r#"{"url":"https://a/","events":["job.started"]}"#, &["/events/0"]);
        let events = ["\"job.failed\""; 4].join(",");
        check(&format!(r#"{{"url":"https://a/","events":[{events}]}}"#), &["/events"]);
        check(r#"{"url":"https://a/","tasks":["a b"]}"#, &["/tasks/0"]);
        check(r#"{"url":"https://a/","secret":"short"}"#, &["/secret"]);
        check(r#"{"url":"https://a/","name":"x"}"#, &["/name"]);
        let tasks = vec!["\"a\""; TASKS_MAX + 1].join(",");
        check(&format!(r#"{{"url":"https://a/","tasks":[{tasks}]}}"#), &["/tasks"]);
    }
}
