//! What attempts wrote, within bounds, for as long as the job.

use protocol::api::{ERROR_BYTES_MAX, ErrorKind, JobError, RESULT_BYTES_MAX, Status};
use protocol::ids::{Fence, JobId};
use protocol::logs::{AttemptEnd, AttemptLog, LOG_BYTES_MAX, LOGS_KEPT, LogTail, Output};
use protocol::problem::Kind;
use protocol::store_api::{Command, Complete, Create, Outcome, Release};
use protocol::tenant::Tenant;
use serde_json::value::to_raw_value;
use store_svc::storage::AttemptsRead;

use super::{BEGIN_MS, Fixture, Lab, create, failed, succeeded};

fn output(stdout: &str, stderr: &str) -> Option<Box<Output>> {
    let tail = |text: &str| LogTail { text: text.to_owned(), truncated: false };
    Some(Box::new(Output { stdout: tail(stdout), stderr: tail(stderr) }))
}

fn logs<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> Vec<AttemptLog> {
    match lab.read(|reader| reader.logs(&Tenant::default(), job_id)).read {
        AttemptsRead::Logs(logs) => logs,
        other => panic!("no logs: {other:?}"),
    }
}

/// Claims the job once more, and ends that attempt.
fn attempt<F: Fixture>(lab: &mut Lab<F>, job_id: JobId, end: impl FnOnce(Fence) -> Command) {
    let session = lab.worker(&["a"]);
    lab.wall_ms += 100_000;
    lab.step(|transitions| transitions.due(10));
    let bell = lab.ring().pop().expect("a bell").bell;
    let fence = lab.claim(session, job_id, bell.dispatch.0);
    lab.apply(end(fence)).expect("settled");
}

pub(crate) fn each_attempt_has_its_log<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let job_id = lab.job("a");
    assert!(logs(&mut lab, job_id).is_empty());
    attempt(&mut lab, job_id, |fence| Command::Release(Release { job_id, fence, output: output("begun", "") }));
    let complete =
        |outcome, output| move |fence| Command::Complete(Complete { job_id, fence, outcome, output, next: None });
    attempt(&mut lab, job_id, complete(failed(true), output("", "no luck")));
    attempt(&mut lab, job_id, complete(failed(true), None));
    attempt(&mut lab, job_id, complete(succeeded(), output("done", "")));
    let said: Vec<_> = logs(&mut lab, job_id)
        .into_iter()
        .map(|log| (log.run, log.attempt, log.ended, log.output.stdout.text + &log.output.stderr.text))
        .collect();
    let expected =
        [(1, AttemptEnd::Released, "begun"), (1, AttemptEnd::Failed, "no luck"), (3, AttemptEnd::Succeeded, "done")];
    let expected = expected.map(|(attempt, ended, text)| (1, attempt, ended, text.to_owned()));
    assert_eq!(said, expected);
    assert_eq!(logs(&mut lab, job_id)[0].ended_at.unix_ms(), BEGIN_MS + 100_000);
}

pub(crate) fn the_word_of_a_former_owner_leaves_no_log<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert!(lab.reap(job_id));
    let late = Complete { job_id, fence, outcome: succeeded(), output: output("late", ""), next: None };
    lab.apply(Command::Complete(late)).expect("refused");
    assert!(logs(&mut lab, job_id).is_empty());
}

pub(crate) fn the_last_logs_are_kept_and_each_is_bounded<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let job_id = lab.create(Create { max_attempts: 100, ..create("a") });
    for number in 0..LOGS_KEPT + 2 {
        let written = output(&format!("{number} {}", "x".repeat(LOG_BYTES_MAX)), &number.to_string());
        attempt(&mut lab, job_id, |fence| {
            Command::Complete(Complete { job_id, fence, outcome: failed(true), output: written, next: None })
        });
    }
    let kept = logs(&mut lab, job_id);
    let numbers: Vec<String> = kept.iter().map(|log| log.output.stderr.text.clone()).collect();
    assert_eq!(numbers, (2..LOGS_KEPT + 2).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(kept.iter().all(|log| log.output.stdout.text.len() == LOG_BYTES_MAX && log.output.stdout.truncated));
    lab.apply(Command::Cancel { job_id }).expect("cancelled");
    lab.apply(Command::Purge { job_id }).expect("purged");
    assert!(matches!(lab.read(|reader| reader.logs(&Tenant::default(), job_id)).read, AttemptsRead::Expired));
    assert!(matches!(
        lab.read(|reader| reader.logs(&Tenant::default(), JobId::generate())).read,
        AttemptsRead::Unknown
    ));
}

pub(crate) fn results_and_errors_are_bounded<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    let complete = |outcome| Command::Complete(Complete { job_id, fence, outcome, output: None, next: None });
    let result = |bytes: usize| Outcome::Succeeded { result: to_raw_value(&"x".repeat(bytes - 2)).ok() };
    let refused = lab.apply(complete(result(RESULT_BYTES_MAX + 1))).expect_err("too large");
    assert_eq!(refused.kind(), Some(Kind::PayloadTooLarge));
    assert_eq!(refused.detail, "The result has 524289 bytes, at most 524288 are kept.");
    assert_eq!(lab.status(job_id), Status::Running, "its owner may say something else");
    let error = JobError { kind: ErrorKind::Failed, message: "ü".repeat(ERROR_BYTES_MAX) };
    lab.apply(complete(Outcome::Failed { error, may_retry: true, retry_after_ms: None })).expect("settled");
    assert_eq!(lab.view(job_id).error.map(|error| error.message.len()), Some(ERROR_BYTES_MAX));
    let other = lab.job("a");
    let bell = lab.ring().pop().expect("a bell").bell;
    let fence = lab.claim(session, other, bell.dispatch.0);
    assert_eq!(lab.complete(other, fence, result(RESULT_BYTES_MAX)).1, Status::Succeeded);
}
