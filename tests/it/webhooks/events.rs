//! Events: each end of a job is told at least once, signed, under one id, whatever dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, eventually, postgres, scenario, wait_until};

use super::receiver::{Receiver, Request, Said};
use crate::SOON;

/// A store that died leaves what it was sending to the next one after this: its deadline, and 10 s.
const LEFT: Duration = Duration::from_secs(40);

/// Private addresses may be told, soon again, and quickly.
fn quick(setup: Setup) -> Setup {
    let of = |setup: Setup, member: &str| {
        setup
            .set(member, "LONGSHORE_WEBHOOK_ALLOW", "127.0.0.0/8")
            .set(member, "LONGSHORE_WEBHOOK_RETRY_BASE_MS", "200")
            .set(member, "LONGSHORE_WEBHOOK_RETRY_MAX_MS", "1000")
            .set(member, "LONGSHORE_WEBHOOK_TIMEOUT_MS", "2000")
    };
    of(of(setup, "store-svc"), "up")
}

/// Puts a webhook and gives its secret.
async fn put(cluster: &Cluster, name: &str, url: &str, filter: Value) -> Result<String> {
    let mut body = json!({"url": url});
    if let (Some(body), Some(filter)) = (body.as_object_mut(), filter.as_object()) {
        body.extend(filter.clone());
    }
    let webhook = cluster.client().http().put(&format!("/webhooks/{name}"), &body).await?.expect(201)?;
    Ok(webhook["secret"].as_str().context("a secret")?.to_owned())
}

async fn post(cluster: &Cluster, path: &str) -> Result<Value> {
    cluster.client().http().send(Method::POST, path, &[], None).await?.expect(200)
}

async fn shown(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.client().http().get(&format!("/webhooks/{name}")).await?.expect(200)
}

async fn deliveries(cluster: &Cluster, name: &str, query: &str) -> Result<Vec<Value>> {
    let page = cluster.client().http().get(&format!("/webhooks/{name}/deliveries?{query}")).await?.expect(200)?;
    Ok(page["deliveries"].as_array().context("a list")?.clone())
}

/// The ids of events by job.
fn ids(requests: &[Request]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for request in requests {
        let job_id = request.json()?["data"]["job"]["job_id"].as_str().context("a job")?.to_owned();
        ids.entry(job_id).or_default().insert(request.header("webhook-id").to_owned());
    }
    Ok(ids)
}

/// Each of the jobs was told of at least once, under one id, and nothing else was.
async fn all_are_told(
    cluster: &Cluster,
    receiver: &Receiver,
    secret: &str,
    jobs: &[String],
    within: Duration,
) -> Result<()> {
    let expected: BTreeSet<&String> = jobs.iter().collect();
    eventually(within, "each end is told", async || {
        let told = ids(&receiver.seen())?;
        ensure!(told.len() == expected.len(), "{} of {}", told.len(), expected.len());
        Ok(Some(()))
    })
    .await?;
    wait_until(within, "nothing waits", async || Ok(shown(cluster, "all").await?["pending"] == 0)).await?;
    let told = ids(&receiver.seen())?;
    ensure!(told.keys().collect::<BTreeSet<_>>() == expected, "{told:?}");
    ensure!(told.values().all(|ids| ids.len() == 1), "an event has one id: {told:?}");
    receiver.seen().iter().try_for_each(|request| request.signed_by(&[secret]))
}

#[tokio::test]
async fn a_receiver_that_is_down_for_a_while_gets_each_event_at_least_once() -> Result<()> {
    let mut receiver = Receiver::start(|_, _| Said::Now(204, "")).await?;
    scenario(quick(Setup::embedded()), async |cluster| {
        let secret = put(cluster, "all", &receiver.url(), json!({})).await?;
        let mut jobs = cluster.client().accepted_all(5, |_| json!({"task": "noop"})).await?;
        all_are_told(cluster, &receiver, &secret, &jobs, SOON).await?;
        let event = receiver.seen()[0].json()?;
        ensure!(event["type"] == "job.succeeded" && event["data"]["job"]["status"] == "succeeded", "{event}");
        ensure!(event["timestamp"] == event["data"]["job"]["finished_at"], "{event}");

        receiver.goes_down().await?;
        let down = cluster.client().accepted_all(20, |number| match number % 2 {
            0 => json!({"task": "noop"}),
            _ => json!({"task": "work", "payload": {"duration_ms": 0, "failure_rate": 1.0}, "max_attempts": 1}),
        });
        jobs.extend(down.await?);
        let cancelled = cluster.client().accepted(&json!({"task": "noop", "delay_ms": 600_000})).await?;
        post(cluster, &format!("/jobs/{cancelled}/cancel")).await?;
        jobs.push(cancelled);
        wait_until(SOON, "each was tried", async || {
            let pending = deliveries(cluster, "all", "status=pending&limit=500").await?;
            Ok(pending.len() == 21 && pending.iter().all(|delivery| delivery["last"]["error"].is_string()))
        })
        .await?;
        // It is there again, but not yet itself.
        receiver.answer(|number, _| if number.is_multiple_of(2) { Said::Now(500, "") } else { Said::Now(200, "ok") });
        receiver.comes_back().await?;
        all_are_told(cluster, &receiver, &secret, &jobs, LEFT).await?;
        let kinds: BTreeSet<String> =
            receiver.seen().iter().map(|request| Ok(request.json()?["type"].to_string())).collect::<Result<_>>()?;
        ensure!(kinds.len() == 3, "{kinds:?}");
        let delivered = deliveries(cluster, "all", "status=delivered&limit=500").await?;
        ensure!(delivered.len() == jobs.len(), "{}", delivered.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_store_that_is_killed_loses_no_event() -> Result<()> {
    let mut receiver = Receiver::start(|_, _| Said::Now(204, "")).await?;
    let setup =
        quick(Setup::rabbitmq(Vhost::fresh().await?.urls())).set("store-svc", "LONGSHORE_WEBHOOK_TIMEOUT_MS", "500");
    scenario(setup, async |cluster| {
        let secret = put(cluster, "all", &receiver.url(), json!({})).await?;
        receiver.goes_down().await?;
        let mut jobs = cluster.client().accepted_all(30, |_| json!({"task": "noop"})).await?;
        cluster.client().settled(SOON).await?;
        cluster.process("store-svc")?.kill_9()?;
        // Requests that are never answered are under way when it dies again.
        receiver.answer(|_, _| Said::Never);
        receiver.comes_back().await?;
        cluster.restart("store-svc").await?;
        wait_until(LEFT, "some are under way", async || Ok(!receiver.seen().is_empty())).await?;
        cluster.process("store-svc")?.kill_9()?;
        receiver.answer(|_, _| Said::Now(204, ""));
        cluster.restart("store-svc").await?;
        jobs.extend(cluster.client().accepted_all(5, |_| json!({"task": "noop"})).await?);
        all_are_told(cluster, &receiver, &secret, &jobs, LEFT).await
    })
    .await
}

#[tokio::test]
async fn of_two_stores_one_sends_each_event() -> Result<()> {
    let receiver = Receiver::start(|_, _| Said::Now(204, "")).await?;
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(postgres::fresh_database().await?, 2);
    scenario(quick(setup), async |cluster| {
        let secret = put(cluster, "all", &receiver.url(), json!({})).await?;
        let jobs = cluster.client().accepted_all(100, |_| json!({"task": "noop"})).await?;
        all_are_told(cluster, &receiver, &secret, &jobs, LEFT).await?;
        let sent = receiver.seen().len();
        ensure!(sent == jobs.len(), "{sent} requests for {} events", jobs.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn private_addresses_are_told_nothing() -> Result<()> {
    let receiver = Receiver::start(|_, _| Said::Now(204, "")).await?;
    scenario(Setup::embedded(), async |cluster| {
        let put_to = async |name: &str, url: &str| {
            cluster.client().http().put(&format!("/webhooks/{name}"), &json!({"url": url})).await
        };
        for host in ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:192.168.0.1]"] {
            let refused = put_to("private", &format!("http://{host}:{}/", receiver.port())).await?.problem(422)?;
            ensure!(refused["errors"][0]["pointer"] == "/url", "{refused}");
        }
        // A name may be anything until it is resolved.
        put_to("private", &format!("http://localhost:{}/", receiver.port())).await?.expect(201)?;
        let id = cluster.client().accepted(&json!({"task": "noop"})).await?;
        let delivery = eventually(SOON, "it was tried", async || {
            let found = deliveries(cluster, "private", "").await?;
            Ok(found.into_iter().find(|delivery| delivery["last"].is_object()))
        })
        .await?;
        let error = delivery["last"]["error"].as_str().unwrap_or_default();
        ensure!(delivery["job_id"] == *id && error.contains("which is not public"), "{delivery}");
        ensure!(receiver.seen().is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_slow_receiver_holds_up_nobody_and_one_that_is_gone_is_told_no_more() -> Result<()> {
    let slow = Receiver::start(|_, _| Said::Never).await?;
    let gone = Receiver::start(|_, _| Said::Now(410, "")).await?;
    let quick_one = Receiver::start(|_, _| Said::Now(204, "")).await?;
    scenario(quick(Setup::embedded()), async |cluster| {
        put(cluster, "slow", &slow.url(), json!({})).await?;
        put(cluster, "gone", &gone.url(), json!({"tasks": ["rep*"]})).await?;
        let secret = put(cluster, "all", &quick_one.url(), json!({})).await?;
        let jobs = cluster.client().accepted_all(40, |_| json!({"task": "noop"})).await?;
        all_are_told(cluster, &quick_one, &secret, &jobs, SOON).await?;
        let under_way = slow.seen().len();
        ensure!((1..=30).contains(&under_way), "{under_way} requests to one receiver");
        ensure!(gone.seen().is_empty());

        let id = cluster.client().accepted(&json!({"task": "report_1"})).await?;
        let webhook = eventually(SOON, "it is disabled", async || {
            let webhook = shown(cluster, "gone").await?;
            Ok(webhook["disabled"].is_object().then_some(webhook))
        })
        .await?;
        ensure!(webhook["disabled"]["reason"] == "its receiver answered 410 Gone", "{webhook}");
        let more = cluster.client().accepted(&json!({"task": "report_2"})).await?;
        cluster.client().succeeded(&more, SOON).await?;
        let noted = deliveries(cluster, "gone", "").await?;
        ensure!(noted.len() == 1 && noted[0]["job_id"] == *id && noted[0]["status"] == "failed", "{noted:?}");

        // Enabled again, it is told what it missed when that is asked for.
        gone.answer(|_, _| Said::Now(204, ""));
        post(cluster, "/webhooks/gone/enable").await?;
        let resend = json!({"since": "2020-01-01T00:00:00Z"});
        let resent = cluster.client().http().post("/webhooks/gone/resend", &resend).await?.expect(202)?;
        ensure!(resent == json!({"resent": 1, "more": false}), "{resent}");
        wait_until(SOON, "it is told", async || Ok(deliveries(cluster, "gone", "status=delivered").await?.len() == 1))
            .await?;
        let [first, second] = &gone.seen()[..] else { anyhow::bail!("told twice: {:?}", gone.seen()) };
        ensure!(first.header("webhook-id") == second.header("webhook-id"), "under the same id");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn secrets_are_shown_once_and_overlap_when_they_are_rotated() -> Result<()> {
    let receiver = Receiver::start(|_, _| Said::Now(204, "")).await?;
    scenario(quick(Setup::embedded()), async |cluster| {
        let first = put(cluster, "all", &receiver.url(), json!({"events": ["job.succeeded"]})).await?;
        ensure!(shown(cluster, "all").await?["secret"].is_null());
        let again = json!({"url": receiver.url()});
        let again = cluster.client().http().put("/webhooks/all", &again).await?.expect(200)?;
        ensure!(again["secret"].is_null() && again["events"] == json!([]), "{again}");
        let rotated = cluster.client().http().post("/webhooks/all/rotate", &json!({})).await?.expect(200)?;
        let second = rotated["secret"].as_str().context("a secret")?.to_owned();
        ensure!(second != first && rotated["secrets"] == 2, "{rotated}");
        let told = async |count: usize| {
            cluster.client().accepted(&json!({"task": "noop"})).await?;
            eventually(SOON, "it is told", async || Ok(receiver.seen().get(count - 1).cloned())).await
        };
        told(1).await?.signed_by(&[&second, &first])?;
        let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let stolen = json!({"secret": own, "overlap_ms": 0});
        cluster.client().http().post("/webhooks/all/rotate", &stolen).await?.expect(200)?;
        told(2).await?.signed_by(&[own])?;

        // One event again, by its id.
        let delivery = deliveries(cluster, "all", "limit=1").await?.remove(0);
        let id = delivery["delivery_id"].as_str().context("an id")?;
        let path = format!("/webhooks/all/deliveries/{id}/resend");
        cluster.client().http().send(Method::POST, &path, &[], None).await?.expect(202)?;
        let again = eventually(SOON, "it is told again", async || Ok(receiver.seen().get(2).cloned())).await?;
        ensure!(again.header("webhook-id") == id && again.body == receiver.seen()[1].body, "{again:?}");
        cluster.client().http().delete("/webhooks/all").await?.expect(204)?;
        cluster.client().http().get("/webhooks/all").await?.problem(404)?;
        Ok(())
    })
    .await
}
