//! Jobs of `http` tasks, from the submit to the outcome.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, scenario, wait_until};
use tokio::time::Instant;

use super::receiver::{Receiver, Request, Said};
use crate::SOON;

/// Of jobs that are handed over.
const LEASE: Duration = Duration::from_secs(2);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn tasks(receiver: &Receiver, keys: &str) -> String {
    let url = receiver.url();
    let public = receiver.port();
    format!(
        "[task.noop]\nkind = \"simulate\"\n\
         [task.ask]\nkind = \"http\"\nurl = \"{url}\"\nsecrets = [\"env:LONGSHORE_SECRET_ASK\"]\n\
         allow_private = [\"127.0.0.0/8\"]\n{keys}\n\
         [task.refused]\nkind = \"http\"\nurl = \"http://localhost:{public}/\"\nsecrets = [\"env:LONGSHORE_SECRET_ASK\"]\n"
    )
}

fn with_secret(setup: Setup) -> Setup {
    setup.set("", "LONGSHORE_SECRET_ASK", SECRET)
}

fn number(request: &Request, name: &str) -> Result<u64> {
    request.header(name).parse().with_context(|| format!("the header {name} of {request:?}"))
}

async fn ask(cluster: &Cluster, payload: Value) -> Result<String> {
    cluster.client().accepted(&json!({"task": "ask", "payload": payload, "max_attempts": 2})).await
}

async fn post(cluster: &Cluster, path: &str, body: &Value) -> Result<Value> {
    cluster.client().http().post(path, body).await?.expect(200)
}

/// Its name is that of a private address, which its task does not allow.
async fn is_not_asked(cluster: &Cluster, receiver: &Receiver) -> Result<()> {
    let asked = receiver.seen().len();
    let refused = cluster.client().accepted(&json!({"task": "refused"})).await?;
    let job = cluster.client().ended(&refused, SOON).await?;
    let message = job["error"]["message"].as_str().unwrap_or_default();
    ensure!(job["attempt"] == 1 && message.contains("which is not public"), "{job}");
    ensure!(receiver.seen().len() == asked, "it was asked all the same");
    Ok(())
}

#[tokio::test]
async fn a_service_is_asked_again_as_it_says_and_its_answer_is_the_result() -> Result<()> {
    let receiver = Receiver::start(|_, request| match request.json() {
        Ok(Value::Object(asked)) if asked.contains_key("busy") && request.header("longshore-attempt") == "1" => {
            Said::Later(503, "2")
        }
        Ok(Value::Object(asked)) if asked.contains_key("bad") => Said::Now(422, "no such invoice"),
        Ok(Value::Object(asked)) if asked.contains_key("slow") => Said::Never,
        _ => Said::Now(200, r#"{"words": 6}"#),
    })
    .await?;
    let setup = with_secret(Setup::embedded().tasks(tasks(&receiver, "grace_ms = 500")));
    scenario(setup, async |cluster| {
        let id = ask(cluster, json!({"busy": true})).await?;
        let job = cluster.client().succeeded(&id, SOON).await?;
        ensure!(job["result"] == json!({"words": 6}) && job["attempt"] == 2, "{job}");
        let [first, second] = &receiver.seen()[..] else { anyhow::bail!("asked twice: {:?}", receiver.seen()) };
        for request in [first, second] {
            request.signed_by(&[SECRET])?;
            ensure!(request.header("longshore-job") == id && request.header("longshore-task") == "ask", "{request:?}");
            let lease = format!("{id}.{}", number(request, "longshore-fence")?);
            ensure!(request.header("webhook-id") == lease, "{request:?}");
            let heartbeat = format!("http://{}/leases/{lease}/heartbeat", cluster.address("lb")?);
            ensure!(request.header("longshore-heartbeat-url") == heartbeat, "{request:?}");
            ensure!((1..=15).contains(&number(request, "longshore-lease-seconds")?), "{request:?}");
        }
        ensure!(number(first, "longshore-fence")? < number(second, "longshore-fence")?);
        let waited_s = number(second, "webhook-timestamp")? - number(first, "webhook-timestamp")?;
        ensure!(waited_s >= 2, "it was asked again after {waited_s} s");

        let job = cluster.client().ended(&ask(cluster, json!({"bad": true})).await?, SOON).await?;
        let expected = "the service answered 422 Unprocessable Entity: no such invoice";
        ensure!(job["status"] == "failed" && job["attempt"] == 1 && job["error"]["message"] == expected, "{job}");

        let slow = json!({"task": "ask", "payload": {"slow": 1}, "timeout_ms": 300, "max_attempts": 1});
        let job = cluster.client().ended(&cluster.client().accepted(&slow).await?, SOON).await?;
        ensure!(job["status"] == "failed" && job["error"]["kind"] == "timeout", "{job}");

        let asked = receiver.seen().len();
        let id = ask(cluster, json!({"slow": 2})).await?;
        wait_until(SOON, "it is asked", async || Ok(receiver.seen().len() > asked)).await?;
        // A service that takes long says how far it is.
        let request = receiver.seen().pop().context("a request")?;
        let path = format!("/leases/{}/heartbeat", request.header("webhook-id"));
        let beat = json!({"progress": {"fraction": 0.5, "message": "half way"}});
        ensure!(post(cluster, &path, &beat).await? == json!({"cancel_requested": false}));
        wait_until(SOON, "its progress is shown", async || {
            Ok(cluster.client().job(&id).await?["progress"]["message"] == "half way")
        })
        .await?;
        cluster.client().http().send(Method::POST, &format!("/jobs/{id}/cancel"), &[], None).await?.expect(202)?;
        let job = cluster.client().ended(&id, SOON).await?;
        ensure!(job["status"] == "cancelled", "{job}");

        is_not_asked(cluster, &receiver).await
    })
    .await
}

#[tokio::test]
async fn a_worker_killed_under_a_request_has_a_successor_with_a_higher_fence() -> Result<()> {
    let receiver = Receiver::start(|number, _| if number == 1 { Said::Never } else { Said::Now(200, "7") }).await?;
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).tasks(tasks(&receiver, "lease_ms = 2000")).workers(1);
    scenario(with_secret(setup), async |cluster| {
        let id = ask(cluster, json!({})).await?;
        wait_until(SOON, "it is asked", async || Ok(receiver.seen().len() == 1)).await?;
        cluster.process("worker-0")?.kill_9()?;
        cluster.restart("worker-0").await?;
        let job = cluster.client().succeeded(&id, SOON * 2).await?;
        ensure!(job["result"] == 7 && job["crashes"] == 1, "{job}");
        let [first, second] = &receiver.seen()[..] else { anyhow::bail!("asked twice: {:?}", receiver.seen()) };
        ensure!(number(first, "longshore-fence")? < number(second, "longshore-fence")?, "{second:?}");
        ensure!(first.header("webhook-id") != second.header("webhook-id"), "an attempt of its own");
        ensure!(first.header("longshore-heartbeat-url").is_empty(), "nobody said where the gateways are");
        Ok(())
    })
    .await
}

/// The path of a URL that a service was given.
fn path<'r>(request: &'r Request, name: &str) -> Result<&'r str> {
    let url = request.header(name);
    let rest = url.strip_prefix("http://");
    rest.and_then(|rest| Some(rest.split_at(rest.find('/')?).1)).context("a URL")
}

#[tokio::test]
async fn a_service_that_takes_a_job_on_reports_by_itself() -> Result<()> {
    let receiver = Receiver::start(|_, _| Said::Now(202, "")).await?;
    let setup = Setup::embedded().slots("1").tasks(tasks(&receiver, "report_later = true\nlease_ms = 2000"));
    scenario(with_secret(setup), async |cluster| {
        let asked = async |count: usize| {
            eventually(SOON, "it is asked", async || Ok(receiver.seen().get(count - 1).cloned())).await
        };
        let id = ask(cluster, json!({})).await?;
        let request = asked(1).await?;
        // The only slot is free again.
        let noop = cluster.client().accepted(&json!({"task": "noop"})).await?;
        cluster.client().succeeded(&noop, SOON).await?;
        // As long as it gives signs of life, the job is its own: longer than its lease here.
        let begun = Instant::now();
        let beat = json!({"progress": {"fraction": 0.5}});
        wait_until(SOON, "its lease would have ended twice", async || {
            post(cluster, path(&request, "longshore-heartbeat-url")?, &beat).await?;
            Ok(begun.elapsed() > 3 * LEASE)
        })
        .await?;
        let job = cluster.client().job(&id).await?;
        ensure!(job["status"] == "running" && job["crashes"] == 0 && job["attempt"] == 1, "{job}");
        ensure!(job["progress"]["fraction"] == 0.5, "{job}");
        post(cluster, path(&request, "longshore-complete-url")?, &json!({"result": {"done": true}})).await?;
        let job = cluster.client().succeeded(&id, SOON).await?;
        ensure!(job["result"] == json!({"done": true}), "{job}");

        // One that is silent loses the job to the next attempt.
        let id = ask(cluster, json!({})).await?;
        let silent = asked(2).await?;
        let next = asked(3).await?;
        ensure!(
            next.header("longshore-job") == id
                && number(&next, "longshore-fence")? > number(&silent, "longshore-fence")?
        );
        let late =
            cluster.client().http().post(path(&silent, "longshore-complete-url")?, &json!({"result": 1})).await?;
        late.problem(410)?;
        let failed = json!({"error": "no luck", "retry": false});
        post(cluster, path(&next, "longshore-fail-url")?, &failed).await?;
        let job = cluster.client().ended(&id, SOON).await?;
        ensure!(job["status"] == "failed" && job["crashes"] == 1 && job["error"]["message"] == "no luck", "{job}");

        // It hears of a cancel with its next sign of life.
        let id = ask(cluster, json!({})).await?;
        let request = asked(4).await?;
        cluster.client().http().send(Method::POST, &format!("/jobs/{id}/cancel"), &[], None).await?.expect(202)?;
        let told = post(cluster, path(&request, "longshore-heartbeat-url")?, &json!({})).await?;
        ensure!(told == json!({"cancel_requested": true}), "{told}");
        post(cluster, path(&request, "longshore-fail-url")?, &json!({"error": "ended"})).await?;
        let job = cluster.client().ended(&id, SOON).await?;
        ensure!(job["status"] == "cancelled", "{job}");
        Ok(())
    })
    .await
}
