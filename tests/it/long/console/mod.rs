//! Somebody at the console, in a real browser: walks each page, does what it is for, and finds no fault that a browser, an auditor of
//! accessibility or a thin line would show. The pictures are kept in `target/pictures/console`.

mod person;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Cluster, Setup, among_strangers, eventually};
use tokio::time::Instant;

use self::person::{Person, TAB};
use crate::SOON;

/// Of everything that the first view loads.
const FIRST_VIEW_BYTES_MAX: f64 = 300.0 * 1_024.0;
/// The job that is followed takes half a minute, so that there is time to look at it.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(90);
const MANY: usize = 100_000;
const BATCH: usize = 1_000;
/// A page of the list, from the click to its last row, in a build without optimizations on a busy machine.
const PAGE_WITHIN: Duration = Duration::from_secs(5);
const TASKS: &str = r#"
[task.report]
kind = "simulate"
duration_ms = 3_000
steps = 30

[task.thumbnail]
kind = "simulate"

[task.import]
kind = "command"
program = "sh"
args = ["-c", "echo reading the file; echo 'line 7: a number was expected' >&2; exit 3"]
"#;
const MAIN: &str = "//main";
/// Good for everything.
const KEY: &str = "the-first-key-0123456789abcdef0123456789abcdef";

fn row(text: &str) -> String {
    format!("//main//tr[contains(., '{text}')]")
}

/// Reads and jobs without an end.
async fn traffic(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let one = async || -> Result<()> {
        loop {
            for _ in 0..10 {
                client.http().get("/data").await?.expect(200)?;
            }
            let id = client.accepted(&json!({"task": "thumbnail", "payload": {"duration_ms": 100}})).await?;
            client.succeeded(&id, SOON).await?;
        }
    };
    tokio::try_join!(one(), one(), one()).map(drop)
}

async fn sees_the_overview(person: &Person, cluster: &Cluster) -> Result<()> {
    person.visit("", "Overview").await?;
    person.browser.says(MAIN, &["default", "healthy", "near cache"]).await?;
    let bytes = person.bytes_loaded().await?;
    ensure!(bytes > 10_000.0 && bytes <= FIRST_VIEW_BYTES_MAX, "the first view loads {bytes} bytes");
    // The first key leads past the navigation.
    person.browser.press(&[TAB]).await?;
    let focused = person.browser.run("return document.activeElement.textContent").await?;
    ensure!(focused == "Skip to content", "{focused}");
    person.browser.press(&[person::ENTER]).await?;
    let focused = person.browser.run("return document.activeElement.id").await?;
    ensure!(focused == "main", "{focused}");
    let looked_at = async {
        eventually(SOON + SOON, "the lines are long enough to be seen", async || {
            let line = person.browser.run("return document.querySelector('.spark path').getAttribute('d')").await?;
            Ok(line.as_str().filter(|line| line.matches('L').count() > 20).map(drop))
        })
        .await?;
        person.examine("overview").await
    };
    tokio::select! {
        examined = looked_at => examined,
        broken = traffic(cluster) => broken,
    }
}

/// Fills the form, first with a mistake, and follows the job to its end.
async fn submits_and_follows(person: &Person) -> Result<()> {
    let browser = &person.browser;
    person.visit("/submit", "Submit a job").await?;
    browser.write("//input[@name='task']", "report").await?;
    browser.write("//textarea[@name='payload']", "{\"duration_ms\": 30000, \"n\": 12345678901234567890").await?;
    browser.click("//main//button[text()='Submit']").await?;
    browser.says("//*[@id='payload-wrong']", &["JSON"]).await?;
    browser.write("//textarea[@name='payload']", "{\"duration_ms\": 30000, \"n\": 12345678901234567890}").await?;
    browser.click("//summary").await?;
    browser.write("//input[@name='max_attempts']", "1000").await?;
    browser.click("//main//button[text()='Submit']").await?;
    browser.says("//*[@id='max_attempts-wrong']", &["must be 1 to 100"]).await?;
    person.forgive("/longtask", 422).await?;
    person.examine("submit").await?;
    browser.write("//input[@name='max_attempts']", "2").await?;
    browser.click("//main//button[text()='Submit']").await?;
    browser.says(MAIN, &["running", "12345678901234567890"]).await?;
    eventually(SOON, "the bar moves by itself", async || {
        let value = browser.run("return document.querySelector('#progress progress')?.value").await?;
        Ok(value.as_f64().filter(|value| (0.2..1.0).contains(value)))
    })
    .await?;
    person.examine("job-running").await?;
    eventually(FOLLOWED_WITHIN, "its end is shown by itself", async || {
        Ok(browser.read(MAIN).await?.contains("Ended: succeeded").then_some(()))
    })
    .await?;
    browser.says(MAIN, &["succeeded", "\"duration_ms\": 30000"]).await.map(drop)
}

async fn cancels(person: &Person, cluster: &Cluster) -> Result<()> {
    let id = cluster.client().accepted(&json!({"task": "report", "payload": {"duration_ms": 600_000}})).await?;
    person.visit(&format!("/jobs/{id}"), "Job report").await?;
    person.browser.says(MAIN, &["running"]).await?;
    person.browser.click("//main//button[text()='Cancel']").await?;
    person.browser.see("//dialog").await?;
    person.examine("job-cancel").await?;
    person.browser.click("//dialog//button[text()='Cancel the job']").await?;
    person.browser.says(MAIN, &["cancelled", "Asked to end"]).await.map(drop)
}

/// Jobs that fail, found by their error, replayed by a filter, and one of them edited and replayed.
async fn replays(person: &Person, cluster: &Cluster) -> Result<()> {
    let (browser, client) = (&person.browser, cluster.client());
    let ids = client.accepted_all(12, |_| json!({"task": "import", "max_attempts": 1})).await?;
    let other = json!({"task": "thumbnail", "max_attempts": 1, "payload": {"fail_attempts": 9}});
    let failing = client.accepted(&other).await?;
    person.visit("/failed", "Failed jobs").await?;
    browser.says(&row("a number was expected"), &["12", "import"]).await?;
    browser.says(&row("thumbnail"), &["1"]).await?;
    person.examine("failed").await?;
    browser.click(&format!("{}//button", row("a number was expected"))).await?;
    browser.click("//main//button[contains(., 'dry run')]").await?;
    browser.says(MAIN, &["12 jobs are like that"]).await?;
    browser.click("//main//button[text()='Replay 12 jobs']").await?;
    browser.says(MAIN, &["The replay has begun"]).await?;
    browser.says(&row("done"), &["12"]).await?;
    let again = eventually(SOON, "they have run again", async || {
        let job = client.http().get(&format!("/jobs/{}", ids[0])).await?.expect(200)?;
        Ok((job["run"] == 2 && job["status"] == "failed").then_some(job))
    })
    .await?;
    ensure!(again["attempt"] == 1, "{again}");

    person.visit(&format!("/jobs/{}", ids[0]), "Job import").await?;
    browser.says(MAIN, &["Run 2, attempt 1 failed", "reading the file"]).await?;
    person.examine("job-failed").await?;

    person.visit(&format!("/jobs/{failing}"), "Job thumbnail").await?;
    browser.click("//main//button[text()='Retry']").await?;
    browser.says(MAIN, &["Run 2", "failed"]).await?;
    browser.click("//main//a[text()='Edit and replay']").await?;
    browser.says(MAIN, &["Filled with what job"]).await?;
    browser.write("//textarea[@name='payload']", "{\"fail_attempts\": 0}").await?;
    browser.click("//main//button[text()='Submit']").await?;
    browser.says(MAIN, &["Ended: succeeded"]).await.map(drop)
}

async fn pauses_a_queue(person: &Person, cluster: &Cluster) -> Result<()> {
    let (browser, client) = (&person.browser, cluster.client());
    person.visit("/queues", "Queues").await?;
    browser.click(&format!("{}//button[text()='Pause']", row("default"))).await?;
    browser.says(&row("default"), &["paused since", "Resume"]).await?;
    let waiting = client.accepted(&json!({"task": "thumbnail"})).await?;
    person.examine("queues").await?;
    person.visit(&format!("/jobs/{waiting}"), "Job thumbnail").await?;
    browser.says(MAIN, &["waits for queue paused"]).await?;
    person.visit("/queues", "Queues").await?;
    // By the keyboard alone.
    browser.run("document.querySelector('main td button').focus()").await?;
    browser.press(&[person::ENTER]).await?;
    browser.says(&row("default"), &["open", "Pause"]).await?;
    client.succeeded(&waiting, SOON).await.map(drop)
}

async fn looks_at_workers_and_caches(person: &Person, cluster: &Cluster) -> Result<()> {
    let browser = &person.browser;
    person.visit("/workers", "Workers").await?;
    browser.says(MAIN, &["report", "thumbnail", "default (4)"]).await?;
    person.examine("workers").await?;
    let http = cluster.client().http();
    for _ in 0..6 {
        http.get("/data").await?.expect(200)?;
    }
    person.visit("/cache", "Cache").await?;
    browser.write("//input[@name='key']", "my_data").await?;
    browser.click("//main//button[text()='Look']").await?;
    browser.says(MAIN, &["would serve it", "version 1"]).await?;
    person.examine("cache").await?;
    browser.click("//main//button[text()='Invalidate']").await?;
    browser.says(MAIN, &["Nobody reads an older value of it any more: fenced in", "invalidated since"]).await?;
    let read = http.get("/data").await?.expect(200)?;
    ensure!(read["cached"] == false, "{read}");
    browser.click("//main//button[text()='Read it']").await?;
    browser.says(MAIN, &["would serve it"]).await.map(drop)
}

/// The list stays quick with many jobs, forwards, back, filtered and by id.
async fn pages_through_many(person: &Person, cluster: &Cluster) -> Result<()> {
    let http = cluster.client().http();
    let batch: Vec<Value> = vec![json!({"task": "thumbnail", "delay_ms": 86_400_000}); BATCH];
    let mut last = String::new();
    for _ in 0..MANY / BATCH {
        let told = http.post("/jobs:batch", &json!(batch)).await?.expect(200)?;
        last = told["items"][BATCH - 1]["job"]["job_id"].as_str().context("an id")?.to_owned();
    }
    let browser = &person.browser;
    let quick = async |what: &str, begun: Instant| {
        browser.see("//main//tbody/tr[50]").await?;
        ensure!(begun.elapsed() < PAGE_WITHIN, "{what} took {:?}", begun.elapsed());
        anyhow::Ok(())
    };
    let begun = Instant::now();
    person.visit("/jobs", "Jobs").await?;
    quick("the first page", begun).await?;
    let first = browser.read("//main//tbody/tr[1]").await?;
    person.examine("jobs").await?;
    for page in 2..5 {
        let begun = Instant::now();
        let before = browser.read("//main//tbody/tr[1]//a/following::span[1]").await?;
        browser.click("//main//button[text()='Next']").await?;
        eventually(SOON, "another page", async || {
            Ok((browser.read("//main//tbody/tr[1]//a/following::span[1]").await? != before).then_some(()))
        })
        .await?;
        quick(&format!("page {page}"), begun).await?;
    }
    for _ in 2..5 {
        browser.run("history.back()").await?;
    }
    eventually(SOON, "the first page again", async || {
        Ok((browser.read("//main//tbody/tr[1]").await? == first).then_some(()))
    })
    .await?;
    let begun = Instant::now();
    browser.click("//main//a[text()='failed']").await?;
    browser.says(MAIN, &["import"]).await?;
    ensure!(begun.elapsed() < PAGE_WITHIN, "a filter took {:?}", begun.elapsed());
    browser.write("//input[@name='task']", &last).await?;
    browser.press(&[person::ENTER]).await?;
    browser.says(MAIN, &[last.as_str(), "waits for due time"]).await.map(drop)
}

#[tokio::test]
async fn a_person_does_everything_at_the_console() -> Result<()> {
    let setup = Setup::embedded().tasks(TASKS).alone();
    among_strangers(setup, async |cluster| {
        let person = Person::sit_down(cluster.address("lb")?).await?;
        sees_the_overview(&person, cluster).await?;
        submits_and_follows(&person).await?;
        cancels(&person, cluster).await?;
        replays(&person, cluster).await?;
        pauses_a_queue(&person, cluster).await?;
        looks_at_workers_and_caches(&person, cluster).await?;
        pages_through_many(&person, cluster).await?;
        person.has_seen_no_fault().await
    })
    .await
}

/// Where keys are asked for.
#[tokio::test]
async fn a_person_logs_in_and_out() -> Result<()> {
    let setup = Setup::embedded().api_key(KEY).alone();
    among_strangers(setup, async |cluster| {
        let person = Person::sit_down(cluster.address("lb")?).await?;
        let browser = &person.browser;
        person.visit("", "Log in").await?;
        person.forgive("/console/session", 401).await?;
        person.forgive("/console/events", 401).await?;
        browser.write("//input[@name='key']", &KEY.replace('0', "1")).await?;
        browser.click("//main//button[text()='Log in']").await?;
        browser.says(MAIN, &["Not authenticated"]).await?;
        person.forgive("/console/session", 401).await?;
        person.examine("login").await?;
        browser.write("//input[@name='key']", KEY).await?;
        browser.press(&[person::ENTER]).await?;
        browser.says("//h1", &["Overview"]).await?;
        browser.says(MAIN, &["default", "healthy"]).await?;
        browser.says("//header", &["Log out"]).await?;
        person.visit("/jobs", "Jobs").await?;
        browser.click("//header//button[text()='Log out']").await?;
        browser.says("//h1", &["Log in"]).await?;
        person.visit("/jobs", "Log in").await?;
        for asked in ["/console/session", "/console/events", "/jobs?limit=50", "/queues"] {
            person.forgive(asked, 401).await?;
        }
        person.has_seen_no_fault().await
    })
    .await
}
