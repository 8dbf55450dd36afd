//! One trace from the client's request to the program that a job starts, as a receiver of OTLP gets it; and that nobody waits for a receiver.

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tests::otlp::{Receiver, Span};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, scenario};

use crate::SOON;

/// `told` says which trace it was told. `late` fails in its first run.
const TASKS: &str = r#"
[task.told]
kind = "command"
program = "sh"
args = ["-c", "printf '\"%s\"' \"$TRACEPARENT\""]

[task.late]
kind = "command"
program = "sh"
args = ["-c", "test $LONGSHORE_RUN = 2 && printf '\"%s\"' \"$TRACEPARENT\""]

[task.noop]
kind = "simulate"
"#;

/// A client's own step of a trace of its own.
const CLIENTS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS_STEP: &str = "00f067aa0ba902b7";

fn only<'a>(spans: &'a [Span], service: &str, name: &str) -> Result<&'a Span> {
    let mut found = spans.iter().filter(|span| span.is(service, name));
    let only = found.next().with_context(|| format!("no {name} of {service} among {spans:#?}"))?;
    ensure!(found.next().is_none(), "several {name} of {service} among {spans:#?}");
    Ok(only)
}

fn traced(setup: Setup, receiver: &Receiver, share: &str) -> Setup {
    setup.tasks(TASKS).set("", "LONGSHORE_OTLP_ENDPOINT", receiver.endpoint()).set("", "LONGSHORE_TRACE_SAMPLE", share)
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_program() -> Result<()> {
    let receiver = Receiver::start().await?;
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).gateways(1).workers(1);
    scenario(traced(setup, &receiver, "1"), async |cluster| from_request_to_program(cluster, &receiver).await).await
}

async fn from_request_to_program(cluster: &mut Cluster, receiver: &Receiver) -> Result<()> {
    let client = cluster.client();
    // It says that its trace is not recorded, which is not for a client to say.
    let line = format!("00-{CLIENTS_TRACE}-{CLIENTS_STEP}-00");
    let headers = [("traceparent", line.as_str()), ("tracestate", "vendor=1")];
    let answer = client.http().send(Method::POST, "/longtask", &headers, Some(&json!({"task": "told"}))).await?;
    let accepted = answer.expect(202)?;
    let id = accepted["job_id"].as_str().context("an id")?;
    client.adopt(id);
    let job = client.succeeded(id, SOON).await?;
    ensure!(job["trace_id"] == CLIENTS_TRACE, "{job}");

    let expected = [
        ("lb", "POST"),
        ("gateway", "POST /longtask"),
        ("gateway", "create default"),
        ("store-svc", "commit create"),
        ("worker", "claim told"),
        ("store-svc", "commit claim"),
        ("worker", "process told"),
        ("worker", "complete"),
    ];
    let spans = receiver.trace(CLIENTS_TRACE, &expected, SOON).await?;
    let [lb, gateway, create, committed, claim, claimed, process, complete] =
        expected.map(|(service, name)| only(&spans, service, name));
    let (lb, gateway, create, process) = (lb?, gateway?, create?, process?);
    let sent = spans.iter().find(|span| span.name == "send jobs").context("the bell was sent")?;
    for (child, parent_id) in [
        (lb, CLIENTS_STEP),
        (gateway, &lb.id),
        (create, &gateway.id),
        (committed?, &create.id),
        (sent, &create.id),
        (claim?, &create.id),
        (claimed?, &create.id),
        (process, &create.id),
        (complete?, &process.id),
    ] {
        ensure!(child.parent_id == parent_id, "{child:#?} is not below {parent_id}");
        ensure!(child.begun_ns <= child.ended_ns && !child.is_error, "{child:#?}");
    }
    ensure!(process.is_named_by(job["result"].as_str().context("what it was told")?), "{job} {process:#?}");
    ensure!(lb.begun_ns <= gateway.begun_ns && gateway.begun_ns <= create.begun_ns, "{spans:#?}");
    for span in [create, sent, process] {
        let named = span.attribute("longshore.job_id").or(span.attribute("messaging.message.id"));
        ensure!(named == Some(id), "{span:#?}");
    }
    ensure!(lb.attribute("http.response.status_code") == Some("202"), "{lb:#?}");
    ensure!(lb.attribute("longshore.backend").is_some() && gateway.attribute("http.route") == Some("/longtask"));
    later_run(cluster, receiver).await
}

/// The second run of a job is another trace, which leads to the first one.
async fn later_run(cluster: &mut Cluster, receiver: &Receiver) -> Result<()> {
    let client = cluster.client();
    let id = client.accepted(&json!({"task": "late", "max_attempts": 1})).await?;
    let failed = client.ended(&id, SOON).await?;
    let trace_id = failed["trace_id"].as_str().context("it begins a trace")?;
    let expected = [("lb", "POST"), ("worker", "process late"), ("gateway", "create default")];
    let first = receiver.trace(trace_id, &expected, SOON).await?;
    ensure!(only(&first, "lb", "POST")?.parent_id.is_empty(), "{first:#?}");
    let attempt = only(&first, "worker", "process late")?;
    ensure!(attempt.is_error && attempt.attribute("longshore.outcome") == Some("failed"), "{attempt:#?}");
    client.http().post(&format!("/jobs/{id}/retry"), &json!({})).await?.expect(202)?;
    let again = client.succeeded(&id, SOON).await?;
    let told = again["result"].as_str().context("what it was told")?;
    let create = only(&first, "gateway", "create default")?;
    eventually(SOON, "the second run is a trace", async || {
        let spans = receiver.spans();
        let Some(second) = spans.iter().find(|span| span.is_named_by(told)) else { return Ok(None) };
        ensure!(second.trace_id != trace_id && second.parent_id.is_empty(), "{second:#?}");
        ensure!(second.links == [(create.trace_id.clone(), create.id.clone())], "{second:#?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_holds_nobody_up() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.is_busy(true);
    scenario(traced(Setup::embedded().slots("8"), &receiver, "1"), async |cluster| {
        let client = cluster.client();
        let batch = json!(vec![json!({"task": "noop"}); 1_000]);
        // A thousand jobs are more steps than may wait.
        let answer = client.http().post("/jobs:batch", &batch).await?.expect(200)?;
        let items = answer["items"].as_array().context("items")?;
        let ids: Vec<&str> = items.iter().filter_map(|item| item["job"]["job_id"].as_str()).collect();
        ensure!(ids.len() == 1_000, "{answer}");
        for id in ids {
            client.adopt(id);
            client.succeeded(id, SOON).await?;
        }
        let dropped = async || cluster.metrics("lb").await.map(|metrics| metrics.sum(SPANS, &[r#"result="dropped""#]));
        ensure!(dropped().await? > 0.0, "no step was dropped");
        ensure!(receiver.spans().is_empty());
        receiver.is_busy(false);
        eventually(2 * SOON, "what waited is sent", async || Ok((!receiver.spans().is_empty()).then_some(()))).await
    })
    .await
}

const SPANS: &str = "longshore_trace_spans_total";

#[tokio::test]
async fn a_client_does_not_decide_what_is_recorded_unless_it_is_trusted() -> Result<()> {
    let receiver = Receiver::start().await?;
    let asks = format!("00-{CLIENTS_TRACE}-{CLIENTS_STEP}-01");
    for (trust, is_recorded) in [("0", false), ("1", true)] {
        let setup = traced(Setup::embedded(), &receiver, "0").set("", "LONGSHORE_TRACE_TRUST", trust);
        scenario(setup, async |cluster| {
            let http = cluster.client().http();
            http.send(Method::GET, "/data", &[("traceparent", &asks)], None).await?.expect(200)?;
            // The end of the process sends what there is.
            let process = cluster.process("up")?;
            process.term()?;
            process.exited(SOON).await?;
            let names: Vec<String> = receiver.spans().into_iter().map(|span| span.name).collect();
            ensure!(names.iter().any(|name| name == "GET /data") == is_recorded, "trust {trust}: {names:?}");
            ensure!(is_recorded || names.is_empty(), "{names:?}");
            cluster.restart("up").await
        })
        .await?;
    }
    Ok(())
}
