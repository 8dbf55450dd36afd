//! `longshore load` tells the truth: about a system that keeps up, one that does not, one that stalls, forgets, refuses, or dies.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::program::{Ended, Running, Up, run};
use crate::scripted::{Script, serve};

async fn load(folder: &Path, url: &str, line: &str) -> Ended {
    let fixed = ["load", "--json", "--url", url];
    run(folder, &[], &fixed.into_iter().chain(line.split_whitespace()).collect::<Vec<_>>()).await
}

fn report(ended: &Ended, status: i32) -> Value {
    assert_eq!(ended.status, status, "{ended:?}");
    told(ended)
}

/// Where the status depends on how busy the machine is: held, or not.
fn told(ended: &Ended) -> Value {
    assert!(matches!(ended.status, 0 | 1 | 3), "{ended:?}");
    serde_json::from_str(&ended.out).expect("one JSON document")
}

/// The kind's line of the report.
fn kind<'a>(report: &'a Value, name: &str) -> &'a Value {
    let kinds = report["kinds"].as_array().expect("kinds");
    kinds.iter().find(|kind| kind["kind"] == name).expect("the kind was part of the mix")
}

/// Runs a test beside the servers that it starts.
async fn beside<F: Future<Output = ()>>(test: impl FnOnce(tempfile::TempDir) -> F) {
    let folder = tempfile::tempdir().expect("a folder");
    LocalSet::new().run_until(test(folder)).await;
}

/// 400 requests, and from the hundredth on a stall of 1.5 s in which some 150 are due: a tenth of all waits for more than a second. Who
/// counts from the sending, or sends only after an answer, sees one slow request and a fine p99.
async fn stall_is_in_the_percentiles(folder: &Path, in_flight: &str) {
    let url = serve(Script::Stall(Duration::from_millis(1_500))).await;
    let line = format!("--mix read=1 --rate 100/s --for 4s --max-in-flight {in_flight}");
    // Held or not depends on how fast a machine catches up; the latency does not.
    let ended = load(folder, &url, &line).await;
    let report = told(&ended);
    let latency = &kind(&report, "read")["latency_ms"];
    let at = |name: &str| latency[name].as_f64().expect("a number");
    assert_eq!((latency["count"].as_u64(), report["requests"]["failed"].as_u64()), (Some(400), Some(0)), "{report}");
    assert!(at("p50") < 750.0 && at("p90") > 800.0, "{latency}");
    assert!((1_300.0..3_000.0).contains(&at("p99")) && at("max") >= 1_490.0, "{latency}");
    // The rate itself did not give way.
    assert_eq!(report["requests"]["offered_per_s"], 100.0, "{report}");
}

#[tokio::test]
async fn a_stall_is_in_the_percentiles_with_many_connections() {
    beside(async |folder| stall_is_in_the_percentiles(folder.path(), "1000").await).await;
}

#[tokio::test]
async fn a_stall_is_in_the_percentiles_with_a_single_connection() {
    beside(async |folder| stall_is_in_the_percentiles(folder.path(), "1").await).await;
}

#[tokio::test]
async fn what_never_gets_an_answer_is_counted_with_its_waiting() {
    beside(async |folder| {
        let url = serve(Script::Stall(Duration::from_secs(3_600))).await;
        let line = "--mix read=1 --rate 100/s --for 2s --max-in-flight 50 --max-backlog 20 --drain 1s";
        let report = report(&load(folder.path(), &url, line).await, 3);
        let read = kind(&report, "read");
        // 99 answers; 50 in flight, 20 in the backlog, 31 never sent.
        assert_eq!((read["done"].as_u64(), read["failed"].as_u64()), (Some(99), Some(101)), "{report}");
        assert_eq!(read["errors"]["no answer by the end"], 50, "{read}");
        assert_eq!(read["errors"]["not sent by the end"], 20, "{read}");
        assert_eq!(read["errors"]["not sent, the backlog was full"], 31, "{read}");
        assert_eq!(read["latency_ms"]["count"], 200, "{read}");
        assert!(read["latency_ms"]["p90"].as_f64() > Some(1_000.0), "{read}");
        assert_eq!(report["requests"]["not_sent"], 51, "{report}");
        let reasons = report["verdict"]["reasons"].to_string();
        assert!(reasons.contains("100/s offered") && reasons.contains("51 requests were never sent"), "{reasons}");
    })
    .await;
}

#[tokio::test]
async fn a_service_that_forgets_its_jobs_is_found_out() {
    beside(async |folder| {
        let url = serve(Script::Forget).await;
        let report = report(&load(folder.path(), &url, "--mix submit=1 --rate 50/s --for 1s").await, 1);
        assert_eq!((report["jobs"]["accepted"].as_u64(), report["jobs"]["lost"].as_u64()), (Some(50), Some(50)));
        assert_eq!(report["jobs"]["lost_ids"].as_array().map(Vec::len), Some(20), "{report}");
    })
    .await;
}

#[tokio::test]
async fn quick_refusals_are_failures_and_no_latency() {
    beside(async |folder| {
        let url = serve(Script::Refuse).await;
        let report = report(&load(folder.path(), &url, "--mix submit=1 --rate 50/s --for 1s").await, 3);
        let submit = kind(&report, "submit");
        assert_eq!(submit["errors"]["429 rate-limited"], 50, "{submit}");
        assert_eq!((&submit["latency_ms"]["count"], &submit["failed_after_ms"]["count"]), (&0.into(), &50.into()));
        assert!(report["verdict"]["reasons"].to_string().contains("100 % of the requests failed"), "{report}");
    })
    .await;
}

#[tokio::test]
async fn another_service_is_not_loaded() {
    beside(async |folder| {
        let url = serve(Script::Stranger).await;
        let ended = load(folder.path(), &url, "").await;
        assert_eq!(ended.status, 69, "{ended:?}");
        assert!(ended.err.contains("is it Longshore?"), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_load_reports_what_was() {
    beside(async |folder| {
        let url = serve(Script::Forget).await;
        let line = ["load", "--json", "--url", &url, "--mix", "read=1", "--rate", "20/s", "--for", "1h"];
        let mut running = Running::start(folder.path(), &[], &line);
        running.says("answered").await;
        running.signal(Signal::INT);
        let report = told(&running.ended().await);
        assert_eq!(report["interrupted"], true, "{report}");
        assert!(report["requests"]["done"].as_u64() >= Some(20), "{report}");
        assert!(report["length_s"].as_f64().is_some_and(|length| (1.0..60.0).contains(&length)), "{report}");
    })
    .await;
}

/// The names of all members, of whatever depth.
fn members(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            into.extend(object.keys().cloned());
            object.values().for_each(|value| members(value, into));
        }
        Value::Array(array) => array.iter().for_each(|value| members(value, into)),
        _ => {}
    }
}

/// What the page must name, in backquotes.
fn is_in_the_page(name: &str) {
    let page = include_str!("../../../docs/load.md");
    assert!(page.contains(&format!("`{name}`")), "docs/load.md does not name {name}");
}

#[tokio::test]
async fn every_option_is_in_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = run(folder.path(), &[], &["load", "--help"]).await.out;
    let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
    let options: BTreeSet<&str> =
        options.map(|word| word.trim_end_matches(|end: char| !end.is_alphanumeric())).collect();
    assert!(options.len() > 15, "{options:?}");
    options.into_iter().filter(|option| *option != "--help").for_each(is_in_the_page);
}

async fn every_job_is_accounted_for(folder: &Path) {
    let up = Up::start(folder).await;
    let every_kind =
        "--mix submit=4,wait=2,read=3,write=1,invalidate=1 --rate 40/s --for 3s --keys 5 --report page.html";
    let held = load(folder, up.url(), every_kind).await;
    let report = told(&held);
    let jobs = &report["jobs"];
    let (requests, of_kind) = (&report["requests"], |name| kind(&report, name)["done"].as_u64().unwrap_or_default());
    assert_eq!((requests["due"].as_u64(), requests["done"].as_u64()), (Some(120), Some(120)), "{report}");
    assert_eq!(jobs["accepted"].as_u64(), Some(of_kind("submit") + of_kind("wait")), "{report}");
    assert_eq!((&jobs["succeeded"], &jobs["lost"], &jobs["open"]), (&jobs["accepted"], &0.into(), &0.into()), "{jobs}");
    assert!(jobs["submit_to_done_ms"]["p50"].as_f64() > Some(0.0), "{jobs}");
    assert_eq!(jobs["clock"]["offset_ms"], 0.0, "one machine has one clock: {jobs}");
    let names: Vec<_> = report["processes"].as_array().expect("processes").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["this generator", "longshore"], "{report}");

    let mut names = BTreeSet::new();
    members(&report, &mut names);
    names.iter().for_each(|name| is_in_the_page(name));

    let page = std::fs::read_to_string(folder.join("page.html")).expect("the page");
    assert!(page.matches("<svg").count() >= 9, "{} plots", page.matches("<svg").count());
    for fetched in ["<script", "<link", "<img", "src=", "url(", "@import"] {
        assert!(!page.contains(fetched), "the page fetches something: {fetched}");
    }

    // So many that they are looked up in pages.
    let many = told(&load(folder, up.url(), "--mix submit=1 --rate 400/s --for 1s").await);
    assert_eq!((&many["jobs"]["succeeded"], &many["jobs"]["lost"]), (&400.into(), &0.into()), "{many}");

    // 120 jobs of 400 ms each in 3 s are more than eight slots can do; the submits are answered all the same.
    let behind = ["load", "--url", up.url(), "--mix", "submit=1", "--rate", "40/s", "--for", "3s", "--task", "slow"];
    let behind: Vec<&str> = behind.into_iter().chain(["--payload", "{\"duration_ms\":400,\"steps\":0}"]).collect();
    let ended = run(folder, &[], &behind).await;
    assert_eq!(ended.status, 3, "{ended:?}");
    for said in
        ["THE RATE WAS NOT HELD: 40/s offered", "jobs are accepted faster than they are run", "120 done", "0 lost"]
    {
        assert!(ended.out.contains(said), "{said}: {ended:?}");
    }
    assert_eq!(up.stop().await, Some(0));
}

#[tokio::test]
async fn every_job_of_a_real_system_is_accounted_for() {
    beside(async |folder| every_job_is_accounted_for(folder.path()).await).await;
}

#[tokio::test]
async fn a_system_that_dies_half_way_is_reported_and_no_job_called_lost() {
    beside(async |folder| {
        let up = Up::start(folder.path()).await;
        let line = [
            "load",
            "--json",
            "--url",
            up.url(),
            "--mix",
            "submit=1",
            "--rate",
            "40/s",
            "--for",
            "4s",
            "--drain",
            "2s",
        ];
        let mut running = Running::start(folder.path(), &[], &line);
        running.says("answered").await;
        up.kill_9().await;
        let report = report(&running.ended().await, 3);
        let (jobs, submit) = (&report["jobs"], kind(&report, "submit"));
        assert_eq!((&jobs["lost"], &jobs["unknown"]), (&0.into(), &jobs["accepted"]), "{report}");
        assert!(submit["errors"]["no connection"].as_u64() > Some(10), "{submit}");
        assert_eq!(submit["due"], 160, "the schedule went on: {submit}");
    })
    .await;
}
