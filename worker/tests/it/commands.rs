//! `command` tasks with real programs: what goes in, what comes out, and that nothing of them is left behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Source;
use chassis::testing::wait_until;
use protocol::api::{ErrorKind, Progress};
use protocol::ids::{Fence, JobId};
use protocol::store_api::Outcome;
use protocol::tenant::Tenant;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;
use worker::context::{Job, JobContext, Stop, StopReason};
use worker::executor::execute;
use worker::registry::Registry;
use worker::settle::{Word, settle};
use worker::tasks::{Around, load, parse};

const TIMEOUT_MS: u64 = 20_000;
const SOON: Duration = Duration::from_secs(5);

/// A task that runs `script` in a shell, with `keys` added to its table.
fn shell(script: &str, keys: &str) -> Registry {
    let script = serde_json::to_string(script).expect("a string");
    let text = format!("[task.it]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script}]\n{keys}\n");
    Registry::new().tasks(parse("it", &text, &Around::folder(Path::new("/tmp"))).expect("valid")).expect("one task")
}

fn context(task: &str, payload: &str, timeout_ms: u64) -> JobContext {
    let job = Job {
        id: JobId::generate(),
        tenant: Tenant::default(),
        task: task.to_owned(),
        run: 2,
        attempt: 3,
        fence: Fence(4),
        payload: RawValue::from_string(payload.to_owned()).ok(),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    JobContext::new(job, Instant::now() + Duration::from_millis(timeout_ms), Arc::new(Notify::new()), None)
}

async fn run_job(registry: &Registry, job: &JobContext, timeout_ms: u64) -> Word {
    let registered = registry.find(job.task()).expect("a task");
    let ended = tokio::time::timeout(Duration::from_secs(15), execute(registered, job, None)).await;
    settle(ended.expect("the slot is free again"), timeout_ms)
}

async fn run(script: &str, keys: &str, payload: &str) -> Word {
    run_job(&shell(script, keys), &context("it", payload, TIMEOUT_MS), TIMEOUT_MS).await
}

fn result(word: &Word) -> String {
    match word {
        Word::Complete(Outcome::Succeeded { result }) => result.as_ref().map_or("-", |result| result.get()).to_owned(),
        other => format!("{other:?}"),
    }
}

fn error(word: &Word) -> (ErrorKind, String) {
    let failed = match word {
        Word::Complete(Outcome::Failed { error, .. }) => Some((error.kind, error.message.clone())),
        Word::Complete(Outcome::Succeeded { .. }) | Word::Release | Word::HandOver | Word::Nothing => None,
    };
    failed.unwrap_or_else(|| (ErrorKind::Crashed, format!("not a failure: {word:?}")))
}

/// Whether a process of this command line is running; zombies are not.
fn is_running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes.into_iter().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(marker)
    })
}

/// The program has reported progress.
async fn begun(job: &JobContext) {
    wait_until(SOON, "progress is reported", || async { job.take_progress().is_some() }).await;
}

async fn gone(marker: &str) {
    wait_until(SOON, &format!("`{marker}` is gone"), || async { !is_running(marker) }).await;
}

#[tokio::test]
async fn payload_goes_in_and_result_comes_out() {
    let check = async |script: &str, payload: &str, expected: &str| {
        assert_eq!(result(&run(script, "", payload).await), expected, "{script}");
    };
    check("cat", "{\"a\": [1, 2.50]}", "{\"a\": [1, 2.50]}").await;
    check("echo plain text", "null", "\"plain text\"").await;
    check("read -r line; printf '\"%s\"' \"${#line}\"", "12345", "\"5\"").await;
    check(":", "null", "\"\"").await;
    check("exit 0", &format!("\"{}\"", "x".repeat(500_000)), "\"\"").await;
}

#[tokio::test]
async fn program_knows_its_job_and_not_the_workers_secrets() {
    let registry = shell(
        "echo $LONGSHORE_JOB_ID $LONGSHORE_TASK $LONGSHORE_RUN $LONGSHORE_ATTEMPT $LONGSHORE_FENCE $A",
        "env = { A = \"b\" }",
    );
    let job = context("it", "null", TIMEOUT_MS);
    let expected = format!("\"{} it 2 3 4 b\"", job.job_id());
    assert_eq!(result(&run_job(&registry, &job, TIMEOUT_MS).await), expected);
}

#[tokio::test]
async fn progress_comes_over_descriptor_three() {
    let script = "echo 0.25 >&3; echo nonsense >&3; echo '{\"fraction\":0.5,\"message\":\"half\"}' >&3";
    let job = context("it", "null", TIMEOUT_MS);
    assert_eq!(result(&run_job(&shell(script, ""), &job, TIMEOUT_MS).await), "\"\"");
    let expected = Progress { fraction: Some(0.5), message: Some("half".to_owned()) };
    assert_eq!(job.take_progress(), Some(expected));
}

#[tokio::test]
async fn failure_carries_code_or_signal_and_the_tail_of_stderr() {
    let check = async |script: &str, keys: &str, expected: &str| {
        assert_eq!(error(&run(script, keys, "null").await), (ErrorKind::Failed, expected.to_owned()), "{script}");
    };
    check("echo no such thing >&2; exit 3", "", "the program ended with code 3: no such thing").await;
    check("exit 1", "", "the program ended with code 1").await;
    check("kill -9 $$", "", "the program was ended by signal 9").await;
    check("seq 1 100000 >&2; exit 2", "stderr_bytes = 13", "the program ended with code 2: …99999\n100000").await;
    check("yes", "stdout_bytes = 1000", "stdout has more than 1000 bytes").await;
    check("echo 12345", "stdout_bytes = 5", "stdout has more than 5 bytes").await;
}

/// Task `it` of each, and what the error says.
pub(crate) fn programs_that_cannot_be_started(folder: &Path) -> [(Registry, &'static str); 4] {
    std::fs::write(folder.join("data"), "no program").expect("written");
    [
        ("program = \"no-such-program\"", "the program no-such-program was not found"),
        ("program = \"./nothing\"", "/./nothing was not found"),
        ("program = \"./data\"", "/./data is not executable"),
        ("program = \"sh\"\ndirectory = \"nowhere\"", "its folder"),
    ]
    .map(|(keys, expected)| {
        let text = format!("[task.it]\nkind = \"command\"\n{keys}\n");
        (
            Registry::new().tasks(parse("it", &text, &Around::folder(folder)).expect("valid")).expect("one task"),
            expected,
        )
    })
}

#[tokio::test]
async fn program_that_cannot_be_started_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (registry, expected) in programs_that_cannot_be_started(folder.path()) {
        let (kind, message) = error(&run_job(&registry, &context("it", "null", TIMEOUT_MS), TIMEOUT_MS).await);
        assert_eq!(kind, ErrorKind::Failed);
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn timeout_ends_the_program_and_its_children() {
    let registry = shell("sleep 1000.125 & echo begun >&2; sleep 1000.125; wait", "grace_ms = 100");
    let word = run_job(&registry, &context("it", "null", 300), 300).await;
    let (kind, message) = error(&word);
    assert_eq!(kind, ErrorKind::Timeout);
    assert_eq!(message, "took longer than 300 ms; the program was ended: begun");
    gone("sleep 1000.125").await;
}

#[tokio::test]
async fn program_that_ignores_the_request_is_killed_after_its_grace() {
    let registry = shell("trap '' TERM; echo deaf >&2; echo 1 >&3; while :; do sleep 1000.25; done", "");
    let job = context("it", "null", TIMEOUT_MS);
    let stop = async {
        begun(&job).await;
        job.stop(Stop { reason: StopReason::Cancelled, grace: Duration::from_millis(200) });
    };
    let (word, ()) = tokio::join!(run_job(&registry, &job, TIMEOUT_MS), stop);
    assert_eq!(error(&word).1, "the program was ended: deaf");
    gone("sleep 1000.25").await;
}

#[tokio::test]
async fn program_may_clean_up_within_its_grace() {
    let script = "trap 'echo tidied; exit 0' TERM; echo 1 >&3; while :; do sleep 0.02; done";
    let registry = shell(script, "");
    let job = context("it", "null", TIMEOUT_MS);
    let stop = async {
        begun(&job).await;
        job.stop(Stop { reason: StopReason::Draining, grace: Duration::from_secs(5) });
    };
    let (word, ()) = tokio::join!(run_job(&registry, &job, TIMEOUT_MS), stop);
    assert!(matches!(word, Word::Release), "{word:?}");
}

#[tokio::test]
async fn children_that_hold_the_pipes_do_not_hold_the_slot() {
    let word = run("sleep 1000.375 & echo done", "", "null").await;
    assert_eq!(result(&word), "\"done\"");
    gone("sleep 1000.375").await;
    let escaped = run("setsid sleep 2.0625 & echo done", "", "null").await;
    assert_eq!(result(&escaped), "\"done\"");
}

#[tokio::test]
async fn dropped_attempt_leaves_nothing_running() {
    let registry = shell("echo 1 >&3; sleep 1000.5 & sleep 1000.5", "");
    let job = context("it", "null", TIMEOUT_MS);
    tokio::select! {
        _ = run_job(&registry, &job, TIMEOUT_MS) => panic!("it sleeps"),
        () = begun(&job) => {}
    }
    gone("sleep 1000.5").await;
}

#[tokio::test]
async fn shipped_checksum_equals_sha256sum() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tasks.toml");
    let registry = Registry::new().tasks(load(&examples, &Source::default()).expect("valid")).expect("unique");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("outside");
    std::fs::write(&path, "secret").expect("written");
    let check = async |payload: &str, expected: &str| {
        let word = run_job(&registry, &context("checksum", payload, TIMEOUT_MS), TIMEOUT_MS).await;
        assert!(format!("{word:?}").contains(expected), "{payload}: {word:?}");
    };
    let file = "/usr/share/common-licenses/GPL-3";
    let output = tokio::process::Command::new("sha256sum").arg(file).output().await.expect("sha256sum");
    let sum = String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a sum").to_owned();
    check(&format!("{{\"path\":\"{file}\"}}"), &sum).await;
    check("{\"path\":\"/usr/share/no such file\"}", "No such file or directory").await;
    check(&format!("{{\"path\":\"{}\"}}", path.display()), "is not under /usr/share").await;
    check("{\"path\":\"/usr/share/../../etc/passwd\"}", "is not under /usr/share").await;
    check("{}", "the payload must be").await;
}

#[tokio::test]
async fn what_a_program_wrote_is_kept_however_it_ended() {
    let check = async |script: &str, keys: &str, timeout_ms: u64, expected: [(&str, bool); 2]| {
        let job = context("it", "null", timeout_ms);
        let word = run_job(&shell(script, keys), &job, timeout_ms).await;
        let output = job.take_output().expect("it wrote something");
        let found = [&output.stdout, &output.stderr].map(|tail| (tail.text.as_str(), tail.truncated));
        assert_eq!(found, expected, "{script}: {word:?}");
    };
    check("echo out; echo err >&2", "", TIMEOUT_MS, [("out\n", false), ("err\n", false)]).await;
    check("echo out; echo err >&2; exit 3", "stderr_bytes = 0", TIMEOUT_MS, [("out\n", false), ("err\n", false)]).await;
    check("echo out; sleep 471112", "grace_ms = 0", 300, [("out\n", false), ("", false)]).await;
    check("echo 123; sleep 0.1; echo 456", "stdout_bytes = 4", TIMEOUT_MS, [("123\n", true), ("", false)]).await;
    let tail = "x".repeat(65_536);
    let many = "head -c 70000 /dev/zero | tr '\\0' x >&2; exit 1";
    check(many, "", TIMEOUT_MS, [("", false), (&tail, true)]).await;
    let job = context("it", "null", TIMEOUT_MS);
    run_job(&shell(":", ""), &job, TIMEOUT_MS).await;
    assert_eq!(job.take_output(), None);
}
