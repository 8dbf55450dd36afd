//! Each command that asks a running system, for people and as JSON, and what it says to bad input.

use std::path::Path;

use chassis::testing::rabbit::free_port;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::program::{Ended, FREE_PORTS, Up, first_lines, run};
use crate::system::{ask, told};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000001";

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.status, 0, "{ended:?}");
    serde_json::from_str(&ended.out).expect("one JSON document")
}

/// Runs a test beside a system of its own.
async fn beside(test: impl AsyncFnOnce(&Up, &Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let beside = async {
        let up = Up::start(folder.path()).await;
        test(&up, folder.path()).await;
        assert_eq!(up.stop().await, Some(0));
    };
    LocalSet::new().run_until(beside).await;
}

#[tokio::test]
async fn one_job_is_shown_and_dropped() {
    beside(async |up, folder| {
        let submit = ["submit", "slow", "--payload", "{\"duration_ms\": 60000}", "--unique-key", "nightly"];
        let id = ask(up, folder, &submit).await.out.trim().to_owned();
        told(&ask(up, folder, &submit).await, 65, "", &format!("(409 Unique key held): The job {id} has"));
        told(&ask(up, folder, &submit).await, 65, "", &format!("See `longshore watch {id}`."));
        told(&ask(up, folder, &["show", &id]).await, 0, "unique key      nightly", "");
        assert_eq!(json(&ask(up, folder, &["show", &id, "--json"]).await)["job_id"], id);
        told(&ask(up, folder, &["payload", &id]).await, 0, "{\"duration_ms\": 60000}", "");
        told(&ask(up, folder, &["result", &id]).await, 65, "", "was refused (404 Not finished)");
        told(&ask(up, folder, &["purge", &id]).await, 65, "", "cancel it first");
        assert_eq!(json(&ask(up, folder, &["cancel", &id, "--json"]).await)["job_id"], id);
        told(&ask(up, folder, &["watch", &id]).await, 3, "", "was cancelled");
        told(&ask(up, folder, &["result", &id]).await, 65, "", "See `longshore show`.");
        assert_eq!(json(&ask(up, folder, &["logs", &id, "--json"]).await)["job_id"], id);
        told(&ask(up, folder, &["purge", &id]).await, 0, "is dropped", "");
        told(&ask(up, folder, &["show", &id]).await, 65, "", "no longer kept");
        for command in ["show", "result", "payload", "purge", "logs", "cancel", "retry"] {
            told(&ask(up, folder, &[command, UNKNOWN]).await, 65, "", "there is no job");
        }
        told(&ask(up, folder, &["show", UNKNOWN, "--watch"]).await, 65, "", "there is no job");

        let done = json(&ask(up, folder, &["submit", "noop", "--json"]).await);
        let id = done["job_id"].as_str().expect("an id");
        told(&ask(up, folder, &["watch", id]).await, 0, "{\"task\":\"noop\"", "");
        told(&ask(up, folder, &["result", id]).await, 0, "{\"task\":\"noop\"", "");
    })
    .await;
}

#[tokio::test]
async fn a_job_is_shown_at_each_change() {
    beside(async |up, folder| {
        let submit = ["submit", "slow", "--payload", "{\"duration_ms\": 1500}"];
        let id = ask(up, folder, &submit).await.out.trim().to_owned();
        let ended = ask(up, folder, &["show", &id, "--watch", "--json"]).await;
        assert_eq!(ended.status, 0, "{ended:?}");
        let seen: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(seen.len() >= 2 && seen.iter().all(|job| job["job_id"] == id), "{ended:?}");
        assert_eq!(seen.last().expect("one")["status"], "succeeded");
        // One that has ended is shown once.
        told(&ask(up, folder, &["show", &id, "--watch"]).await, 0, "status          succeeded", "");
    })
    .await;
}

#[tokio::test]
async fn many_jobs_come_from_a_file() {
    beside(async |up, folder| {
        let lines = "{\"task\":\"noop\"}\n{\"task\":\"noop\",\"queue\":\"nope\"}\n{\"task\":\"noop\"}\n";
        std::fs::write(folder.join("jobs.jsonl"), lines).expect("written");
        let ended = ask(up, folder, &["batch", "jobs.jsonl"]).await;
        told(&ended, 65, "", "job 2: queue: there is no queue `nope`");
        assert!(ended.out.lines().count() == 2 && ended.err.contains("1 of 3 jobs were refused"), "{ended:?}");
        for id in ended.out.lines() {
            told(&ask(up, folder, &["watch", id]).await, 0, "noop", "");
        }
        let ended = ask(up, folder, &["batch", "jobs.jsonl", "--json"]).await;
        let statuses: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let statuses: Vec<_> = statuses.iter().map(|item| item["status"].as_u64()).collect();
        assert_eq!(statuses, [Some(202), Some(422), Some(202)]);

        let many = vec!["{\"task\":\"noop\"}"; 2_500].join(",");
        std::fs::write(folder.join("jobs.json"), format!("[{many}]")).expect("written");
        let ended = ask(up, folder, &["batch", "jobs.json"]).await;
        assert_eq!((ended.status, ended.out.lines().count()), (0, 2_500), "{}", ended.err);
        std::fs::write(folder.join("bad.json"), "[{\"task\":\"noop\",\"colour\":1}]").expect("written");
        told(&ask(up, folder, &["batch", "bad.json"]).await, 65, "", "job 1 is none: unknown field `colour`");
    })
    .await;
}

#[tokio::test]
async fn data_are_read_written_and_looked_at() {
    beside(async |up, folder| {
        told(&ask(up, folder, &["data", "get", "my_data"]).await, 0, "\"Fetched fresh data from DB\"\n", "");
        told(&ask(up, folder, &["data", "get", "price"]).await, 65, "", "no data under the key price");
        let put = ["data", "put", "price", "{\"eur\": 1.0e2}", "--tag", "prices"];
        told(&ask(up, folder, &put).await, 0, "nobody reads an older value any more", "");
        told(&ask(up, folder, &["data", "get", "price"]).await, 0, "{\"eur\": 1.0e2}\n", "");
        let read = json(&ask(up, folder, &["data", "get", "price", "--json"]).await);
        assert!(read["cached"].is_boolean() && read["data"]["eur"] == 100.0, "{read}");
        let again = ["data", "put", "price", "2", "--if-none-match", "*"];
        told(&ask(up, folder, &again).await, 65, "", "(412 Precondition failed)");
        let token = ask(up, folder, &["data", "put", "price", "3", "--no-wait", "--token"]).await;
        told(&ask(up, folder, &["data", "get", "price", "--token", token.out.trim()]).await, 0, "3\n", "");
        std::fs::write(folder.join("label.html"), "<b>3 EUR</b>").expect("written");
        let bytes = ["data", "put", "label", "@label.html", "--media-type", "text/html", "--tag", "prices", "--json"];
        assert_eq!(json(&ask(up, folder, &bytes).await)["fenced"], true);
        assert_eq!(ask(up, folder, &["data", "get", "label"]).await.out, "<b>3 EUR</b>");

        told(&ask(up, folder, &["inspect", "label"]).await, 0, "shared cache", "");
        assert!(json(&ask(up, folder, &["inspect", "label", "--json"]).await)["gateways"].is_array());
        for (covered, says) in [
            (vec!["price", "label"], "older value of label any more"),
            (vec!["--tag", "prices"], "a key with the tag prices"),
            (vec!["--prefix", "la"], "a key that begins with la"),
            (vec!["--all"], "any key"),
        ] {
            let arguments: Vec<&str> = ["invalidate"].into_iter().chain(covered).collect();
            told(&ask(up, folder, &arguments).await, 0, says, "");
        }
        assert_eq!(json(&ask(up, folder, &["invalidate", "price", "--no-wait", "--json"]).await)["fenced"], false);
        told(&ask(up, folder, &["data", "delete", "price"]).await, 0, "price is deleted as version", "");
        told(&ask(up, folder, &["data", "get", "price"]).await, 65, "", "no data");
    })
    .await;
}

#[tokio::test]
async fn lists_are_shown_again_and_again() {
    beside(async |up, folder| {
        told(&ask(up, folder, &["workers"]).await, 0, "report_*", "");
        assert!(json(&ask(up, folder, &["workers", "--json"]).await)["workers"][0]["slots"].is_u64());
        assert_eq!(json(&ask(up, folder, &["pause", "default", "--json"]).await)["paused"], true);
        assert_eq!(json(&ask(up, folder, &["resume", "default", "--json"]).await)["paused"], false);
        let variables = [("LONGSHORE_URL", up.url())];
        for list in ["queues", "workers", "jobs", "retries"] {
            for line in first_lines(folder, &variables, &[list, "--watch=200ms", "--json"], 3).await {
                assert!(serde_json::from_str::<Value>(&line).is_ok_and(|page| page.is_object()), "{line}");
            }
        }
        let lines = first_lines(folder, &variables, &["queues", "--watch=200ms"], 4).await;
        assert_eq!((&lines[0], lines[2].as_str()), (&lines[3], ""), "a page, an empty line, the next page");
    })
    .await;
}

#[tokio::test]
async fn backends_are_seen_drained_and_removed_and_all_is_seen_at_a_glance() {
    let folder = tempfile::tempdir().expect("a folder");
    let admin = format!("127.0.0.1:{}", free_port().expect("a port"));
    let test = async {
        let variables: Vec<_> = FREE_PORTS.into_iter().chain([("LONGSHORE_ADMIN_LISTEN", admin.as_str())]).collect();
        let up = Up::start_with(folder.path(), &variables).await;
        let ask = async |arguments: &[&str]| {
            run(folder.path(), &[("LONGSHORE_ADMIN_LISTEN", &admin), ("LONGSHORE_URL", up.url())], arguments).await
        };
        let listed = json(&ask(&["backends", "--json"]).await);
        let backend = listed["backends"][0]["address"].as_str().expect("a backend");
        told(&ask(&["backends"]).await, 0, backend, "picked round-robin");
        told(&ask(&["backends", "set", backend, "0"]).await, 0, "is drained", "");
        told(&ask(&["backends"]).await, 0, "draining", "");
        told(&ask(&["backends", "set", backend, "1000"]).await, 65, "", "The weight is from 0");
        told(&ask(&["backends", "remove", backend]).await, 0, "is removed", "");
        told(&ask(&["backends", "remove", backend]).await, 65, "", "404");
        told(&ask(&["backends", "reload"]).await, 0, "has read its files again", "");

        let id = ask(&["submit", "slow", "--payload", "{\"duration_ms\": 60000}"]).await.out;
        let variables = [("LONGSHORE_URL", up.url())];
        let mut seen = ask(&["top", "--once"]).await;
        while seen.status == 0 && !seen.out.contains(id.trim()) {
            seen = ask(&["top", "--once"]).await;
        }
        for said in
            ["Longshore at http://", "balancer ready", "gateway 127.0.0.1:", "QUEUE", "WORKER", "BACKEND", "slow"]
        {
            assert!(seen.out.contains(said), "{said}: {seen:?}");
        }
        let without = run(folder.path(), &variables, &["top", "--once"]).await;
        assert!(without.status == 0 && !without.out.contains("BACKEND"), "{without:?}");
        told(&ask(&["cancel", id.trim()]).await, 0, id.trim(), "");
        assert_eq!(up.stop().await, Some(0));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn shells_complete_commands_and_options() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(folder.path(), &[], &["completions", shell]).await;
        assert_eq!((ended.status, ended.err.as_str()), (0, ""), "{ended:?}");
        for word in ["invalidate", "idempotency-key", "doctor"] {
            assert!(ended.out.contains(word), "{shell}: {word}");
        }
        assert!(!ended.out.contains("chaos-handler"), "{shell}: it is not for people");
    }
}
