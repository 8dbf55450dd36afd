//! The walk of a job from submit to its end, through the balancer, on both brokers.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use http::Method;
use serde_json::json;
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, scenario, wait_until};
use uuid::Uuid;

use crate::{SOON, embedded, rabbitmq};

pub(crate) async fn submit_to_done(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let answer = client.submit(&json!({"task": "noop", "payload": {"any": [1, 2.5, null]}})).await?;
    let accepted = answer.expect(202)?;
    let id = accepted["job_id"].as_str().unwrap_or_default();
    ensure!(answer.header("location") == format!("/jobs/{id}"), "{:?}", answer.headers);
    ensure!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
    ensure!(accepted["task"] == "noop" && accepted["links"].is_object(), "{accepted}");
    let job = client.succeeded(id, SOON).await?;
    ensure!(job["attempt"] == 1 && job["run"] == 1 && job["queue"] == "default", "{job}");
    ensure!(job["started_at"].is_string() && job["finished_at"].is_string(), "{job}");
    let result = client.http().get(&format!("/jobs/{id}/result")).await?.expect(200)?;
    ensure!(result == job["result"], "{result} is not {}", job["result"]);
    let many = client.accepted_all(200, |number| json!({"task": format!("report_{number}")})).await?;
    ensure!(many.iter().collect::<BTreeSet<_>>().len() == 200);
    client.settled(SOON * 2).await
}

#[tokio::test]
async fn submitted_jobs_are_done_on_the_embedded_broker() -> Result<()> {
    embedded(submit_to_done).await
}

#[tokio::test]
async fn submitted_jobs_are_done_on_rabbitmq() -> Result<()> {
    rabbitmq(submit_to_done).await
}

#[tokio::test]
async fn submitted_jobs_are_done_by_one_process_on_rabbitmq() -> Result<()> {
    scenario(Setup::rabbitmq(Vhost::fresh().await?.urls()).in_one_process(), submit_to_done).await
}

async fn submits_are_named(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let body = json!({"task": "noop", "payload": {"a": 1, "b": 2}});
    let same = json!({"payload": {"b": 2, "a": 1}, "task": "noop"});
    let other = json!({"task": "noop"});
    let headers = [("idempotency-key", "\"order 7\"")];
    let post = async |body| client.submit_with(Method::POST, "/longtask", &headers, body).await;
    let answers = try_join_all((0..30).map(|_| post(&body))).await?;
    let mut ids = BTreeSet::new();
    for answer in &answers {
        ids.insert(answer.expect(202)?["job_id"].to_string());
    }
    ensure!(ids.len() == 1, "one key names one job: {ids:?}");
    let first = answers.iter().filter(|answer| answer.header("idempotent-replayed") != "true").count();
    ensure!(first == 1, "one of the parallel repeats made it, {first} say so");
    post(&same).await?.expect(202)?;
    post(&other).await?.problem(422)?;

    let path = format!("/jobs/{}", Uuid::new_v4());
    let put = async |body| client.submit_with(Method::PUT, &path, &[], body).await;
    put(&body).await?.expect(202)?;
    put(&body).await?.expect(200)?;
    put(&other).await?.problem(409)?;
    Ok(())
}

#[tokio::test]
async fn idempotency_key_or_chosen_id_names_one_job() -> Result<()> {
    embedded(submits_are_named).await
}

async fn waits_and_etags(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let wait = [("prefer", "wait=20")];
    let body = json!({"task": "work", "payload": {"duration_ms": 300}});
    let answer = client.submit_with(Method::POST, "/longtask", &wait, &body).await?;
    let job = answer.expect(200)?;
    ensure!(job["status"] == "succeeded", "{job}");
    ensure!(answer.header("preference-applied").starts_with("wait"), "{:?}", answer.headers);

    let path = format!("/jobs/{}", job["job_id"].as_str().unwrap_or_default());
    let shown = client.http().get(&path).await?;
    let etag = shown.header("etag");
    ensure!(!etag.is_empty() && shown.header("retry-after").is_empty(), "{:?}", shown.headers);
    let again = client.http().send(Method::GET, &path, &[("if-none-match", etag)], None).await?;
    ensure!(again.status == 304 && again.body.is_empty(), "{again}");
    Ok(())
}

#[tokio::test]
async fn waiting_submit_is_answered_with_the_finished_job() -> Result<()> {
    embedded(waits_and_etags).await
}

async fn ends_otherwise(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let submit = async |task: &str, rest: serde_json::Value| {
        let mut body = json!({"task": task});
        if let (Some(body), serde_json::Value::Object(rest)) = (body.as_object_mut(), rest) {
            body.extend(rest);
        }
        client.accepted(&body).await
    };
    let failing =
        submit("work", json!({"payload": {"failure_rate": 1.0, "duration_ms": 1}, "max_attempts": 2})).await?;
    let retried = submit("work", json!({"payload": {"fail_attempts": 2, "duration_ms": 1}})).await?;
    let slow =
        submit("work", json!({"payload": {"duration_ms": 60_000}, "timeout_ms": 200, "max_attempts": 1})).await?;
    let later = submit("noop", json!({"delay_ms": 1_500})).await?;
    let never = submit("noop", json!({"delay_ms": 3_600_000})).await?;
    let running = submit("work", json!({"payload": {"duration_ms": 60_000}})).await?;

    let job = client.job(&later).await?;
    ensure!(job["status"] == "scheduled" && job["waiting_for"] == "due_time", "{job}");
    let cancel = async |id: &str| client.http().send(Method::POST, &format!("/jobs/{id}/cancel"), &[], None).await;
    cancel(&never).await?.expect(200)?;
    ensure!(client.job(&never).await?["status"] == "cancelled");
    cancel(&never).await?.problem(409)?;
    wait_until(SOON, "it runs", async || Ok(client.job(&running).await?["status"] == "running")).await?;
    let answer = cancel(&running).await?;
    ensure!(answer.status == 202, "{answer}");
    ensure!(client.ended(&running, SOON).await?["status"] == "cancelled");

    let job = client.ended(&failing, SOON).await?;
    ensure!(job["status"] == "failed" && job["error"]["kind"] == "failed" && job["attempt"] == 2, "{job}");
    ensure!(client.succeeded(&retried, SOON).await?["attempt"] == 3);
    let job = client.ended(&slow, SOON).await?;
    ensure!(job["status"] == "failed" && job["error"]["kind"] == "timeout", "{job}");
    client.succeeded(&later, SOON).await?;
    client.http().get(&format!("/jobs/{failing}/result")).await?.problem(404)?;
    Ok(())
}

#[tokio::test]
async fn jobs_fail_time_out_are_retried_delayed_and_cancelled() -> Result<()> {
    embedded(ends_otherwise).await
}

async fn pages_are_whole(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client();
    let ids = client.accepted_all(250, |_| json!({"task": "noop"})).await?;
    client.settled(SOON).await?;
    for query in ["", "status=succeeded&", "task=noop&", "queue=default&"] {
        let listed: Vec<_> =
            client.list(query).await?.iter().map(|job| job["job_id"].as_str().unwrap_or_default().to_owned()).collect();
        let distinct: BTreeSet<_> = listed.iter().collect();
        ensure!(
            listed.len() == 250 && distinct.len() == 250,
            "{query}: {} listed, {} distinct",
            listed.len(),
            distinct.len()
        );
        ensure!(ids.iter().all(|id| distinct.contains(id)), "{query}");
    }
    ensure!(client.list("status=failed&").await?.is_empty());
    let workers = client.http().get("/workers").await?.expect(200)?;
    let sessions = workers["workers"].as_array().map_or(0, Vec::len);
    ensure!(sessions == 1 && workers["workers"][0]["queues"]["default"] == 4, "{workers}");
    Ok(())
}

#[tokio::test]
async fn listing_shows_every_job_once() -> Result<()> {
    embedded(pages_are_whole).await
}
