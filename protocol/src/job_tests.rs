//! The job's state machine, step by step, and the interleavings that broke earlier drafts.

use super::*;

fn claim_id(n: u128) -> ClaimId {
    ClaimId(uuid::Uuid::from_u128(n))
}

fn queued() -> Job {
    Job::create(true, 3, false)
}

fn running() -> Job {
    let mut job = queued();
    job.claim(Dispatch(1), claim_id(1)).expect("a queued job can be claimed");
    job
}

fn failed() -> Ended {
    Ended::Failed { may_retry: true }
}

#[test]
fn claim_wins_only_under_the_present_bell() {
    let check = |mut job: Job, dispatch: u64, claim: u128, expected: Result<Claimed, ClaimRefusal>| {
        assert_eq!(job.claim(Dispatch(dispatch), claim_id(claim)), expected);
    };
    check(queued(), 1, 1, Ok(Claimed { fence: Fence(1), repeated: false }));
    check(queued(), 2, 1, Err(ClaimRefusal::StaleBell));
    check(running(), 1, 2, Err(ClaimRefusal::NotQueued));
    check(running(), 1, 1, Ok(Claimed { fence: Fence(1), repeated: true }));
    check(Job::create(false, 3, false), 0, 1, Err(ClaimRefusal::NotQueued));
}

#[test]
fn pulled_job_leaves_its_bell_nothing() {
    let mut job = queued();
    assert_eq!(job.pull(claim_id(1)), Ok(Claimed { fence: Fence(1), repeated: false }));
    assert_eq!(job.claim(Dispatch(1), claim_id(2)), Err(ClaimRefusal::NotQueued));
    assert_eq!(job.pull(claim_id(2)), Err(ClaimRefusal::NotQueued));
    assert_eq!(job.pull(claim_id(1)), Ok(Claimed { fence: Fence(1), repeated: true }));
    job.release(Fence(1));
    assert_eq!(job.claim(Dispatch(1), claim_id(2)), Err(ClaimRefusal::StaleBell));
    assert_eq!(job.pull(claim_id(1)), Ok(Claimed { fence: Fence(2), repeated: false }));
}

#[test]
fn repeated_claim_keeps_the_fence_and_renews() {
    let mut job = running();
    let before = job.renewal;
    job.claim(Dispatch(1), claim_id(1)).expect("the same claim id may repeat");
    assert_eq!((job.fence, job.attempt), (Fence(1), 1));
    assert_eq!(job.renewal, before + 1);
}

#[test]
fn old_duplicate_does_not_jump_the_backoff() {
    let mut job = running();
    assert_eq!(job.complete(Fence(1), failed()), Settled::Recorded);
    assert_eq!(job.state, State::Scheduled);
    assert_eq!(job.claim(Dispatch(1), claim_id(2)), Err(ClaimRefusal::NotQueued));
    assert!(job.due());
    assert_eq!(job.claim(Dispatch(1), claim_id(2)), Err(ClaimRefusal::StaleBell));
    assert_eq!(job.claim(Dispatch(2), claim_id(2)), Ok(Claimed { fence: Fence(2), repeated: false }));
}

#[test]
fn late_owner_is_refused() {
    let mut job = running();
    job.reap(Fence(1), job.renewal).expect("the lease stood still");
    assert_eq!(job.complete(Fence(1), Ended::Succeeded), Settled::Refused);
    job.claim(Dispatch(2), claim_id(2)).expect("queued again");
    assert_eq!(job.complete(Fence(1), Ended::Succeeded), Settled::Refused);
    assert_eq!(job.renew(Fence(1)), Err(LeaseLost));
    assert_eq!(job.complete(Fence(2), Ended::Succeeded), Settled::Recorded);
    assert_eq!(job.complete(Fence(2), failed()), Settled::AlreadyRecorded);
    assert_eq!(job.state, State::Succeeded);
}

#[test]
fn renewed_lease_is_not_reaped() {
    let mut job = running();
    let seen = job.renewal;
    job.renew(Fence(1)).expect("owned");
    assert_eq!(job.reap(Fence(1), seen), Err(LeaseLost));
}

#[test]
fn failures_crashes_and_releases_are_counted_apart() {
    let mut job = running();
    job.reap(Fence(1), job.renewal).expect("crash");
    assert_eq!((job.attempt, job.crashes), (0, 1));
    job.claim(Dispatch(2), claim_id(2)).expect("queued");
    assert_eq!(job.release(Fence(2)), Settled::Recorded);
    assert_eq!(job.release(Fence(2)), Settled::AlreadyRecorded);
    assert_eq!((job.attempt, job.crashes), (0, 1));
    for failure in 1..=3_u32 {
        job.claim(job.dispatch, claim_id(10 + u128::from(failure))).expect("queued");
        assert_eq!(job.complete(job.fence, failed()), Settled::Recorded);
        assert_eq!(job.attempt, failure);
        job.due();
    }
    assert_eq!(job.state, State::Failed);
}

#[test]
fn poison_stops_at_the_crash_limit() {
    let mut job = queued();
    for n in 0..CRASHES_MAX {
        job.claim(job.dispatch, claim_id(u128::from(n) + 1)).expect("queued");
        job.reap(job.fence, job.renewal).expect("owned");
        // The first crash costs no time; who crashes again waits, so that not all that ran together come back together.
        assert_eq!(job.due(), n > 0 && n + 1 < CRASHES_MAX, "after crash {}", n + 1);
    }
    assert_eq!((job.state, job.crashes, job.attempt), (State::Failed, CRASHES_MAX, 0));
}

#[test]
fn cancel_ends_waiting_jobs_and_asks_running_ones() {
    let check = |mut job: Job, step: fn(&mut Job), cancelled: Cancelled, end: State| {
        assert_eq!(job.cancel(), cancelled);
        step(&mut job);
        assert_eq!(job.state, end);
    };
    check(queued(), |_| (), Cancelled::Now, State::Cancelled);
    check(Job::create(false, 3, false), |_| (), Cancelled::Now, State::Cancelled);
    let succeed = |job: &mut Job| assert_eq!(job.complete(Fence(1), Ended::Succeeded), Settled::Recorded);
    check(running(), succeed, Cancelled::Requested, State::Succeeded);
    let fail = |job: &mut Job| assert_eq!(job.complete(Fence(1), failed()), Settled::Recorded);
    check(running(), fail, Cancelled::Requested, State::Cancelled);
    let give_back = |job: &mut Job| assert_eq!(job.release(Fence(1)), Settled::Recorded);
    check(running(), give_back, Cancelled::Requested, State::Cancelled);
    let crash = |job: &mut Job| job.reap(Fence(1), job.renewal).expect("owned");
    check(running(), crash, Cancelled::Requested, State::Cancelled);
    let mut ended = running();
    succeed(&mut ended);
    check(ended, |_| (), Cancelled::Conflict, State::Succeeded);
}

#[test]
fn a_start_is_missed_only_before_the_first_attempt_of_a_run() {
    let check = |mut job: Job, missed: bool, end: State| {
        let before = job.clone();
        assert_eq!((job.miss_start(), job.state), (missed, end));
        let effects = job.effects_since(&before);
        assert_eq!((effects.visible, effects.bell, effects.invalidation), (missed, false, false));
        assert!(!missed || job.claim(job.dispatch, claim_id(9)) == Err(ClaimRefusal::NotQueued));
    };
    check(Job::create(true, 3, true), true, State::Failed);
    check(Job::create(false, 3, true), true, State::Failed);
    check(running(), false, State::Running);
    let mut released = running();
    released.release(Fence(1));
    check(released, false, State::Queued);
    let mut between = running();
    between.complete(Fence(1), failed());
    check(between, false, State::Scheduled);
    let mut ended = queued();
    ended.cancel();
    check(ended.clone(), false, State::Cancelled);
    ended.retry();
    check(ended, true, State::Failed);
}

#[test]
fn declared_invalidations_hold_success_back_until_fenced() {
    let mut job = Job::create(true, 3, true);
    job.claim(Dispatch(1), claim_id(1)).expect("queued");
    let before = job.clone();
    job.complete(Fence(1), Ended::Succeeded);
    assert_eq!(job.state, State::Finishing);
    assert!(job.effects_since(&before).invalidation);
    assert_eq!(job.cancel(), Cancelled::Conflict);
    assert_eq!(job.reap(Fence(1), job.renewal), Err(LeaseLost));
    assert!(job.fence_closed());
    assert!(!job.fence_closed());
    assert_eq!(job.state, State::Succeeded);
}

#[test]
fn unsuccessful_end_invalidates_only_if_it_had_started() {
    let mut job = Job::create(true, 1, true);
    let before = job.clone();
    job.cancel();
    assert!(!job.effects_since(&before).invalidation);
    job.retry();
    job.claim(job.dispatch, claim_id(1)).expect("queued");
    let before = job.clone();
    job.complete(job.fence, failed());
    assert_eq!(job.state, State::Failed);
    assert!(job.effects_since(&before).invalidation);
}

#[test]
fn retry_opens_the_next_run_with_growing_numbers() {
    let mut job = running();
    assert!(!job.retry());
    job.complete(Fence(1), Ended::Failed { may_retry: false });
    assert_eq!(job.state, State::Failed);
    assert!(job.retry());
    assert_eq!((job.run, job.attempt, job.dispatch, job.fence), (2, 0, Dispatch(2), Fence(1)));
    assert_eq!(job.complete(Fence(1), Ended::Succeeded), Settled::AlreadyRecorded);
    assert_eq!(job.state, State::Queued);
}
