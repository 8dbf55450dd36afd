//! Every row of the table of statuses whose cause exists: a clear problem, no panic, and the system goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;
use tests::rabbit::Vhost;
use tests::{Cluster, Http, Setup, eventually, scenario, wait_until};
use uuid::Uuid;

use crate::{SOON, embedded};

const JSON: &str = "application/json";

/// One bad request and the status that it must be answered with.
async fn check(
    http: &Http,
    method: Method,
    path: &str,
    media_type: &str,
    body: impl Into<Bytes>,
    status: u16,
) -> Result<()> {
    let mut request = Request::builder().method(method.clone()).uri(format!("http://{}{path}", http.address()));
    if !media_type.is_empty() {
        request = request.header("content-type", media_type);
    }
    let body: Bytes = body.into();
    let shown = String::from_utf8_lossy(body.get(..body.len().min(80)).unwrap_or_default()).into_owned();
    let answer = http.send_raw(request.body(body)?).await?;
    let problem = answer.problem(status).with_context(|| format!("{method} {path} {shown}"))?;
    ensure!(problem["status"] == status && problem["type"].as_str().is_some_and(|kind| !kind.is_empty()), "{problem}");
    if status == 422 {
        ensure!(problem["errors"][0]["pointer"].is_string(), "{method} {path} {shown} names no field: {problem}");
    }
    if status == 405 {
        ensure!(!answer.header("allow").is_empty(), "405 without Allow: {method} {path}");
    }
    Ok(())
}

async fn bad_submits(http: &Http) -> Result<()> {
    let post = async |media_type: &str, body: &str, status| {
        check(http, Method::POST, "/longtask", media_type, body.to_owned(), status).await
    };
    post(JSON, "", 400).await?;
    post(JSON, "{\"task\": \"noop\"", 400).await?;
    post(JSON, "\u{0}\u{7f}", 400).await?;
    post("text/plain", "{\"task\": \"noop\"}", 415).await?;
    post("", "{\"task\": \"noop\"}", 415).await?;
    for (body, why) in [
        ("{}", "missing field"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("{\"task\": 7}", "mistyped"),
        ("{\"task\": \"\"}", "empty name"),
        ("{\"task\": \"noop\", \"colour\": \"red\"}", "unknown field"),
        ("{\"task\": \"noop\", \"uniqe_key\": \"k\"}", "misspelt"),
        ("{\"task\": \"noop\", \"queue\": \"nowhere\"}", "unknown queue"),
        ("{\"task\": \"noop\", \"priority\": \"urgent\"}", "no such priority"),
        ("{\"task\": \"noop\", \"delay_ms\": -1}", "below its bound"),
        ("{\"task\": \"noop\", \"delay_ms\": 1, \"run_at\": \"2030-01-01T00:00:00.000Z\"}", "two due times"),
        ("{\"task\": \"noop\", \"run_at\": \"tomorrow\"}", "no timestamp"),
        ("{\"task\": \"noop\", \"max_attempts\": 0}", "below its bound"),
        ("{\"task\": \"noop\", \"max_attempts\": 1e9}", "above its bound"),
        ("{\"task\": \"noop\", \"timeout_ms\": 0}", "below its bound"),
    ] {
        post(JSON, body, 422).await.context(why)?;
    }
    let long_key = json!({"task": "noop", "invalidates": ["k".repeat(257)]}).to_string();
    post(JSON, &long_key, 422).await?;
    let large = json!({"task": "noop", "payload": "x".repeat(1024 * 1024)}).to_string();
    post(JSON, &large, 413).await
}

async fn bad_paths(http: &Http) -> Result<()> {
    let unknown = Uuid::new_v4();
    for (method, path, status) in [
        (Method::GET, format!("/jobs/{unknown}"), 404),
        (Method::GET, "/jobs/not-an-id".to_owned(), 404),
        (Method::GET, format!("/jobs/{unknown}/result"), 404),
        (Method::POST, format!("/jobs/{unknown}/cancel"), 404),
        (Method::GET, "/nothing/here".to_owned(), 404),
        (Method::GET, "/data/absent".to_owned(), 404),
        (Method::GET, format!("/data/{}", "k".repeat(257)), 422),
        (Method::DELETE, format!("/cache/{}", "k".repeat(257)), 422),
        (Method::GET, "/jobs?status=sleeping".to_owned(), 422),
        (Method::GET, "/jobs?limit=none".to_owned(), 422),
        (Method::GET, "/jobs?cursor=%00".to_owned(), 422),
        (Method::GET, "/jobs?colour=red".to_owned(), 422),
        (Method::GET, "/schedules/absent".to_owned(), 404),
        (Method::POST, "/schedules/absent/run".to_owned(), 404),
        (Method::DELETE, "/schedules/absent".to_owned(), 404),
        (Method::GET, "/schedules?limit=501".to_owned(), 422),
        (Method::GET, "/schedules?cursor=%00".to_owned(), 422),
        (Method::POST, "/schedules/absent".to_owned(), 405),
        (Method::GET, "/webhooks/absent".to_owned(), 404),
        (Method::GET, "/webhooks/absent/deliveries".to_owned(), 404),
        (Method::GET, "/webhooks/absent/deliveries?status=lost".to_owned(), 422),
        (Method::POST, "/webhooks/absent/enable".to_owned(), 404),
        (Method::POST, format!("/webhooks/absent/deliveries/{unknown}/resend"), 404),
        (Method::DELETE, "/webhooks/absent".to_owned(), 404),
        (Method::GET, "/webhooks?limit=501".to_owned(), 422),
        (Method::DELETE, "/longtask".to_owned(), 405),
        (Method::PATCH, format!("/jobs/{unknown}"), 405),
        (Method::POST, "/data/k".to_owned(), 405),
    ] {
        check(http, method, &path, "", Bytes::new(), status).await?;
    }
    check(http, Method::PUT, "/jobs/not-an-id", JSON, "{\"task\": \"noop\"}", 404).await?;
    for (path, schedule) in [
        ("/schedules/a%20b", json!({"cron": "@daily", "job": {"task": "noop"}})),
        ("/schedules/a", json!({"cron": "0 0 30 2 *", "job": {"task": "noop"}})),
        ("/schedules/a", json!({"cron": "@daily", "time_zone": "Mars/Olympus", "job": {"task": "noop"}})),
        ("/schedules/a", json!({"cron": "@daily", "job": {"task": "noop", "queue": "nowhere"}})),
        ("/schedules/a", json!({"cron": "@daily", "job": {"task": "noop", "delay_ms": 5}})),
        ("/schedules/a", json!({"cron": "@daily", "job": {"task": "noop", "payload": "x".repeat(65_536)}})),
    ] {
        check(http, Method::PUT, path, JSON, schedule.to_string(), 422).await?;
    }
    check(http, Method::PUT, "/data/k", JSON, "{\"value\": 1}", 422).await?;
    check(http, Method::PUT, "/data/k", JSON, "{", 400).await?;
    check(http, Method::PUT, "/data/k", "text/plain", "{\"data\": 1}", 415).await
}

/// A head refused by the parser may have no body, so only the status is asked for.
async fn large_head(http: &Http) -> Result<()> {
    let large = "x".repeat(128 * 1024);
    let answer = http.send(Method::GET, "/data", &[("x-filler", &large)], None).await?;
    ensure!(answer.status == 431, "{answer}");
    Ok(())
}

async fn every_bad_request(cluster: &mut Cluster) -> Result<()> {
    let lb = cluster.client().http().clone();
    let gateway = cluster.http("gateway-0")?;
    for http in [&lb, &gateway] {
        bad_submits(http).await?;
        bad_paths(http).await?;
        large_head(http).await?;
    }
    let id = cluster.client().accepted(&json!({"task": "noop"})).await?;
    cluster.client().succeeded(&id, SOON).await.map(drop)
}

#[tokio::test]
async fn bad_requests_are_answered_with_clear_problems() -> Result<()> {
    embedded(every_bad_request).await
}

#[tokio::test]
async fn over_the_limit_of_waiting_requests_is_429() -> Result<()> {
    scenario(Setup::embedded().set("up", "LONGSHORE_WAITERS_MAX", "1"), async |cluster| {
        let client = cluster.client();
        let gateway = cluster.http("gateway-0")?;
        let id = client.accepted(&json!({"task": "work", "payload": {"duration_ms": 60_000}})).await?;
        let path = format!("/jobs/{id}");
        let wait = async || gateway.send(Method::GET, &path, &[("prefer", "wait=5")], None).await;
        let (first, second) = futures_util::future::try_join(wait(), wait()).await?;
        let refused = if first.status == 200 { second } else { first };
        refused.problem(429)?;
        ensure!(!refused.header("retry-after").is_empty(), "{:?}", refused.headers);
        client.http().send(Method::POST, &format!("{path}/cancel"), &[], None).await?;
        client.ended(&id, SOON).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn without_its_store_the_gateway_answers_503_and_goes_on_when_it_is_back() -> Result<()> {
    let vhost = Vhost::fresh().await?;
    scenario(Setup::rabbitmq(vhost.urls()).gateways(1).workers(1), async |cluster| {
        let before = cluster.client().accepted(&json!({"task": "noop"})).await?;
        cluster.process("store-svc")?.kill_9()?;
        let client = cluster.client();
        for answer in [
            client.submit(&json!({"task": "noop"})).await?,
            client.http().get(&format!("/jobs/{before}")).await?,
            client.http().get("/data/never_read").await?,
            client.http().put("/data/k", &json!({"data": 1})).await?,
            client.http().get("/jobs").await?,
        ] {
            answer.problem(503)?;
            ensure!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
        }
        // Whoever serves is ready; what it lacks is in the body.
        let gateway = cluster.http("gateway-0")?;
        wait_until(SOON, "the gateway says what it lacks", async || {
            let report = gateway.get("/ready").await?.expect(200)?;
            Ok(report["status"] == "degraded" && report["reasons"]["store"].is_string())
        })
        .await?;
        cluster.restart("store-svc").await?;
        let client = cluster.client();
        client.succeeded(&before, SOON).await?;
        let id = eventually(SOON, "submits are accepted again", async || {
            client.accepted(&json!({"task": "noop"})).await.map(Some)
        })
        .await?;
        client.succeeded(&id, SOON + Duration::from_secs(15)).await.map(drop)
    })
    .await
}
