//! Failures, waits and runs.

use protocol::api::{Status, WaitingFor};
use protocol::ids::ClaimId;
use protocol::job::Settled;
use protocol::store_api::{Command, Create, Reply};
use protocol::time::Timestamp;

use super::{BEGIN_MS, Fixture, Lab, create, failed, succeeded};

pub(crate) fn a_failure_waits_before_the_next_attempt<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert_eq!(lab.complete(job_id, fence, failed(true)), (Settled::Recorded, Status::Scheduled));
    let view = lab.view(job_id);
    assert_eq!((view.waiting_for, view.attempt), (Some(WaitingFor::DueTime), 1));
    assert_eq!(view.error.map(|error| error.message), Some("no".to_owned()));
    let due_ms = view.run_at.expect("it is due some time").unix_ms();
    assert!((BEGIN_MS..=BEGIN_MS + 1_000).contains(&due_ms), "{due_ms}");
    assert_eq!(lab.signals.due_ms, Some(due_ms));
    assert_eq!(lab.read(|reader| reader.next_due_ms()), Some(due_ms));

    lab.wall_ms = due_ms - 1;
    lab.step(|transitions| transitions.due(10));
    assert!(lab.ring().is_empty());
    lab.wall_ms = due_ms;
    lab.step(|transitions| transitions.due(10));
    let bells = lab.ring();
    assert_eq!(bells.iter().map(|bell| bell.bell.dispatch.0).collect::<Vec<_>>(), [2]);
    lab.refused(session, job_id, 1);
    lab.claim(session, job_id, 2);
    assert_eq!(lab.view(job_id).attempt, 2);
}

pub(crate) fn the_last_failure_ends_the_job<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    let mut waits = Vec::new();
    for attempt in 1..=3 {
        let before_ms = lab.wall_ms;
        lab.wall_ms += 60_000;
        lab.step(|transitions| transitions.due(10));
        lab.ring();
        let fence = lab.claim(session, job_id, attempt);
        lab.complete(job_id, fence, failed(true));
        waits.push(lab.wall_ms - before_ms);
    }
    let view = lab.view(job_id);
    assert_eq!((view.status, view.attempt), (Status::Failed, 3));
    assert!(view.error.is_some() && view.finished_at.is_some() && view.run_at.is_none());
}

pub(crate) fn an_error_may_forbid_retries<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert_eq!(lab.complete(job_id, fence, failed(false)), (Settled::Recorded, Status::Failed));
}

pub(crate) fn retry_opens_the_next_run<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    assert!(matches!(lab.apply(Command::Retry { job_id }), Ok(Reply::Retried { job: None })), "it has not ended");
    let fence = lab.claim(session, job_id, 1);
    lab.complete(job_id, fence, failed(false));
    let Ok(Reply::Retried { job: Some(job) }) = lab.apply(Command::Retry { job_id }) else { panic!("not retried") };
    assert_eq!((job.status, job.run, job.attempt), (Status::Queued, 2, 0));
    assert!(job.error.is_none() && job.started_at.is_none() && job.finished_at.is_none());
    lab.ring();
    let second = lab.claim(session, job_id, 2);
    assert!(second > fence);
    assert_eq!(lab.complete(job_id, fence, succeeded()).0, Settled::AlreadyRecorded);
    assert_eq!(lab.complete(job_id, second, succeeded()), (Settled::Recorded, Status::Succeeded));
    assert!(matches!(lab.apply(Command::Retry { job_id }), Ok(Reply::Retried { job: None })), "it succeeded");
}

pub(crate) fn scheduled_jobs_start_when_due<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let at = |ms: i64| Some(Timestamp::from_unix_ms(BEGIN_MS + ms));
    let jobs: Vec<_> = (1..=5).map(|n| lab.create(Create { run_at: at(n * 100), ..create("a") })).collect();
    assert_eq!(lab.status(jobs[0]), Status::Scheduled);
    assert!(lab.try_claim(session, jobs[0], 0, ClaimId::generate()).is_err());
    assert!(lab.ring().is_empty());
    lab.wall_ms += 300;
    assert!(lab.step(|transitions| transitions.due(2)), "there is one more");
    assert!(!lab.step(|transitions| transitions.due(2)));
    assert_eq!(lab.ring().len(), 3);
    assert_eq!(lab.read(|reader| reader.next_due_ms()), Some(BEGIN_MS + 400));
    lab.claim(session, jobs[0], 1);
}
