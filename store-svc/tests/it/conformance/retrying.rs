//! Failures, waits and runs.

use protocol::api::{ErrorKind, Status, WaitingFor};
use protocol::ids::ClaimId;
use protocol::job::{ClaimRefusal, Settled};
use protocol::store_api::{Change, Command, Create, Reply};
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

fn to_start_within(ms: u64) -> Create {
    Create { start_deadline_ms: Some(ms), ..create("a") }
}

pub(crate) fn a_job_that_does_not_start_in_time_fails<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (late, started) = (lab.create(to_start_within(1_000)), lab.create(to_start_within(2_000)));
    assert_eq!(lab.signals.due_ms, Some(BEGIN_MS + 2_000));
    assert_eq!(lab.read(|reader| reader.next_due_ms()), Some(BEGIN_MS + 1_000));
    let view = lab.view(started);
    assert_eq!((view.start_deadline_ms, view.start_by.map(Timestamp::unix_ms)), (Some(2_000), Some(BEGIN_MS + 2_000)));
    lab.ring();
    let fence = lab.claim(session, started, 1);
    assert_eq!(lab.view(started).start_by, None, "it has started");
    lab.wall_ms += 999;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.status(late), Status::Queued);
    lab.wall_ms += 1;
    assert!(!lab.step(|transitions| transitions.due(10)));
    let view = lab.view(late);
    let error = view.error.expect("it says why");
    assert_eq!((view.status, error.kind, view.attempt), (Status::Failed, ErrorKind::Deadline, 0));
    assert!(error.message.contains("1000 ms") && view.finished_at.is_some() && view.start_by.is_none(), "{error:?}");
    assert_eq!(lab.refused(session, late, 1), ClaimRefusal::NotQueued, "its bell may still come");
    // A later attempt is no start.
    lab.complete(started, fence, failed(true));
    lab.wall_ms += 1_000_000;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.status(started), Status::Queued);
    assert_eq!(lab.read(|reader| reader.next_due_ms()), None);
}

pub(crate) fn a_start_deadline_counts_from_the_due_time<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let at = |ms: i64| Some(Timestamp::from_unix_ms(BEGIN_MS + ms));
    let jobs = [1, 500]
        .map(|start_deadline_ms| lab.create(Create { run_at: at(5_000), ..to_start_within(start_deadline_ms) }));
    lab.wall_ms += 5_000;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(jobs.map(|job| lab.status(job)), [Status::Queued; 2]);
    // As after a pause of ours: both times have passed, and the one that ends it goes first.
    let never_due = lab.create(Create { run_at: Some(Timestamp::from_unix_ms(lab.wall_ms + 1)), ..to_start_within(1) });
    lab.wall_ms += 500;
    assert!(lab.step(|transitions| transitions.due(2)), "there may be more");
    while lab.step(|transitions| transitions.due(2)) {}
    assert_eq!(jobs.map(|job| lab.status(job)), [Status::Failed; 2]);
    let head = lab.signals.head;
    assert_eq!(lab.status(never_due), Status::Failed);
    assert!(lab.log(0).iter().all(|entry| entry.position <= head));
    let queued =
        |change: &Change| matches!(change, Change::Job { job_id, status: Status::Queued, .. } if *job_id == never_due);
    assert!(!lab.log(0).iter().any(|entry| queued(&entry.change)), "it was never queued");
}

pub(crate) fn a_deadline_holds_before_its_loop_comes<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.create(to_start_within(1_000));
    lab.ring();
    lab.wall_ms += 1_000;
    assert_eq!(lab.refused(session, job_id, 1), ClaimRefusal::NotQueued);
    assert_eq!(lab.view(job_id).error.map(|error| error.kind), Some(ErrorKind::Deadline));
    assert_eq!(lab.queue().depth.open(), 0);
}

pub(crate) fn a_retry_has_its_deadline_anew<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let job_id = lab.create(to_start_within(1_000));
    lab.wall_ms += 1_000;
    lab.step(|transitions| transitions.due(10));
    let Ok(Reply::Retried { job: Some(job) }) = lab.apply(Command::Retry { job_id }) else { panic!("not retried") };
    assert_eq!(job.start_by.map(Timestamp::unix_ms), Some(BEGIN_MS + 2_000));
    assert_eq!(lab.signals.due_ms, Some(BEGIN_MS + 2_000));
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.status(job_id), Status::Queued);
    lab.wall_ms += 1_000;
    lab.step(|transitions| transitions.due(10));
    assert_eq!((lab.status(job_id), lab.view(job_id).run), (Status::Failed, 2));
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
