//! Unique keys: at most one job with each that has not ended.

use protocol::api::Status;
use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, Create, Reply};
use protocol::time::Timestamp;

use super::{BEGIN_MS, Fixture, Lab, create, failed, succeeded};

fn unique(key: &str) -> Create {
    Create { unique_key: Some(key.try_into().expect("a key")), ..create("a") }
}

/// The job that is named as the holder.
fn holder(problem: &Problem) -> JobId {
    assert_eq!(problem.kind(), Some(Kind::UniqueConflict));
    let id = problem.extensions["job_id"].as_str().expect("an id");
    assert_eq!(problem.extensions["links"]["self"], format!("/jobs/{id}"));
    id.parse().expect("an id")
}

pub(crate) fn one_job_with_a_key_is_open<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    // Together in one batch, as when they come at the same time.
    let all: Vec<Create> = (0..20).map(|_| unique("k")).collect();
    let commands: Vec<Command> = all.iter().cloned().map(|create| Command::Create(Box::new(create))).collect();
    let answers = lab.apply_all(&commands);
    assert!(matches!(&answers[0], Ok(Reply::Created(_))));
    for answer in &answers[1..] {
        assert_eq!(holder(answer.as_ref().expect_err("refused")), all[0].job_id);
    }
    let scheduled = Create { run_at: Some(Timestamp::from_unix_ms(BEGIN_MS + 1)), ..unique("other") };
    let later = lab.create(scheduled);
    lab.ring();
    lab.claim(session, all[0].job_id, 1);
    for (key, expected) in [("k", all[0].job_id), ("other", later)] {
        assert_eq!(holder(&lab.try_create(unique(key)).expect_err("refused")), expected);
    }
    assert_eq!(lab.view(later).unique_key.as_deref(), Some("other"));
    let mut lab = lab.after_kill();
    assert_eq!(holder(&lab.try_create(unique("k")).expect_err("refused")), all[0].job_id);
}

pub(crate) fn a_key_is_free_when_its_job_has_ended<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let cancelled = lab.create(unique("k"));
    lab.apply(Command::Cancel { job_id: cancelled }).expect("cancelled");
    let failing = lab.create(unique("k"));
    lab.ring();
    let fence = lab.claim(session, failing, 1);
    lab.complete(failing, fence, failed(false));
    let succeeding = lab.create(unique("k"));
    lab.ring();
    let fence = lab.claim(session, succeeding, 1);
    lab.complete(succeeding, fence, succeeded());
    lab.create(unique("k"));
}

pub(crate) fn a_repeat_is_the_same_job_and_no_conflict<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let keyed = || Create { idempotency_key: Some("i".to_owned()), ..unique("k") };
    let first = keyed();
    lab.create(first.clone());
    let again = lab.try_create(keyed()).expect("replayed");
    assert_eq!((again.job_id, again.replayed.is_some()), (first.job_id, true));
    assert_eq!(lab.create(first.clone()), first.job_id, "the same id");
    let refused = Create { idempotency_key: Some("j".to_owned()), ..unique("k") };
    assert_eq!(holder(&lab.try_create(refused.clone()).expect_err("refused")), first.job_id);
    lab.apply(Command::Cancel { job_id: first.job_id }).expect("cancelled");
    let created = lab.try_create(refused.clone()).expect("what was refused has not used up its idempotency key");
    assert_eq!((created.job_id, created.replayed.is_none()), (refused.job_id, true));
}

pub(crate) fn a_retry_needs_its_key<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let first = lab.create(unique("k"));
    lab.apply(Command::Cancel { job_id: first }).expect("cancelled");
    let second = lab.create(unique("k"));
    let retry = Command::Retry { job_id: first };
    assert_eq!(holder(&lab.apply(retry.clone()).expect_err("refused")), second);
    assert_eq!((lab.status(first), lab.view(first).run), (Status::Cancelled, 1), "nothing was changed");
    lab.apply(Command::Cancel { job_id: second }).expect("cancelled");
    assert!(matches!(lab.apply(retry), Ok(Reply::Retried { job: Some(_) })));
    assert_eq!(holder(&lab.try_create(unique("k")).expect_err("refused")), first);
}
