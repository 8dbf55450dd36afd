//! Cancel, against everything that it can meet.

use protocol::api::{JobView, Status};
use protocol::ids::JobId;
use protocol::job::{Cancelled, Settled};
use protocol::problem::Kind;
use protocol::store_api::{Command, Create, JobFence, Reply};
use protocol::time::Timestamp;
use store_svc::storage::NewsItem;

use super::{BEGIN_MS, Fixture, Lab, create, failed, heartbeat, succeeded};

fn cancel<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> (Cancelled, JobView) {
    match lab.apply(Command::Cancel { job_id }) {
        Ok(Reply::Cancelled { cancelled, job }) => (cancelled, *job),
        other => panic!("no answer to cancel: {other:?}"),
    }
}

pub(crate) fn waiting_jobs_are_cancelled_at_once<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let queued = lab.job("a");
    let later = Timestamp::from_unix_ms(BEGIN_MS + 60_000);
    let scheduled = lab.create(Create { run_at: Some(later), ..create("a") });
    lab.ring();
    for job_id in [queued, scheduled] {
        let (cancelled, job) = cancel(&mut lab, job_id);
        assert_eq!((cancelled, job.status), (Cancelled::Now, Status::Cancelled));
        assert_eq!((job.started_at, job.finished_at.map(Timestamp::unix_ms)), (None, Some(BEGIN_MS)));
        assert_eq!(cancel(&mut lab, job_id).0, Cancelled::Conflict);
    }
    lab.refused(session, queued, 1);
    lab.wall_ms += 60_000;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.status(scheduled), Status::Cancelled);
    assert_eq!(
        lab.apply(Command::Cancel { job_id: JobId::generate() }).expect_err("unknown").kind(),
        Some(Kind::NotFound)
    );
}

pub(crate) fn running_jobs_are_asked<F: Fixture>() {
    type End<F> = fn(&mut Lab<F>, JobId, protocol::ids::Fence);
    let ends: [(End<F>, Status); 4] = [
        (
            |lab, job, fence| {
                lab.complete(job, fence, failed(true));
            },
            Status::Cancelled,
        ),
        (
            |lab, job, fence| {
                lab.release(job, fence);
            },
            Status::Cancelled,
        ),
        (|lab, job, _| assert!(lab.reap(job)), Status::Cancelled),
        (
            |lab, job, fence| {
                lab.complete(job, fence, succeeded());
            },
            Status::Succeeded,
        ),
    ];
    for (end, expected) in ends {
        let mut lab = Lab::<F>::new();
        let session = lab.worker(&["a"]);
        let job_id = lab.job("a");
        lab.ring();
        let fence = lab.claim(session, job_id, 1);
        let (cancelled, job) = cancel(&mut lab, job_id);
        assert_eq!((cancelled, job.status), (Cancelled::Requested, Status::Running));
        assert!(job.cancel_requested_at.is_some());
        let lease = JobFence { job_id, fence };
        assert_eq!(lab.signals.news, [(session, NewsItem::Cancelled(lease))]);
        assert_eq!(lab.read(|reader| reader.cancelled_of(session)), [lease]);
        let mut beat = heartbeat(session, &["a"]);
        beat.holds.push(protocol::store_api::Held { job_id, fence, progress: None });
        assert_eq!(lab.beat(beat).expect("answered").cancelled, [lease]);
        end(&mut lab, job_id, fence);
        let view = lab.view(job_id);
        assert_eq!(view.status, expected);
        assert!(view.finished_at.is_some());
    }
}

pub(crate) fn the_first_outcome_wins_over_a_cancel<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    cancel(&mut lab, job_id);
    lab.reap(job_id);
    assert_eq!(lab.complete(job_id, fence, succeeded()), (Settled::Refused, Status::Cancelled));
}

pub(crate) fn cancelled_bell_keeps_its_place_until_named<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..6).map(|_| lab.job("a")).collect();
    let bells = lab.ring();
    assert_eq!(bells.len(), 4);
    for bell in &bells {
        cancel(&mut lab, bell.bell.job_id);
    }
    assert!(lab.ring().is_empty(), "the cancelled bells are still in the broker");
    for bell in &bells {
        lab.refused(session, bell.bell.job_id, 1);
    }
    let rung: Vec<JobId> = lab.ring().iter().map(|bell| bell.bell.job_id).collect();
    assert_eq!(rung, jobs[4..]);
}
