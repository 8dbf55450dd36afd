//! The guard as a process: it ends the groups of a worker that is gone or stopped, and leaves the others alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::clock::now_ms;
use chassis::testing::wait_until;
use protocol::ids::{Fence, JobId};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use worker::context::{Job, JobContext};
use worker::executor::execute;
use worker::guard::Guard;
use worker::registry::Registry;
use worker::settle::Ended;
use worker::tasks::parse;

const SOON: Duration = Duration::from_secs(10);
const HOUR_MS: u64 = 3_600_000;

fn guard() -> Guard {
    Guard::start_program(Path::new(env!("CARGO_BIN_EXE_worker"))).expect("started")
}

fn sleeper() -> (Child, i32) {
    let child = Command::new("sleep").arg("1000.75").process_group(0).kill_on_drop(true).spawn().expect("started");
    let group = child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
    (child, group)
}

async fn ends(child: &mut Child) {
    tokio::time::timeout(SOON, child.wait()).await.expect("it is killed").expect("it is ours");
}

#[tokio::test]
async fn group_is_killed_when_its_lease_ends_and_not_before() {
    let guard = guard();
    let ((mut short, short_group), (mut long, long_group)) = (sleeper(), sleeper());
    guard.hold(long_group, now_ms() + 300);
    guard.hold(long_group, now_ms() + HOUR_MS);
    let end_ms = now_ms() + 300;
    guard.hold(short_group, end_ms);
    ends(&mut short).await;
    assert!(now_ms() >= end_ms);
    assert!(long.try_wait().expect("it is ours").is_none(), "its lease was renewed");
    drop(guard);
    ends(&mut long).await;
}

#[tokio::test]
async fn group_that_is_done_is_left_alone() {
    let guard = Arc::new(guard());
    let ((mut done, done_group), (mut held, held_group)) = (sleeper(), sleeper());
    guard.hold(done_group, now_ms() + HOUR_MS);
    guard.done(done_group);
    guard.hold(held_group, now_ms() + HOUR_MS);
    drop(guard);
    ends(&mut held).await;
    // The guard has read everything by now: what it was told first is not waited for any more.
    wait_until(SOON, "one sleeper is left", || std::future::ready(done.try_wait().is_ok_and(|ended| ended.is_none())))
        .await;
}

#[tokio::test]
async fn program_of_a_worker_that_does_not_renew_is_killed() {
    let text = "[task.nap]\nkind = \"command\"\nprogram = \"sleep\"\nargs = [\"1000.875\"]\n";
    let registry = Registry::new().tasks(parse("it", text, Path::new("/tmp")).expect("valid")).expect("one task");
    let job = Job { id: JobId::generate(), task: "nap".to_owned(), run: 1, attempt: 1, fence: Fence(1), payload: None };
    let deadline = Instant::now() + SOON;
    let job = JobContext::new(job, deadline, Arc::default(), Some(Arc::new(guard())));
    job.lease_until(now_ms() + 60_000);
    let renew = async {
        job.lease_until(now_ms() + 500);
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = execute(registry.find("nap").expect("a task"), &job, None) => ended,
        () = renew => Ended { stopped: None, returned: None },
    };
    let failure = ended.returned.and_then(Result::err).map(|failure| failure.message);
    assert_eq!(failure.as_deref(), Some("the program was ended by signal 9"));
}
