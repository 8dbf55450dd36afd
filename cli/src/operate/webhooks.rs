//! `longshore webhooks`: who is told of the ends of jobs, and what became of it.

use std::process::ExitCode;

use anyhow::Context;
use chassis::config::Source;
use clap::{Args, Subcommand, ValueEnum};
use http::{Method, StatusCode};
use protocol::ids::DeliveryId;
use protocol::key::{QueueName, TaskPattern, WebhookName};
use protocol::time::Timestamp;
use protocol::webhook::{
    DeliveryPage, DeliveryStatus, DeliveryView, EventType, LastAttempt, PutWebhook, ResendMany, Resent, Rotate, Secret,
    WebhookPage, WebhookView,
};

use super::named::{All, Name, One, Show};
use crate::arguments::name;
use crate::client::input::{bad, bytes};
use crate::client::{get, post, request};
use crate::output::table::{Kind, Table};
use crate::{durations, output};

const NONE: &str = "There are none: put one with `longshore webhooks put billing https://billing.example/longshore`.";
const COLUMNS: [(&str, Kind); 5] = [
    ("WEBHOOK", Kind::Long),
    ("URL", Kind::Long),
    ("EVENTS", Kind::Long),
    ("PENDING", Kind::Number),
    ("STATE", Kind::Long),
];
const DELIVERY_COLUMNS: [(&str, Kind); 6] = [
    ("DELIVERY", Kind::Text),
    ("EVENT", Kind::Text),
    ("JOB", Kind::Text),
    ("STATUS", Kind::Text),
    ("ATTEMPTS", Kind::Number),
    ("LAST", Kind::Long),
];

impl Name for WebhookName {
    const PATH: &'static str = "/webhooks";
}

#[derive(Debug, Args)]
pub(crate) struct Webhooks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them by name
    List(All),
    /// Show one
    Show(Show<WebhookName>),
    /// Create one and print its secret, or put it in the place of what has its name
    Put(Box<Put>),
    /// Delete one, and what was still to be sent to it
    Delete(One<WebhookName>),
    /// Send nothing to one, and note nothing new for it
    Disable(One<WebhookName>),
    /// Go on with one that is disabled
    Enable(One<WebhookName>),
    /// Give one a new secret and print it; for a while the former one signs as well
    Rotate(Turn),
    /// List the events of one and what became of them, newest first
    Deliveries(Deliveries),
    /// Send an event again, or many
    Resend(Resend),
}

#[derive(Debug, Args)]
struct Put {
    #[command(flatten)]
    one: One<WebhookName>,
    /// Where events are sent, https://…
    #[arg(value_name = "URL")]
    target: String,
    /// Only of these ends; may be given several times
    #[arg(long, value_enum)]
    event: Vec<EventName>,
    /// Only of jobs of this task, or of tasks whose names begin so, `report_*`; may be given several times
    #[arg(long, value_parser = task)]
    task: Vec<TaskPattern>,
    /// Only of jobs of this queue; may be given several times
    #[arg(long, value_parser = name::<QueueName>)]
    queue: Vec<QueueName>,
    /// What its events are signed with: @FILE, or - for standard input; without this a new one makes its own
    #[arg(long, value_name = "@FILE|-")]
    secret: Option<String>,
}

#[derive(Debug, Args)]
struct Turn {
    #[command(flatten)]
    one: One<WebhookName>,
    /// How long the former secret signs as well, such as 1h; 0s: it was stolen
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = durations::parse_ms)]
    overlap: u64,
    /// The new secret: @FILE, or - for standard input; without this one is made
    #[arg(long, value_name = "@FILE|-")]
    secret: Option<String>,
}

#[derive(Debug, Args)]
struct Deliveries {
    #[command(flatten)]
    one: One<WebhookName>,
    /// Only those of which this became
    #[arg(long, value_enum)]
    status: Option<StatusName>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Print the page as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Resend {
    #[command(flatten)]
    one: One<WebhookName>,
    /// Which one
    #[arg(value_name = "DELIVERY", required_unless_present = "since", conflicts_with = "since")]
    delivery: Option<DeliveryId>,
    /// All from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Of which this became
    #[arg(long, value_enum, default_value = "failed")]
    status: StatusName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EventName {
    #[value(name = "job.succeeded")]
    Succeeded,
    #[value(name = "job.failed")]
    Failed,
    #[value(name = "job.cancelled")]
    Cancelled,
}

impl From<EventName> for EventType {
    fn from(name: EventName) -> Self {
        match name {
            EventName::Succeeded => Self::JobSucceeded,
            EventName::Failed => Self::JobFailed,
            EventName::Cancelled => Self::JobCancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusName {
    Pending,
    Delivered,
    Failed,
}

impl From<StatusName> for DeliveryStatus {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Pending => Self::Pending,
            StatusName::Delivered => Self::Delivered,
            StatusName::Failed => Self::Failed,
        }
    }
}

fn task(text: &str) -> Result<TaskPattern, String> {
    TaskPattern::try_from(text.to_owned()).map_err(|error| format!("it {error}"))
}

pub(crate) async fn run(arguments: Webhooks, source: &Source) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(asked) => {
            let part = |page: WebhookPage| (page.webhooks, page.next_cursor);
            asked.run(WebhookName::PATH, source, part, table, NONE).await?;
        }
        Command::Show(asked) => asked.run(source, shown).await?,
        Command::Put(asked) => put(*asked, source).await?,
        Command::Delete(one) => {
            one.call(&request(Method::DELETE, one.name.path("")), source).await?;
            output::line(format!("There is no webhook {} any more.", one.name))?;
        }
        Command::Disable(one) => {
            one.call(&request(Method::POST, one.name.path("/disable")), source).await?;
            let name = &one.name;
            output::line(format!(
                "The webhook {name} is disabled: it is told nothing. See `longshore webhooks enable`."
            ))?;
        }
        Command::Enable(one) => {
            let call = request(Method::POST, one.name.path("/enable"));
            let webhook: WebhookView = one.read(&call, source).await?;
            output::line(format!("The webhook {} goes on, {} pending.", one.name, events(webhook.pending)))?;
        }
        Command::Rotate(asked) => rotate(&asked, source).await?,
        Command::Deliveries(asked) => deliveries(&asked, source).await?,
        Command::Resend(asked) => resend(&asked, source).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Arguments are seen by everybody on the machine, so a secret is none.
fn secret(argument: Option<&str>) -> anyhow::Result<Option<Secret>> {
    let Some(argument) = argument else { return Ok(None) };
    let read = bytes(argument).ok_or_else(|| bad("--secret must be @FILE, or - for standard input.".to_owned()))?;
    let text = String::from_utf8_lossy(&read?).trim().to_owned();
    Ok(Some(Secret::try_from(text).map_err(|error| bad(format!("The secret {error}.")))?))
}

async fn put(asked: Put, source: &Source) -> anyhow::Result<()> {
    let body = PutWebhook {
        url: asked.target,
        events: asked.event.into_iter().map(EventType::from).collect(),
        tasks: asked.task,
        queues: asked.queue,
        secret: secret(asked.secret.as_deref())?,
    };
    let call = asked.one.put(&body, false)?;
    let (client, answer) = asked.one.call(&call, source).await?;
    let what = if answer.status == StatusCode::CREATED { "created" } else { "changed" };
    let webhook: WebhookView = client.read(&answer.body)?;
    output::note(format!("The webhook {} is {what}: {}.", webhook.name, told_of(&webhook)));
    print_secret(&webhook)
}

/// Alone on standard output, so that `longshore webhooks put … >secret` keeps it.
fn print_secret(webhook: &WebhookView) -> anyhow::Result<()> {
    if let Some(secret) = &webhook.secret {
        output::note("Its secret, which is shown this once:");
        output::line(secret.to_string())?;
    }
    Ok(())
}

async fn rotate(asked: &Turn, source: &Source) -> anyhow::Result<()> {
    let body = Rotate { secret: secret(asked.secret.as_deref())?, overlap_ms: Some(asked.overlap) };
    let call = post(&asked.one.name.path("/rotate"), &body)?;
    let webhook: WebhookView = asked.one.read(&call, source).await?;
    let overlap = durations::show_ms(asked.overlap);
    output::note(format!("The webhook {} has a new secret; the former one signs as well for {overlap}.", webhook.name));
    print_secret(&webhook)
}

async fn deliveries(asked: &Deliveries, source: &Source) -> anyhow::Result<()> {
    let status = asked.status.map(|status| format!("&status={}", DeliveryStatus::from(status).name()));
    let query = format!("/deliveries?limit={}{}", asked.limit, status.unwrap_or_default());
    let (client, answer) = asked.one.call(&get(asked.one.name.path(&query)), source).await?;
    if asked.json {
        output::json(&answer.body)?;
        return Ok(());
    }
    let page: DeliveryPage = client.read(&answer.body)?;
    if page.deliveries.is_empty() {
        output::note("There are none.");
        return Ok(());
    }
    output::lines(delivery_table(&page.deliveries).lines(output::width()))?;
    Ok(())
}

async fn resend(asked: &Resend, source: &Source) -> anyhow::Result<()> {
    let name = &asked.one.name;
    if let Some(delivery) = asked.delivery {
        let call = request(Method::POST, name.path(&format!("/deliveries/{delivery}/resend")));
        let delivery: DeliveryView = asked.one.read(&call, source).await?;
        output::line(format!("The event {} of the job {} is sent again.", delivery.delivery_id, delivery.job_id))?;
        return Ok(());
    }
    let since = asked.since.context("clap asks for one of both")?;
    let call = post(&name.path("/resend"), &ResendMany { since, status: asked.status.into() })?;
    let mut resent = 0;
    loop {
        let page: Resent = asked.one.read(&call, source).await?;
        resent += page.resent;
        if !page.more {
            break;
        }
    }
    let are = if resent == 1 { "is" } else { "are" };
    output::line(format!("{} {are} sent again.", events(resent)))?;
    Ok(())
}

fn events(count: u32) -> String {
    if count == 1 { "one event".to_owned() } else { format!("{count} events") }
}

/// Which events it is for, in words.
fn told_of(webhook: &WebhookView) -> String {
    let or = |words: Vec<String>| words.join(" or ");
    let events = match webhook.events.as_slice() {
        [] => "every end of a job".to_owned(),
        events => or(events.iter().map(|event| event.name().to_owned()).collect()),
    };
    let tasks = match webhook.tasks.as_slice() {
        [] => String::new(),
        tasks => format!(" of {}", or(tasks.iter().map(ToString::to_string).collect())),
    };
    let queues = match webhook.queues.as_slice() {
        [] => String::new(),
        queues => format!(" in {}", or(queues.iter().map(ToString::to_string).collect())),
    };
    format!("{events}{tasks}{queues}")
}

fn state_of(webhook: &WebhookView) -> String {
    match &webhook.disabled {
        None => "enabled".to_owned(),
        Some(disabled) => format!("disabled: {}", disabled.reason),
    }
}

fn shown(webhook: &WebhookView) -> Vec<String> {
    let pending = format!("{} pending", events(webhook.pending));
    let secrets = if webhook.secrets == 1 { "one secret".to_owned() } else { format!("{} secrets", webhook.secrets) };
    vec![
        format!("{}  {}", webhook.name, webhook.url),
        format!("told of  {}", told_of(webhook)),
        format!("state  {}; {pending}; signed with {secrets}", state_of(webhook)),
    ]
}

fn table(webhooks: &[WebhookView]) -> Table<5> {
    Table::new(
        COLUMNS,
        webhooks.iter().map(|webhook| {
            let (name, url) = (webhook.name.to_string(), webhook.url.clone());
            [name, url, told_of(webhook), webhook.pending.to_string(), state_of(webhook)]
        }),
    )
}

fn last_of(last: &LastAttempt) -> String {
    match (last.http_status, &last.error) {
        (Some(status), _) => format!("{} {status}", last.at),
        (None, Some(error)) => format!("{} {error}", last.at),
        (None, None) => last.at.to_string(),
    }
}

fn delivery_table(deliveries: &[DeliveryView]) -> Table<6> {
    Table::new(
        DELIVERY_COLUMNS,
        deliveries.iter().map(|delivery| {
            [
                delivery.delivery_id.to_string(),
                delivery.kind.name().to_owned(),
                delivery.job_id.to_string(),
                delivery.status.name().to_owned(),
                delivery.attempts.to_string(),
                delivery.last.as_ref().map(last_of).unwrap_or_default(),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhook() -> WebhookView {
        let view = json!({
            "name": "billing", "url": "https://billing.example/longshore", "events": ["job.succeeded", "job.failed"],
            "tasks": ["invoice_*"], "queues": [], "secrets": 2, "pending": 7,
            "disabled": {"at": "2026-11-30T01:30:00.000Z", "reason": "its receiver answered 410 Gone"},
            "created_at": "2026-11-01T00:00:00.000Z", "updated_at": "2026-11-01T00:00:00.000Z",
        });
        serde_json::from_str(&view.to_string()).expect("a webhook")
    }

    #[test]
    fn webhooks_are_listed_under_their_heads() {
        let expected = [
            "WEBHOOK  URL                                EVENTS                                    PENDING  STATE",
            "billing  https://billing.example/longshore  job.succeeded or job.failed of invoice_*        7  disabled: its receiver answered 410 Gone",
        ];
        assert_eq!(table(&[webhook()]).lines(usize::MAX), expected);
    }

    #[test]
    fn one_is_shown_with_what_it_is_told_of() {
        let expected = [
            "billing  https://billing.example/longshore",
            "told of  job.succeeded or job.failed of invoice_*",
            "state  disabled: its receiver answered 410 Gone; 7 events pending; signed with 2 secrets",
        ];
        assert_eq!(shown(&webhook()), expected);
        let all = WebhookView { events: Vec::new(), tasks: Vec::new(), ..webhook() };
        assert_eq!(told_of(&all), "every end of a job");
    }
}
