//! The first walk of a new user: start, submit, watch, list, cancel, invalidate, stop.

use std::path::Path;

use tokio::task::LocalSet;

use crate::program::{Ended, FREE_PORTS, Up, run};

pub(crate) async fn ask(up: &Up, folder: &Path, arguments: &[&str]) -> Ended {
    run(folder, &[("LONGSHORE_URL", up.url())], arguments).await
}

pub(crate) fn told(ended: &Ended, status: i32, out: &str, err: &str) {
    assert_eq!(ended.status, status, "{ended:?}");
    assert!(ended.out.contains(out) && ended.err.contains(err), "{ended:?}");
}

async fn walk(folder: &Path) {
    let up = Up::start(folder).await;
    for said in ["store", "cache", "worker", "broker     embedded", "curl -i", "submit report_2 --wait --url http://"] {
        assert!(up.banner.contains(said), "{said}: {}", up.banner);
    }
    told(&ask(&up, folder, &["jobs"]).await, 0, "", "There are no jobs yet");
    told(&ask(&up, folder, &["submit", "noop", "--wait"]).await, 0, "{\"task\":\"noop\"", "");
    let payload = ["submit", "slow", "--payload", "{\"duration_ms\": 60000}", "--priority", "high"];
    let submitted = ask(&up, folder, &payload).await;
    assert_eq!((submitted.status, submitted.out.trim().len()), (0, 36), "{submitted:?}");
    let id = submitted.out.trim();
    told(&ask(&up, folder, &["jobs", "--task", "slow"]).await, 0, id, "");
    told(&ask(&up, folder, &["cancel", id]).await, 0, id, "");
    told(&ask(&up, folder, &["watch", id]).await, 3, "", "was cancelled");
    told(&ask(&up, folder, &["cancel", id]).await, 65, "", "cannot be cancelled");
    told(&ask(&up, folder, &["retry", id]).await, 0, "is queued again", "");
    told(&ask(&up, folder, &["cancel", id]).await, 0, id, "");
    let keyed = ["submit", "noop", "--delay", "1h", "--idempotency-key", "say \"k\""];
    let (first, again) = (ask(&up, folder, &keyed).await, ask(&up, folder, &keyed).await);
    assert_eq!((first.status, &first.out), (0, &again.out), "{first:?} {again:?}");
    told(&ask(&up, folder, &["jobs", "--status", "scheduled"]).await, 0, "due in 59 min", "");
    told(&ask(&up, folder, &["jobs", "--status", "failed"]).await, 0, "", "No job is like that");
    told(&ask(&up, folder, &["submit", "noop", "--queue", "nope"]).await, 65, "", "the queues are default");
    let unique = ["submit", "noop", "--delay", "1h", "--unique-key", "nightly"];
    let holder = ask(&up, folder, &unique).await;
    told(&ask(&up, folder, &unique).await, 65, "", &format!("The job {} has this unique key", holder.out.trim()));
    told(&ask(&up, folder, &["queues"]).await, 0, "default", "");
    told(&ask(&up, folder, &["pause", "default"]).await, 0, "The queue default is paused", "");
    let waits = ask(&up, folder, &["submit", "noop"]).await;
    told(&ask(&up, folder, &["jobs", "--status", "queued"]).await, 0, "its queue is paused", "");
    told(&ask(&up, folder, &["queues"]).await, 0, "paused for", "");
    told(&ask(&up, folder, &["explain", waits.out.trim()]).await, 0, "The queue default is paused since", "");
    told(&ask(&up, folder, &["resume", "default"]).await, 0, "The queue default goes on", "");
    told(&ask(&up, folder, &["watch", waits.out.trim()]).await, 0, "{\"task\":\"noop\"", "");
    told(&ask(&up, folder, &["pause", "nope"]).await, 65, "", "There is no queue nope");
    told(&ask(&up, folder, &["invalidate", "my_data", "other"]).await, 0, "my_data", "");
    told(&ask(&up, folder, &["retry", "--status", "cancelled", "--dry-run"]).await, 0, id, "1 job would be retried");
    told(&ask(&up, folder, &["retries"]).await, 0, "", "There are none");
    let begun = ask(&up, folder, &["retry", "--status", "cancelled", "--task", "slow"]).await;
    told(&begun, 0, "", "They are retried at 100 per second");
    told(&ask(&up, folder, &["retries"]).await, 0, begun.out.trim(), "");
    // Stopping one that may have ended already changes nothing about it.
    told(&ask(&up, folder, &["retries", "--stop", begun.out.trim()]).await, 0, begun.out.trim(), "");
    told(&ask(&up, folder, &["retry", "--status", "failed", "--rate", "0"]).await, 65, "", "must be 1 to 10000");
    let unknown = "01890000-0000-7000-8000-000000000001";
    for command in ["watch", "explain"] {
        told(&ask(&up, folder, &[command, unknown]).await, 65, "", "there is no job");
    }
    let place = up.url().strip_prefix("http://").expect("a URL");
    told(&ask(&up, folder, &["health", place, "--ready"]).await, 0, "ready", "");

    let second = run(folder, &FREE_PORTS, &["up"]).await;
    assert_eq!(second.status, 73, "{second:?}");
    assert!(second.err.contains("is in use by process"), "{second:?}");
    assert_eq!(up.stop().await, Some(0));
}

#[tokio::test]
async fn a_new_user_can_walk_from_start_to_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    LocalSet::new().run_until(walk(folder.path())).await;
}
