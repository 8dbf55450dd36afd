//! The description of the API is held against a running system by schemathesis, which makes requests of it, good and bad; and the page at
//! `/docs` against a real browser. `tests/run` installs both.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::binaries::binary;
use tests::browser::Browser;
use tests::process::{Process, Spec};
use tests::{Cluster, Setup, eventually};

/// For all that it does.
const TAKES_S: u64 = 120;
const ENDS_WITHIN: Duration = Duration::from_secs(600);
/// Requests that it makes up for each operation.
const EXAMPLES: u32 = 40;
/// What schemathesis would hold against the API, and is not so.
const CONFIGURATION: &str = r#"
[checks.positive_data_acceptance]
# Which queues there are, whether a key is free and a lease held, no schema can say: what is well-formed is refused, too.
enabled = false

[phases.coverage]
# The balancer knows no TRACE, whatever the route: 501.
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]

[[operations]]
include-name = "POST /jobs:batch"
# A bad item is answered in its place, and never fails its neighbours.
checks.negative_data_rejection.enabled = false

[[operations]]
include-name = "GET /keys/{id}"
# A key that was revoked opens nothing, and is shown with the time when that was.
checks.use_after_free.enabled = false

[[operations]]
include-name = "GET /jobs/{id}/events"
# A stream lasts as long as its job, and jobs wait for ever here; it/events.rs is about streams.
enabled = false
"#;

fn target() -> Result<PathBuf> {
    Ok(binary("longshore")?.ancestors().nth(2).context("the target folder")?.to_owned())
}

/// Good for everything.
const FIRST_KEY: &str = "the-first-key-0123456789abcdef0123456789abcdef";

/// The harness is not asked whether all jobs were accepted: whoever submits here does so without its client.
async fn running(setup: Setup, steps: impl AsyncFnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let cluster = Cluster::start(&setup).await?;
    let outcome = steps(&cluster).await;
    if outcome.is_err() {
        cluster.show_logs();
    }
    outcome
}

/// With this key, if one is given.
async fn holds_against(cluster: &Cluster, key: Option<&str>) -> Result<()> {
    let program = target()?.join("schemathesis/bin/schemathesis");
    ensure!(program.exists(), "{} is not there: tests/run --all installs it", program.display());
    let folder = tempfile::Builder::new().prefix("longshore-schemathesis-").tempdir()?;
    fs::write(folder.path().join("schemathesis.toml"), CONFIGURATION)?;
    let place = cluster.client().http().address();
    let mut arguments = vec![
        "run".to_owned(),
        format!("http://{place}/openapi.json"),
        format!("--max-examples={EXAMPLES}"),
        format!("--max-time={TAKES_S}"),
        "--continue-on-failure".to_owned(),
        "--request-timeout=60".to_owned(),
    ];
    if let Some(key) = key {
        arguments.push(format!("--header=Authorization: Bearer {key}"));
    }
    let home = folder.path().display().to_string();
    let mut process = Process::start(Spec {
        name: "schemathesis".to_owned(),
        binary: program,
        arguments,
        environment: BTreeMap::from([("HOME".to_owned(), home), ("NO_COLOR".to_owned(), "1".to_owned())]),
        folder: folder.path().to_owned(),
    })?;
    let status = process.exited(ENDS_WITHIN).await?;
    ensure!(status.success(), "{status}\n{}", process.log());
    Ok(())
}

#[tokio::test]
async fn no_answer_is_undocumented() -> Result<()> {
    running(Setup::embedded(), async |cluster| holds_against(cluster, None).await).await
}

#[tokio::test]
async fn no_answer_to_who_has_no_key_is_undocumented() -> Result<()> {
    running(Setup::embedded().api_key(FIRST_KEY), async |cluster| holds_against(cluster, None).await).await
}

#[tokio::test]
async fn no_answer_to_who_has_a_key_is_undocumented() -> Result<()> {
    running(Setup::embedded().api_key(FIRST_KEY), async |cluster| holds_against(cluster, Some(FIRST_KEY)).await).await
}

#[tokio::test]
async fn a_request_can_be_sent_from_the_page() -> Result<()> {
    running(Setup::embedded(), async |cluster| {
        let browser = Browser::start().await?;
        let place = cluster.client().http().address();
        let pictures = target()?.join("pictures");
        browser.open(&format!("http://{place}/docs#submitJob")).await?;
        browser.says("//main", &["The HTTP API of Longshore", "Submit a job", "Idempotency-Key"]).await?;
        let operation = |id: &str| format!("//details[@id='{id}']");
        let submit = operation("submitJob");
        browser.write(&format!("{submit}//textarea"), r#"{"task": "noop"}"#).await?;
        browser.click(&format!("{submit}//button[text()='Send']")).await?;
        browser.says(&format!("{submit}//div[@role='status']"), &["202", "job_id"]).await?;
        browser.photograph(&pictures.join("docs-submit.png")).await?;
        // The other forms know the job by now.
        browser.click(&format!("{}/summary", operation("getJob"))).await?;
        let answer = format!("{}//div[@role='status']", operation("getJob"));
        eventually(crate::SOON, "the page shows the job's end", async || {
            browser.click(&format!("{}//button[text()='Send']", operation("getJob"))).await?;
            Ok(browser.says(&answer, &["200"]).await?.contains("succeeded").then_some(()))
        })
        .await?;
        browser.photograph(&pictures.join("docs-job.png")).await
    })
    .await
}
