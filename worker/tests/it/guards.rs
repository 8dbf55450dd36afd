//! The guard as a process: it ends the programs of a worker that is gone or stopped, wherever they went, and leaves the others alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::clock::now_ms;
use chassis::task::Tasks;
use chassis::testing::wait_until;
use protocol::ids::{Fence, JobId};
use protocol::store_api::JobFence;
use protocol::tenant::Tenant;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use worker::context::{Job, JobContext};
use worker::executor::execute;
use worker::guard::Guard;
use worker::registry::Registry;
use worker::settle::Ended;
use worker::tasks::{Around, parse};

use crate::commands::programs_that_cannot_be_started;

const SOON: Duration = Duration::from_secs(10);
const HOUR_MS: u64 = 3_600_000;

fn guard() -> Arc<Guard> {
    Guard::start_program(Path::new(env!("CARGO_BIN_EXE_worker")), &Tasks::new()).expect("started")
}

fn attempt() -> JobFence {
    JobFence { job_id: JobId::generate(), fence: Fence(1) }
}

fn sleeper() -> (Child, i32) {
    let child = Command::new("sleep").arg("1000.75").process_group(0).kill_on_drop(true).spawn().expect("started");
    let group = child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
    (child, group)
}

/// A process that carries an attempt's environment and is in nobody's group.
fn stray(attempt: JobFence) -> Child {
    Command::new("setsid")
        .args(["sleep", "1000.8125"])
        .env("LONGSHORE_JOB_ID", attempt.job_id.to_string())
        .env("LONGSHORE_FENCE", attempt.fence.to_string())
        .kill_on_drop(true)
        .spawn()
        .expect("started")
}

async fn ends(child: &mut Child) {
    tokio::time::timeout(SOON, child.wait()).await.expect("it is killed").expect("it is ours");
}

async fn is_confirmed(guard: &Guard, attempt: JobFence, group: i32, until_ms: u64) -> bool {
    tokio::time::timeout(SOON, guard.watch(attempt, group, until_ms)).await.is_ok_and(|confirmed| confirmed.is_ok())
}

/// The process that was started as this program.
fn process_of(program: &Path) -> Option<Pid> {
    let start = format!("{}\0", program.display());
    let mut processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let found = processes.find(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.starts_with(start.as_bytes())
    })?;
    Pid::from_raw(found.file_name().to_str()?.parse().ok()?)
}

#[tokio::test]
async fn group_is_killed_when_its_lease_ends_and_not_before() {
    let guard = guard();
    let ((mut short, short_group), (mut long, long_group)) = (sleeper(), sleeper());
    let kept = attempt();
    assert!(is_confirmed(&guard, kept, long_group, now_ms() + 600).await);
    guard.hold(kept, long_group, now_ms() + HOUR_MS);
    let end_ms = now_ms() + 300;
    guard.hold(attempt(), short_group, end_ms);
    ends(&mut short).await;
    assert!(now_ms() >= end_ms);
    assert!(long.try_wait().expect("it is ours").is_none(), "its lease was renewed");
    drop(guard);
    ends(&mut long).await;
}

#[tokio::test]
async fn group_that_is_done_is_left_alone() {
    let guard = guard();
    let ((mut done, done_group), (mut held, held_group)) = (sleeper(), sleeper());
    let ended = attempt();
    guard.hold(ended, done_group, now_ms() + HOUR_MS);
    guard.done(ended);
    guard.hold(attempt(), held_group, now_ms() + HOUR_MS);
    drop(guard);
    ends(&mut held).await;
    // The guard has read everything by now: what it was told first is not waited for any more.
    wait_until(SOON, "one sleeper is left", || std::future::ready(done.try_wait().is_ok_and(|ended| ended.is_none())))
        .await;
}

#[tokio::test]
async fn lease_that_is_over_is_ended_and_never_confirmed() {
    let guard = guard();
    let (mut late, group) = sleeper();
    let confirmed = guard.watch(attempt(), group, now_ms());
    ends(&mut late).await;
    drop(guard);
    assert!(confirmed.await.is_err());
}

#[tokio::test]
async fn what_left_its_group_ends_with_its_attempt_too() {
    let guard = guard();
    let [done, overdue, held, other] = [(); 4].map(|()| attempt());
    let [mut of_done, mut of_overdue, mut of_held, mut of_other] = [done, overdue, held, other].map(stray);
    let groups = [(); 3].map(|()| sleeper());
    let until_ms = [HOUR_MS, 200, HOUR_MS];
    for ((attempt, (_, group)), until_ms) in [done, overdue, held].into_iter().zip(&groups).zip(until_ms) {
        guard.hold(attempt, *group, now_ms() + until_ms);
    }
    guard.done(done);
    ends(&mut of_done).await;
    ends(&mut of_overdue).await;
    assert!(of_held.try_wait().expect("it is ours").is_none(), "its attempt goes on");
    drop(guard);
    ends(&mut of_held).await;
    assert!(of_other.try_wait().expect("it is ours").is_none(), "it is of an attempt that this guard never heard of");
}

#[tokio::test]
async fn next_guard_takes_over_what_the_last_one_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("worker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_worker"), &program).expect("a name of its own");
    let guard = Guard::start_program(&program, &Tasks::new()).expect("started");
    let (mut held, group) = sleeper();
    assert!(is_confirmed(&guard, attempt(), group, now_ms() + HOUR_MS).await);
    kill_process(process_of(&program).expect("it runs"), Signal::KILL).expect("killed");
    let (mut later, later_group) = sleeper();
    wait_until(SOON, "there is a guard again", async || {
        is_confirmed(&guard, attempt(), later_group, now_ms() + HOUR_MS).await
    })
    .await;
    assert!(held.try_wait().expect("it is ours").is_none());
    drop(guard);
    ends(&mut held).await;
    ends(&mut later).await;
}

fn shell(script: &str) -> Registry {
    let script = serde_json::to_string(script).expect("a string");
    let text = format!("[task.it]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script}]\n");
    Registry::new().tasks(parse("it", &text, &Around::folder(Path::new("/tmp"))).expect("valid")).expect("one task")
}

fn job(guard: &Arc<Guard>) -> JobContext {
    let job = Job {
        id: JobId::generate(),
        tenant: Tenant::default(),
        task: "it".to_owned(),
        run: 1,
        attempt: 1,
        fence: Fence(1),
        payload: None,
        trace: None,
    };
    JobContext::new(job, Instant::now() + SOON, Arc::default(), Some(Arc::clone(guard)))
}

async fn run(registry: &Registry, job: &JobContext) -> Result<String, String> {
    let ended = execute(registry.find("it").expect("a task"), job, None).await;
    let returned = ended.returned.expect("it returned");
    returned.map(|output| output.get().to_owned()).map_err(|failed| failed.message)
}

#[tokio::test]
async fn program_of_a_worker_that_does_not_renew_is_killed() {
    let registry = shell("exec sleep 1000.875");
    let job = job(&guard());
    job.lease_until(now_ms() + 60_000);
    let renew = async {
        job.lease_until(now_ms() + 500);
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = execute(registry.find("it").expect("a task"), &job, None) => ended,
        () = renew => Ended { stopped: None, returned: None },
    };
    let failure = ended.returned.and_then(Result::err).map(|failure| failure.message);
    assert_eq!(failure.as_deref(), Some("the program was ended by signal 9"));
}

#[tokio::test]
async fn program_runs_under_its_guard_as_it_would_alone() {
    let guard = guard();
    let check = async |script: &str, expected: Result<&str, &str>| {
        let job = job(&guard);
        job.lease_until(now_ms() + 60_000);
        let returned = run(&shell(script), &job).await;
        assert_eq!(returned.as_ref().map(String::as_str).map_err(String::as_str), expected, "{script}");
    };
    check("cat", Ok("null")).await;
    check("echo $0 $#; ls /proc/self/fd | tr '\\n' ' ' >&2", Ok("\"sh 0\"")).await;
    check("exit 127", Err("the program ended with code 127")).await;
    check("echo '{\"not_started\":2}' >&3; exit 3", Err("the program ended with code 3")).await;
}

#[tokio::test]
async fn program_that_cannot_be_started_under_a_guard_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let guard = guard();
    for (registry, expected) in programs_that_cannot_be_started(folder.path()) {
        let job = job(&guard);
        job.lease_until(now_ms() + 60_000);
        let message = run(&registry, &job).await.expect_err("it fails");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn no_program_begins_under_a_lease_that_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("mark");
    let job = job(&guard());
    // As a worker that was stopped between its claim and the start of the program finds it.
    job.lease_until(now_ms());
    let message = run(&shell(&format!("touch {}", mark.display())), &job).await.expect_err("it fails");
    assert!(message.contains("lease was over") || message.contains("signal 9"), "{message}");
    assert!(!mark.exists());
}
