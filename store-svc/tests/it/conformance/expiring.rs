//! Ended jobs are dropped by age, by number or on demand; then they are known to have been there, for a while.

use protocol::api::Status;
use protocol::ids::{ClaimId, JobId};
use protocol::job::{ClaimRefusal, Settled};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, Create, Heartbeat, Held, IDEMPOTENCY_KEY_MS, Release, Reply};
use protocol::tenant::Tenant;
use store_svc::storage::{JobRead, JobsQuery, ResultRead};

use super::{BEGIN_MS, Fixture, Lab, create, failed, heartbeat, succeeded};

/// A job that ended now.
fn ended<F: Fixture>(lab: &mut Lab<F>) -> JobId {
    let job_id = lab.job("a");
    lab.apply(Command::Cancel { job_id }).expect("cancelled");
    job_id
}

fn is_expired<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> bool {
    matches!(lab.read(|reader| reader.job(&Tenant::default(), job_id)).read, JobRead::Expired)
}

fn is_unknown<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> bool {
    matches!(lab.read(|reader| reader.job(&Tenant::default(), job_id)).read, JobRead::Unknown)
}

fn purge<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> Result<bool, Problem> {
    match lab.apply(Command::Purge { job_id })? {
        Reply::Purged { purged } => Ok(purged),
        other => panic!("not purged: {other:?}"),
    }
}

fn listed<F: Fixture>(lab: &mut Lab<F>, before: Option<i64>, limit: u32) -> (Vec<JobId>, Option<i64>) {
    let query = JobsQuery { before, limit, ..JobsQuery::default() };
    let page = lab.read(|reader| reader.jobs(&Tenant::default(), &query)).read;
    (page.jobs.iter().map(|job| job.job_id).collect(), page.before)
}

pub(crate) fn ended_jobs_expire_by_age<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (done, broken, waiting) = (lab.job("a"), lab.job("a"), lab.job("b"));
    lab.ring();
    for (job_id, outcome) in [(done, succeeded()), (broken, failed(false))] {
        let fence = lab.claim(session, job_id, 1);
        lab.complete(job_id, fence, outcome);
        lab.wall_ms += 10;
    }
    assert!(!lab.step(|transitions| transitions.expire(BEGIN_MS, 10)), "none ended before");
    assert_eq!(lab.status(done), Status::Succeeded);
    assert!(lab.step(|transitions| transitions.expire(i64::MAX, 1)), "there is more");
    assert!(is_expired(&mut lab, done) && !is_expired(&mut lab, broken), "the oldest end goes first");
    assert!(!lab.step(|transitions| transitions.expire(i64::MAX, 10)));
    assert!(is_expired(&mut lab, broken));
    assert!(matches!(lab.read(|reader| reader.result(&Tenant::default(), done)).read, ResultRead::Expired));
    assert_eq!(listed(&mut lab, None, 10).0, [waiting]);
    let mut lab = lab.after_kill();
    assert!(is_expired(&mut lab, done) && lab.status(waiting) == Status::Queued);
}

pub(crate) fn a_job_that_is_retried_is_kept<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let job_id = ended(&mut lab);
    lab.apply(Command::Retry { job_id }).expect("retried");
    lab.step(|transitions| transitions.expire(i64::MAX, 10));
    assert_eq!(lab.status(job_id), Status::Queued);
}

pub(crate) fn ended_jobs_are_counted_from_the_newest<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.job("a");
    let mut jobs = Vec::new();
    for _ in 0..4 {
        lab.wall_ms += 10;
        jobs.push(ended(&mut lab));
    }
    assert_eq!(lab.read(|reader| reader.ended_before(5)), None);
    assert_eq!(lab.read(|reader| reader.ended_before(4)), Some(BEGIN_MS + 10));
    let before_ms = lab.read(|reader| reader.ended_before(3)).expect("there are more");
    lab.step(|transitions| transitions.expire(before_ms, 10));
    let expired: Vec<bool> = jobs.iter().map(|job_id| is_expired(&mut lab, *job_id)).collect();
    assert_eq!(expired, [true, false, false, false]);
}

pub(crate) fn one_ended_job_is_purged_at_once<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    assert_eq!(purge(&mut lab, job_id), Ok(false), "it waits");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert_eq!(purge(&mut lab, job_id), Ok(false), "it runs");
    lab.complete(job_id, fence, succeeded());
    assert_eq!(purge(&mut lab, job_id), Ok(true));
    let again = purge(&mut lab, job_id).expect_err("it is gone");
    assert_eq!(
        (again.kind(), again.extensions["job_id"].as_str()),
        (Some(Kind::JobExpired), Some(&*job_id.to_string()))
    );
    for command in [Command::Cancel { job_id }, Command::Retry { job_id }] {
        assert_eq!(lab.apply(command).expect_err("it is gone").kind(), Some(Kind::JobExpired));
    }
    assert_eq!(purge(&mut lab, JobId::generate()).expect_err("unknown").kind(), Some(Kind::NotFound));
}

pub(crate) fn names_of_expired_jobs_are_not_given_to_others<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let keyed = || Create { idempotency_key: Some("k".to_owned()), ..create("a") };
    let first = keyed();
    lab.create(first.clone());
    lab.apply(Command::Cancel { job_id: first.job_id }).expect("cancelled");
    assert_eq!(purge(&mut lab, first.job_id), Ok(true));
    let refused = lab.try_create(keyed()).expect_err("its job is gone");
    assert_eq!(refused.kind(), Some(Kind::JobExpired));
    assert_eq!(refused.extensions["job_id"], first.job_id.to_string());
    let other = Create { fingerprint: "another".to_owned(), ..keyed() };
    assert_eq!(lab.try_create(other).expect_err("refused").kind(), Some(Kind::IdempotencyMismatch));
    let by_id = Create { idempotency_key: None, ..first };
    assert_eq!(lab.try_create(by_id).expect_err("its id is used up").kind(), Some(Kind::JobExpired));
    lab.wall_ms += IDEMPOTENCY_KEY_MS;
    lab.try_create(keyed()).expect("the key is forgotten");
}

pub(crate) fn latecomers_to_an_expired_job_are_told_that_it_has_ended<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (done, rung) = (lab.job("a"), lab.job("a"));
    lab.ring();
    let fence = lab.claim(session, done, 1);
    lab.complete(done, fence, succeeded());
    lab.apply(Command::Cancel { job_id: rung }).expect("cancelled");
    while lab.step(|transitions| transitions.expire(i64::MAX, 1)) {}
    let refused = lab.try_claim(session, rung, 1, ClaimId::generate()).expect_err("refused");
    assert_eq!(refused.expect("a refusal"), ClaimRefusal::NotQueued);
    let late = Command::Release(Release { job_id: done, fence, output: None });
    let Ok(Reply::Settled { settled, status: None, .. }) = lab.apply(late) else { panic!("not settled") };
    assert_eq!(settled, Settled::Refused);
    let holds = vec![Held { job_id: done, fence, progress: None }];
    let reply = lab.beat(Heartbeat { holds, ..heartbeat(session, &["a"]) }).expect("known");
    assert_eq!(reply.lost.len(), 1);
    // The place of its bell is free again: four more go out.
    for _ in 0..5 {
        lab.job("a");
    }
    assert_eq!(lab.ring().len(), 4);
}

pub(crate) fn tombstones_are_trimmed_by_age_and_number<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs: Vec<JobId> = (0..6).map(|_| ended(&mut lab)).collect();
    for job_id in &jobs {
        lab.wall_ms += 10;
        assert_eq!(purge(&mut lab, *job_id), Ok(true));
    }
    assert!(!lab.step(|transitions| transitions.trim_tombstones(BEGIN_MS, 6, 10)));
    let known = |lab: &mut Lab<F>| jobs.iter().filter(|job_id| is_expired(lab, **job_id)).count();
    assert_eq!(known(&mut lab), 6);
    assert!(lab.step(|transitions| transitions.trim_tombstones(BEGIN_MS + 25, 6, 1)), "there is more");
    while lab.step(|transitions| transitions.trim_tombstones(BEGIN_MS + 25, 6, 1)) {}
    assert_eq!(known(&mut lab), 4);
    assert!(is_unknown(&mut lab, jobs[1]) && is_expired(&mut lab, jobs[2]));
    while lab.step(|transitions| transitions.trim_tombstones(BEGIN_MS, 3, 2)) {}
    assert_eq!(known(&mut lab), 3);
    assert!(is_unknown(&mut lab, jobs[2]) && is_expired(&mut lab, jobs[3]));
    lab.create(Create { job_id: jobs[0], ..create("a") });
}

pub(crate) fn pages_go_on_while_jobs_expire<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs: Vec<JobId> = (0..6).map(|_| ended(&mut lab)).collect();
    let (first, before) = listed(&mut lab, None, 2);
    assert_eq!(first, [jobs[5], jobs[4]]);
    // All that were shown are dropped, and the next; what comes then is newer than all of them, also after a restart.
    for job_id in &jobs[3..] {
        assert_eq!(purge(&mut lab, *job_id), Ok(true));
    }
    let mut lab = lab.after_kill();
    let new = lab.job("a");
    let (second, rest) = listed(&mut lab, before, 2);
    assert_eq!(second, [jobs[2], jobs[1]]);
    assert_eq!(listed(&mut lab, rest, 2), (vec![jobs[0]], None));
    assert_eq!(listed(&mut lab, None, 1).0, [new]);
}
