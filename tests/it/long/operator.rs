//! An operator at RabbitMQ's management UI, in a real browser: publishes an invalidation by hand, and finds queues, bells, consumers and
//! what was put aside under names that explain themselves. The pictures are kept in `target/pictures`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use futures_util::future::try_join_all;
use serde_json::json;
use tests::browser::Browser;
use tests::rabbit::own_urls;
use tests::{Cluster, Setup, eventually, scenario};
use tokio::time::{Instant, sleep_until};

use crate::SOON;

/// An event is applied within this.
const APPLIED_WITHIN: Duration = Duration::from_secs(1);
const WORKERS: usize = 2;
const SLOTS: usize = 4;
/// Longer than the test: these jobs are cancelled.
const LONG_MS: u64 = 600_000;
const VHOST: &str = "longshore";
const PAGE: &str = "//div[@id='main']";

struct Operator {
    browser: Browser,
    /// The UI with its name and password, which its API wants from the browser, too.
    place: String,
    pictures: PathBuf,
}

impl Operator {
    async fn sit_down(node: &ScratchNode) -> Result<Self> {
        let place = format!("http://{}", node.management().address());
        let pictures = tests::binaries::binary("longshore")?.ancestors().nth(2).context("target")?.join("pictures");
        let operator = Self { browser: Browser::start().await?, place, pictures };
        let browser = &operator.browser;
        browser.open(&operator.place).await?;
        browser.write("//input[@name='username']", "admin").await?;
        browser.write("//input[@name='password']", "admin-dev").await?;
        browser.click("//input[@value='Login']").await?;
        browser.says(PAGE, &["Overview"]).await?;
        Ok(operator)
    }

    async fn visit(&self, page: &str, words: &[&str]) -> Result<String> {
        self.browser.open(&format!("{}/#/{page}", self.place)).await?;
        self.browser.says(PAGE, words).await
    }

    async fn keep(&self, name: &str) -> Result<()> {
        self.browser.photograph(&self.pictures.join(format!("{name}.png"))).await
    }

    /// The UI remembers what was unfolded.
    async fn unfold(&self, section: &str) -> Result<()> {
        let heading = format!("//h2[contains(., '{section}')]");
        self.browser.see(&heading).await?;
        let content = format!("{heading}/following-sibling::div[contains(@class, 'hider')]");
        if !self.browser.shows(&content).await? {
            self.browser.click(&heading).await?;
        }
        self.browser.see(&content).await.map(drop)
    }

    /// Publishes by hand, to where anybody may.
    async fn invalidate(&self, body: &str, picture: &str) -> Result<()> {
        self.visit(&format!("exchanges/{VHOST}/cache.invalidate"), &["Publish message"]).await?;
        self.unfold("Publish message").await?;
        self.browser.write("//textarea[@name='payload']", body).await?;
        self.browser.click("//input[@value='Publish message']").await?;
        self.browser.says("//div[contains(@class, 'form-popup')]", &["Message published."]).await?;
        self.keep(picture).await?;
        self.browser.click("//div[contains(@class, 'form-popup')]//span[text()='Close']").await
    }

    /// Takes a look at the first message of a queue and puts it back.
    async fn look_into(&self, queue: &str, words: &[&str]) -> Result<String> {
        self.visit(&format!("queues/{VHOST}/{queue}"), &["Get messages"]).await?;
        self.unfold("Get messages").await?;
        self.browser.click("//input[@value='Get Message(s)']").await?;
        self.browser.says("//div[@id='msg-wrapper']", words).await
    }
}

async fn invalidates_by_hand(operator: &Operator, cluster: &Cluster) -> Result<()> {
    let http = cluster.client().http();
    eventually(SOON, "the key is cached", async || {
        let answer = http.get("/data").await?.expect(200)?;
        Ok((answer["cached"] == true).then_some(()))
    })
    .await?;
    operator.invalidate(r#"{"key":"my_data"}"#, "event-published").await?;
    // Not a wait for something to happen: the promise is about reads that begin later than this.
    sleep_until(Instant::now() + APPLIED_WITHIN).await;
    let answer = http.get("/data").await?.expect(200)?;
    ensure!(answer == json!({"cached": false, "data": "Fetched fresh data from DB"}), "{answer}");

    operator.invalidate("my_data", "mistake-published").await?;
    operator.look_into("cache.rejected", &["x-longshore-reason", "not-json", "my_data"]).await?;
    operator.keep("mistake-put-aside").await
}

async fn finds_queues_and_connections(operator: &Operator, cluster: &Cluster) -> Result<()> {
    let ports: Vec<u16> =
        (0..3).map(|n| Ok(cluster.address(&format!("gateway-{n}"))?.port())).collect::<Result<_>>()?;
    let listening: Vec<String> = ports.iter().map(|port| format!(":{port}.")).collect();
    let fixed = ["jobs.default", "jobs.dead", "jobs.rejected", "cache.intake", "cache.rejected"];
    let expected: Vec<&str> = listening.iter().map(String::as_str).chain(fixed).collect();
    operator.visit("queues", &expected).await?;
    eventually(SOON, "the numbers are there", async || {
        Ok((!operator.browser.read(PAGE).await?.contains("NaN")).then_some(()))
    })
    .await?;
    operator.keep("queues").await?;

    let (store, cache) = (cluster.address("store-svc")?.port(), cluster.address("cache-svc")?.port());
    let programs = ports.iter().map(|&port| ("gateway", port)).chain([("store-svc", store), ("cache-svc", cache)]);
    let page = operator.visit("connections", &["worker "]).await?;
    operator.keep("connections").await?;
    for (program, port) in programs {
        for side in ["publish", "consume"] {
            let shown =
                page.lines().any(|line| line.starts_with(program) && line.ends_with(&format!(":{port} {side}")));
            ensure!(shown, "no connection of {program} at {port} to {side}:\n{page}");
        }
    }
    Ok(())
}

async fn finds_bells_and_consumers(operator: &Operator, cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let slots = WORKERS * SLOTS;
    let running = client.accepted_all(slots, |_| json!({"task": "work", "payload": {"duration_ms": LONG_MS}})).await?;
    eventually(SOON, "every slot is busy", async || {
        let jobs = client.list("status=running").await?;
        Ok((jobs.len() == slots).then_some(()))
    })
    .await?;
    let waiting = client.accepted(&json!({"task": "noop"})).await?;
    let bell = ["bell", &waiting, "x-longshore-task: noop", "x-longshore-dispatch: 1", "app_id", "application/json"];
    let shown = operator.look_into("jobs.default", &bell).await?;
    let sender = shown.lines().find(|line| line.contains("app_id")).unwrap_or_default();
    ensure!(["gateway ", "store-svc "].iter().any(|program| sender.contains(program)), "{shown}");
    operator.keep("bell").await?;

    operator.unfold("Consumers").await?;
    eventually(SOON, "each worker has a consumer under its name", async || {
        let page = operator.browser.read(PAGE).await?;
        let named = page.lines().filter(|line| line.contains("worker ") && line.contains(" #1"));
        ensure!(named.count() == WORKERS, "{page}");
        Ok(Some(()))
    })
    .await?;
    operator.keep("consumers").await?;

    let http = client.http();
    try_join_all(running.iter().map(|id| async move { http.post(&format!("/jobs/{id}/cancel"), &json!({})).await }))
        .await?;
    client.succeeded(&waiting, SOON).await.map(drop)
}

#[tokio::test]
async fn an_operator_invalidates_by_hand_and_finds_everything_by_its_name() -> Result<()> {
    let node = ScratchNode::start().await?;
    let setup = Setup::rabbitmq(own_urls(&node)).workers(WORKERS).slots(SLOTS.to_string());
    scenario(setup, async |cluster| {
        let operator = Operator::sit_down(&node).await?;
        invalidates_by_hand(&operator, cluster).await?;
        finds_queues_and_connections(&operator, cluster).await?;
        finds_bells_and_consumers(&operator, cluster).await
    })
    .await
}
