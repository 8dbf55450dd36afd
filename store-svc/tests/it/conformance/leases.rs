//! One owner at a time: claims, leases, fences.

use protocol::api::{ErrorKind, Progress, Status};
use protocol::ids::{ClaimId, Dispatch, Fence, SessionId};
use protocol::job::{CRASHES_MAX, ClaimRefusal, Settled};
use protocol::problem::Kind;
use protocol::store_api::{Change, Claim, Command, Held, JobFence};
use store_svc::storage::NewsItem;

use super::{Fixture, LEASE_MS, Lab, failed, heartbeat, succeeded};

pub(crate) fn a_repeated_claim_is_the_same_claim<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let claim_id = ClaimId::generate();
    let first = lab.try_claim(session, job_id, 1, claim_id).expect("won");
    let seen = lab.read(|reader| reader.leases());
    let again = lab.try_claim(session, job_id, 1, claim_id).expect("the same");
    assert_eq!((again.fence, again.attempt), (first.fence, 1));
    // It renews the lease, because the worker counts from the repetition.
    assert!(!lab.step(|transitions| transitions.reap(seen[0].key, seen[0].renewal)));
    assert_eq!(lab.refused(session, job_id, 1), ClaimRefusal::NotQueued);
}

pub(crate) fn a_stale_bell_loses<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    lab.release(job_id, fence);
    assert_eq!(lab.refused(session, job_id, 1), ClaimRefusal::StaleBell);
    assert_eq!(lab.refused(session, job_id, 3), ClaimRefusal::StaleBell);
    assert_eq!(lab.refused(session, protocol::ids::JobId::generate(), 1), ClaimRefusal::UnknownJob);
    // The bell need not be out any more, as long as it is the present one: the broker may have kept it.
    lab.claim(session, job_id, 2);
}

pub(crate) fn a_session_must_be_known<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let known = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let stranger = SessionId::generate();
    let problem = lab.try_claim(stranger, job_id, 1, ClaimId::generate()).expect_err("refused").expect_err("a problem");
    assert_eq!(problem.kind(), Some(Kind::UnknownSession));
    let mut silent = heartbeat(stranger, &["a"]);
    silent.register = false;
    assert_eq!(lab.beat(silent.clone()).expect_err("refused").kind(), Some(Kind::UnknownSession));
    silent.register = true;
    lab.beat(silent.clone()).expect("registered");
    silent.register = false;
    lab.beat(silent).expect("known");
    lab.claim(stranger, job_id, 1);
    // One that is silent is ended, at the renewal number that was seen to stand still only.
    let sessions = lab.read(|reader| reader.sessions());
    let (session, renewal) = *sessions.iter().find(|(session, _)| *session == known).expect("known");
    assert!(!lab.step(|transitions| transitions.expire_session(session, renewal + 1)));
    assert!(lab.step(|transitions| transitions.expire_session(session, renewal)));
    assert_eq!(lab.read(|reader| reader.workers()).read.workers.len(), 1);
    lab.apply(Command::EndSession { session: stranger }).expect("ended");
    assert!(lab.read(|reader| reader.workers()).read.workers.is_empty());
    assert_eq!(lab.status(job_id), Status::Running, "a lease ends by itself, not with its session");
}

pub(crate) fn a_late_owner_is_refused<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let first = lab.claim(session, job_id, 1);
    assert!(lab.reap(job_id));
    assert_eq!(lab.signals.news, [(session, NewsItem::Lost(JobFence { job_id, fence: first }))]);
    assert_eq!(lab.complete(job_id, first, succeeded()), (Settled::Refused, Status::Queued));
    let second = lab.claim(session, job_id, 2);
    assert_eq!(lab.complete(job_id, first, succeeded()), (Settled::Refused, Status::Running));
    assert_eq!(lab.release(job_id, first).0, Settled::Refused);
    assert_eq!(lab.complete(job_id, second, succeeded()), (Settled::Recorded, Status::Succeeded));
    assert_eq!(lab.complete(job_id, second, failed(true)), (Settled::AlreadyRecorded, Status::Succeeded));
}

pub(crate) fn heartbeats_renew_what_they_name<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (named, unnamed) = (lab.job("a"), lab.job("a"));
    lab.ring();
    let fence = lab.claim(session, named, 1);
    lab.claim(session, unnamed, 1);
    let before = lab.read(|reader| reader.leases());
    let mut beat = heartbeat(session, &["a"]);
    let lost = JobFence { job_id: unnamed, fence: Fence(7) };
    beat.holds = vec![
        Held { job_id: named, fence, progress: None },
        Held { job_id: lost.job_id, fence: lost.fence, progress: None },
    ];
    assert_eq!(lab.beat(beat).expect("answered").lost, [lost]);
    let renewed = |held: &protocol::lease::Held<JobFence>| !before.contains(held);
    let after = lab.read(|reader| reader.leases());
    let renewed: Vec<_> = after.iter().filter(|held| renewed(held)).map(|held| held.key.job_id).collect();
    assert_eq!(renewed, [named]);
    let busy = lab.read(|reader| reader.workers()).read.workers[0].busy;
    assert_eq!(busy, 2);
}

pub(crate) fn crashes_and_releases_are_not_attempts<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    lab.claim(session, job_id, 1);
    lab.reap(job_id);
    let fence = lab.claim(session, job_id, 2);
    assert_eq!(lab.release(job_id, fence), (Settled::Recorded, Status::Queued));
    assert_eq!(lab.release(job_id, fence), (Settled::AlreadyRecorded, Status::Queued));
    let view = lab.view(job_id);
    assert_eq!((view.attempt, view.crashes), (0, 1));
    lab.claim(session, job_id, 3);
    assert_eq!(lab.view(job_id).attempt, 1);
}

pub(crate) fn poison_is_stopped<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    for crash in 1..=u64::from(CRASHES_MAX) {
        lab.wall_ms += 2_000;
        lab.step(|transitions| transitions.due(1));
        lab.ring();
        lab.claim(session, job_id, crash);
        assert!(lab.reap(job_id));
    }
    let view = lab.view(job_id);
    assert_eq!((view.status, view.crashes), (Status::Failed, CRASHES_MAX));
    assert_eq!(view.error.map(|error| error.kind), Some(ErrorKind::Crashed));
}

pub(crate) fn who_crashes_again_waits_a_moment<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<_> = (0..4).map(|_| lab.job("a")).collect();
    let crash_all = |lab: &mut Lab<F>, dispatch: u64| {
        lab.ring();
        jobs.iter().for_each(|job_id| _ = lab.claim(session, *job_id, dispatch));
        assert!(jobs.iter().all(|job_id| lab.reap(*job_id)));
    };
    crash_all(&mut lab, 1);
    assert!(jobs.iter().all(|job_id| lab.status(*job_id) == Status::Queued));
    crash_all(&mut lab, 2);
    let due: std::collections::BTreeSet<_> =
        jobs.iter().map(|job_id| lab.view(*job_id).run_at.expect("scheduled").unix_ms() - lab.wall_ms).collect();
    assert!(due.len() > 2, "those that ran together do not come back together: {due:?}");
    assert!(due.iter().all(|wait_ms| (0..=1_000).contains(wait_ms)), "{due:?}");
    lab.wall_ms += 1_000;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.ring().len(), jobs.len());
    assert_eq!(lab.view(jobs[0]).attempt, 0);
}

pub(crate) fn progress_is_shown<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    let progress = Progress { fraction: Some(0.5), message: Some("half".to_owned()) };
    let head = u64::try_from(lab.log(0).len()).expect("small");
    for _ in 0..2 {
        let mut beat = heartbeat(session, &["a"]);
        beat.holds.push(Held { job_id, fence, progress: Some(progress.clone()) });
        lab.beat(beat).expect("answered");
    }
    assert_eq!(lab.view(job_id).progress, Some(progress.clone()));
    let news: Vec<Change> = lab.log(head).into_iter().map(|entry| entry.change).collect();
    assert_eq!(news, [Change::Progress { job_id, progress }], "the same progress is said once");
}

pub(crate) fn claims_are_bounded_in_their_lease<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    for lease_ms in [0, 999, 3_600_001] {
        let claim =
            Claim { session, job_id, dispatch: Dispatch(1), claim_id: ClaimId::generate(), lease_ms, or_except: None };
        assert_eq!(lab.apply(Command::Claim(claim)).expect_err("refused").kind(), Some(Kind::Invalid));
    }
    lab.claim(session, job_id, 1);
    assert_eq!(lab.read(|reader| reader.leases())[0].lease_ms, LEASE_MS);
}
