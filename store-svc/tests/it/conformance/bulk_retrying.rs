//! Retries of many jobs.

use protocol::api::{ErrorKind, JobError, Status};
use protocol::bulk_retry::{BulkRetry, BulkState, ENDED_KEPT, RUNNING_MAX, RetryFilter, SAMPLE_MAX, Unsuccessful};
use protocol::ids::{JobId, RetryId, SessionId};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, Create, Outcome, Reply, RetryJobs};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use store_svc::storage::RetryStep;

use super::{BEGIN_MS, Fixture, Lab, create};

fn filter(status: Unsuccessful) -> RetryFilter {
    RetryFilter { status, queue: None, task: None, error_kind: None, after: None, before: None }
}

fn cancelled() -> RetryFilter {
    filter(Unsuccessful::Cancelled)
}

impl<F: Fixture> Lab<F> {
    fn try_begin(&mut self, filter: RetryFilter, limit: u64) -> Result<BulkRetry, Problem> {
        let asked = RetryJobs { retry_id: RetryId::generate(), filter, rate_per_second: 10, limit };
        self.bulk(Command::RetryJobs(Box::new(asked)))
    }

    fn begin(&mut self, filter: RetryFilter) -> RetryId {
        self.try_begin(filter, 1_000_000).expect("begun").retry_id
    }

    fn bulk(&mut self, command: Command) -> Result<BulkRetry, Problem> {
        match self.apply(command)? {
            Reply::BulkRetry(retry) => Ok(*retry),
            other => panic!("no retry: {other:?}"),
        }
    }

    fn retry_step(&mut self, id: RetryId, jobs: u32) -> RetryStep {
        self.step(|transitions| transitions.retry_some(id, jobs))
    }

    /// State, retried and skipped.
    fn retry(&mut self, id: RetryId) -> (BulkState, u64, u64) {
        let all = self.read(|reader| reader.bulk_retries(&Tenant::default())).read;
        let retry = all.into_iter().find(|retry| retry.retry_id == id).expect("it is known");
        assert_eq!(retry.ended_at.is_some(), retry.state != BulkState::Running);
        (retry.state, retry.retried, retry.skipped)
    }

    fn cancelled_jobs(&mut self, count: usize) -> Vec<JobId> {
        let jobs: Vec<JobId> = (0..count).map(|_| self.job("a")).collect();
        let cancels: Vec<Command> = jobs.iter().map(|job_id| Command::Cancel { job_id: *job_id }).collect();
        cancels.chunks(1_000).for_each(|chunk| drop(self.apply_all(chunk)));
        jobs
    }

    fn fail(&mut self, session: SessionId, job_id: JobId, kind: ErrorKind) {
        self.ring();
        let dispatch = u64::from(self.view(job_id).run);
        let fence = self.claim(session, job_id, dispatch);
        let error = JobError { kind, message: "no".to_owned() };
        self.complete(job_id, fence, Outcome::Failed { error, may_retry: false, retry_after_ms: None });
    }

    fn queued(&mut self, jobs: &[JobId]) -> usize {
        jobs.iter().filter(|job_id| self.status(**job_id) == Status::Queued).count()
    }
}

pub(crate) fn a_filter_chooses_who_is_retried<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["*"]);
    let (first, second) = (lab.job("a"), lab.job("b"));
    lab.fail(session, first, ErrorKind::Timeout);
    lab.wall_ms += 1_000;
    lab.fail(session, second, ErrorKind::Failed);
    let gone = lab.cancelled_jobs(1)[0];
    let at = |ms: i64| Some(Timestamp::from_unix_ms(BEGIN_MS + ms));
    let failed = || filter(Unsuccessful::Failed);
    let mut check = |filter: RetryFilter, expected: &[JobId]| {
        let preview = lab.read(|reader| reader.preview_retry(&Tenant::default(), &filter)).read;
        assert_eq!(preview.sample.iter().map(|job| job.job_id).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!((preview.matching, preview.exact), (expected.len() as u64, true));
    };
    check(failed(), &[first, second]);
    check(cancelled(), &[gone]);
    check(RetryFilter { task: Some("b".try_into().expect("a task")), ..failed() }, &[second]);
    check(RetryFilter { queue: Some("reports".try_into().expect("a queue")), ..failed() }, &[]);
    check(RetryFilter { error_kind: Some(ErrorKind::Timeout), ..failed() }, &[first]);
    check(RetryFilter { after: at(1_000), ..failed() }, &[second]);
    check(RetryFilter { before: at(1_000), ..failed() }, &[first]);
    let id = lab.begin(RetryFilter { error_kind: Some(ErrorKind::Timeout), ..failed() });
    assert!(lab.signals.retries);
    assert_eq!(lab.retry_step(id, 10), RetryStep { retried: 1, blocked: false, ended: true });
    assert_eq!([first, second, gone].map(|job| lab.status(job)), [Status::Queued, Status::Failed, Status::Cancelled]);
    assert_eq!(lab.retry(id), (BulkState::Done, 1, 0));
    assert_eq!(lab.view(first).run, 2);
}

pub(crate) fn a_step_retries_so_many_and_goes_on<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs = lab.cancelled_jobs(5);
    let asked = RetryJobs { retry_id: RetryId::generate(), filter: cancelled(), rate_per_second: 10, limit: 100 };
    let (id, again) = (asked.retry_id, Command::RetryJobs(Box::new(asked)));
    lab.bulk(again.clone()).expect("begun");
    assert_eq!(lab.retry_step(id, 2), RetryStep { retried: 2, ..RetryStep::default() });
    assert_eq!(lab.queued(&jobs[..2]), 2, "the oldest");
    let mut lab = lab.after_kill();
    assert_eq!(lab.retry(id), (BulkState::Running, 2, 0));
    assert_eq!(lab.bulk(again).expect("known").retried, 2, "the same id is the same retry");
    assert_eq!(lab.retry_step(id, 2).retried, 2);
    assert_eq!(lab.retry_step(id, 2), RetryStep { retried: 1, blocked: false, ended: true });
    assert_eq!(lab.retry_step(id, 2), RetryStep { ended: true, ..RetryStep::default() });
    assert_eq!((lab.queued(&jobs), lab.retry(id)), (5, (BulkState::Done, 5, 0)));
}

pub(crate) fn what_fails_again_is_not_retried_again<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs = [lab.job("a"), lab.job("a"), lab.job("a")];
    lab.fail(session, jobs[0], ErrorKind::Failed);
    lab.fail(session, jobs[1], ErrorKind::Failed);
    let id = lab.begin(filter(Unsuccessful::Failed));
    lab.retry_step(id, 1);
    lab.wall_ms += 1;
    // Both fail after it was begun: one that it has retried, and one that was not meant.
    lab.fail(session, jobs[0], ErrorKind::Failed);
    lab.fail(session, jobs[2], ErrorKind::Failed);
    assert_eq!(lab.retry_step(id, 10), RetryStep { retried: 1, blocked: false, ended: true });
    assert_eq!(jobs.map(|job| lab.status(job)), [Status::Failed, Status::Queued, Status::Failed]);
}

pub(crate) fn a_limit_ends_it<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs = lab.cancelled_jobs(5);
    let id = lab.try_begin(cancelled(), 3).expect("begun").retry_id;
    assert_eq!(lab.retry_step(id, 2), RetryStep { retried: 2, ..RetryStep::default() });
    assert_eq!(lab.retry_step(id, 2), RetryStep { retried: 1, blocked: false, ended: true });
    assert_eq!((lab.queued(&jobs), lab.queued(&jobs[..3])), (3, 3));
}

pub(crate) fn held_keys_are_skipped<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let unique = || Create { unique_key: Some("k".try_into().expect("a key")), ..create("a") };
    let jobs: Vec<JobId> = (0..3)
        .map(|_| {
            let job_id = lab.create(unique());
            lab.apply(Command::Cancel { job_id }).expect("cancelled");
            job_id
        })
        .collect();
    let other = lab.cancelled_jobs(1)[0];
    let id = lab.begin(cancelled());
    assert_eq!(lab.retry_step(id, 10), RetryStep { retried: 2, blocked: false, ended: true });
    assert_eq!(lab.retry(id), (BulkState::Done, 2, 2));
    assert_eq!((lab.queued(&jobs), lab.status(jobs[0]), lab.status(other)), (1, Status::Queued, Status::Queued));
}

pub(crate) fn a_full_queue_is_waited_for<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.settings.queue_depth_max = 2;
    let jobs: Vec<JobId> = (0..3).flat_map(|_| lab.cancelled_jobs(1)).collect();
    let id = lab.begin(cancelled());
    assert_eq!(lab.retry_step(id, 10), RetryStep { retried: 2, blocked: true, ended: false });
    assert_eq!(lab.retry_step(id, 10), RetryStep { retried: 0, blocked: true, ended: false });
    lab.apply(Command::Cancel { job_id: jobs[0] }).expect("cancelled");
    assert_eq!(lab.retry_step(id, 10), RetryStep { retried: 1, blocked: false, ended: true });
    assert_eq!(lab.status(jobs[2]), Status::Queued);
}

pub(crate) fn only_so_many_run_at_once<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let ids: Vec<RetryId> = (0..RUNNING_MAX).map(|_| lab.begin(cancelled())).collect();
    let problem = lab.try_begin(cancelled(), 1).expect_err("refused");
    assert_eq!((problem.kind(), problem.retry_after()), (Some(Kind::RateLimited), Some(5)));
    for id in ids {
        assert!(lab.retry_step(id, 1).ended);
    }
    for _ in 0..ENDED_KEPT + 3 {
        let id = lab.begin(cancelled());
        assert!(lab.retry_step(id, 1).ended);
    }
    assert_eq!(lab.read(|reader| reader.bulk_retries(&Tenant::default())).read.len(), ENDED_KEPT);
}

pub(crate) fn one_is_stopped<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs = lab.cancelled_jobs(3);
    let id = lab.begin(cancelled());
    lab.retry_step(id, 1);
    let stopped = lab.bulk(Command::StopRetry { retry_id: id }).expect("known");
    assert_eq!((stopped.state, stopped.retried), (BulkState::Stopped, 1));
    assert!(lab.retry_step(id, 10).ended);
    assert_eq!(lab.queued(&jobs), 1);
    let unknown = lab.bulk(Command::StopRetry { retry_id: RetryId::generate() }).expect_err("unknown");
    assert_eq!(unknown.kind(), Some(Kind::NotFound));
}

pub(crate) fn a_preview_counts_and_shows_the_first<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs = lab.cancelled_jobs(SAMPLE_MAX + 5);
    let preview = lab.read(|reader| reader.preview_retry(&Tenant::default(), &cancelled())).read;
    let shown: Vec<JobId> = preview.sample.iter().map(|job| job.job_id).collect();
    assert_eq!((preview.matching, shown.as_slice()), (jobs.len() as u64, &jobs[..SAMPLE_MAX]));
    assert_eq!(lab.queued(&jobs), 0, "nothing was changed");
}

pub(crate) fn many_strangers_are_passed_in_bounded_steps<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.cancelled_jobs(2_500);
    let wanted = lab.job("b");
    lab.apply(Command::Cancel { job_id: wanted }).expect("cancelled");
    let id = lab.begin(RetryFilter { task: Some("b".try_into().expect("a task")), ..cancelled() });
    let mut steps = 1;
    while !lab.retry_step(id, 10).ended {
        steps += 1;
    }
    assert_eq!((steps, lab.status(wanted)), (3, Status::Queued));
}
