//! Workers that take jobs without bells, beside those that are rung.

use protocol::api::{Priority, Status, WaitingFor};
use protocol::ids::{ClaimId, JobId, SessionId};
use protocol::job::{ClaimRefusal, Settled};
use protocol::lease_api::{LIMIT_MAX, PAYLOAD_BYTES_MAX};
use protocol::problem::Kind;
use protocol::store_api::{Command, Complete, Create, HeartbeatReply, Held, JobFence, Next, Pull, PulledJob, Reply};
use serde_json::value::to_raw_value;
use store_svc::storage::{BellSeq, Offer};

use super::{Fixture, LEASE_MS, Lab, create, heartbeat, succeeded};

pub(crate) fn pull(tasks: &[&str], limit: u32) -> Pull {
    Pull {
        session: SessionId::generate(),
        worker: "a worker that pulls".try_into().expect("a name"),
        queues: vec!["default".try_into().expect("a queue")],
        tasks: tasks.iter().map(|task| (*task).to_owned().try_into().expect("a pattern")).collect(),
        limit,
        lease_ms: LEASE_MS,
        claim_id: ClaimId::generate(),
    }
}

pub(crate) fn take<F: Fixture>(lab: &mut Lab<F>, pull: &Pull) -> Vec<PulledJob> {
    match lab.apply(Command::Pull(pull.clone())) {
        Ok(Reply::Pulled { jobs }) => jobs,
        other => panic!("not pulled: {other:?}"),
    }
}

/// The jobs of a pull of its own.
fn pulled<F: Fixture>(lab: &mut Lab<F>, tasks: &[&str], limit: u32) -> Vec<JobId> {
    take(lab, &pull(tasks, limit)).into_iter().map(|job| job.job_id).collect()
}

fn renew<F: Fixture>(lab: &mut Lab<F>, lease: JobFence) -> HeartbeatReply {
    let held = Held { job_id: lease.job_id, fence: lease.fence, progress: None };
    match lab.apply(Command::Renew(held)) {
        Ok(Reply::Heartbeat(reply)) => reply,
        other => panic!("not renewed: {other:?}"),
    }
}

fn lease(job: &PulledJob) -> JobFence {
    JobFence { job_id: job.job_id, fence: job.claimed.fence }
}

pub(crate) fn rows_are_taken_by_priority_then_age_wherever_they_wait<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let nobody = lab.create(Create { priority: Priority::Low, ..create("b2") });
    let narrow = lab.worker(&["other"]);
    let wide = lab.worker(&["a"]);
    let deferred = lab.job("a");
    lab.ring();
    assert_eq!(lab.refused(narrow, deferred, 1), ClaimRefusal::UnknownTask);
    let rung: Vec<JobId> = (0..4).map(|_| lab.job("a")).collect();
    lab.ring();
    let ready = lab.job("a");
    let unknown = lab.job("b1");
    let high = lab.create(Create { priority: Priority::High, ..create("b1") });
    lab.create(Create { queue: "reports".try_into().expect("a queue"), ..create("a") });
    let expected: Vec<JobId> = [high, deferred].into_iter().chain(rung.clone()).chain([ready, unknown]).collect();
    assert_eq!(pulled(&mut lab, &["a", "b*"], 3), expected[..3]);
    assert_eq!(pulled(&mut lab, &["a", "b*"], 100), [&expected[3..], &[nobody]].concat());
    assert!(pulled(&mut lab, &["a", "b*"], 100).is_empty());
    // The bells that are out find their rows taken.
    for job_id in rung {
        assert_eq!(lab.refused(wide, job_id, 1), ClaimRefusal::NotQueued);
    }
}

pub(crate) fn nothing_is_rung_for_who_pulls<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.settings.window = None;
    assert!(pulled(&mut lab, &["a"], 1).is_empty());
    let job_id = lab.create(Create { wants_bell: true, ..create("a") });
    assert_eq!(lab.signals.offers, [Offer { queue: "default".to_owned(), task: "a".to_owned() }]);
    assert_eq!(lab.view(job_id).waiting_for, Some(WaitingFor::Slot));
    assert!(lab.ring().is_empty(), "nobody would take the bell");
    lab.worker(&["b"]);
    assert!(lab.ring().is_empty(), "it would be given to who does not know the task");
    lab.create(create("b"));
    assert!(lab.signals.offers.is_empty());
    let busy = pulled(&mut lab, &["a"], 1);
    assert_eq!(busy, [job_id]);
    let workers = lab.read(|reader| reader.workers()).read.workers;
    let slots: Vec<_> = workers.iter().map(|worker| (worker.slots, worker.busy)).collect();
    assert!(slots.contains(&(0, 1)) && slots.contains(&(8, 0)), "{slots:?}");
}

pub(crate) fn a_pulled_row_leaves_its_bell_in_its_place<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..6).map(|_| lab.job("a")).collect();
    lab.ring();
    assert_eq!(pulled(&mut lab, &["a"], 3), jobs[..3]);
    assert!(lab.ring().is_empty(), "the bells of the pulled rows still lie in the broker");
    // A pull is no delivery: it says nothing about the bells before.
    assert_eq!(lab.read(|reader| reader.outstanding())[0].claimed_through, BellSeq(0));
    assert_eq!(lab.step(|transitions| transitions.lose_bells("default", BellSeq(4), false)), 0);
    assert_eq!(lab.refused(session, jobs[0], 1), ClaimRefusal::NotQueued);
    assert_eq!(lab.ring().len(), 1, "a delivery has named it");
    // An empty queue: those of the pulled rows are gone too, and only the one that waits is rung again.
    assert_eq!(lab.step(|transitions| transitions.lose_bells("default", BellSeq(4), true)), 3);
    let again: Vec<JobId> = lab.ring().iter().map(|bell| bell.bell.job_id).collect();
    assert_eq!(again, [jobs[3], jobs[5]]);
}

pub(crate) fn a_pulled_job_that_comes_back_is_rung_under_the_next_number<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let taken = take(&mut lab, &pull(&["a"], 1));
    assert_eq!(lab.release(job_id, taken[0].claimed.fence), (Settled::Recorded, Status::Queued));
    let rung = lab.ring();
    assert_eq!((rung[0].bell.job_id, rung[0].bell.dispatch.0), (job_id, 2), "the first bell is still out");
    assert_eq!(lab.refused(session, job_id, 1), ClaimRefusal::StaleBell);
    lab.claim(session, job_id, 2);
}

pub(crate) fn a_repeated_pull_is_the_same_pull<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs: Vec<JobId> = (0..3).map(|_| lab.job("a")).collect();
    let two = pull(&["a"], 2);
    let first = take(&mut lab, &two);
    let seen = lab.read(|reader| reader.leases());
    let again = take(&mut lab, &two);
    assert_eq!(again.iter().map(lease).collect::<Vec<_>>(), first.iter().map(lease).collect::<Vec<_>>());
    assert_eq!(again[0].claimed.attempt, 1);
    for held in seen {
        assert!(!lab.step(|transitions| transitions.reap(held.key, held.renewal)), "it renews");
    }
    let [kept, ended] = [lease(&first[0]), lease(&first[1])];
    lab.complete(ended.job_id, ended.fence, succeeded());
    assert_eq!(take(&mut lab, &two).iter().map(lease).collect::<Vec<_>>(), [kept]);
    lab.release(kept.job_id, kept.fence);
    let others: Vec<JobId> = take(&mut lab, &two).iter().map(|job| job.job_id).collect();
    assert_eq!(others, [jobs[0], jobs[2]], "it holds nothing any more: it takes what waits");
}

pub(crate) fn a_heartbeat_renews_the_lease_and_the_session<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.job("a");
    let asked = pull(&["a"], 1);
    let held = lease(&take(&mut lab, &asked)[0]);
    let (leases, sessions) = (lab.read(|reader| reader.leases()), lab.read(|reader| reader.sessions()));
    assert!(renew(&mut lab, held).lost.is_empty());
    assert!(!lab.step(|transitions| transitions.reap(leases[0].key, leases[0].renewal)));
    assert!(!lab.step(|transitions| transitions.expire_session(sessions[0].0, sessions[0].1)));
    lab.apply(Command::Cancel { job_id: held.job_id }).expect("answered");
    assert_eq!(renew(&mut lab, held).cancelled, [held]);
    assert!(lab.reap(held.job_id));
    assert_eq!(renew(&mut lab, held).lost, [held]);
    assert_eq!(lab.status(held.job_id), Status::Cancelled);
}

pub(crate) fn a_worker_that_died_is_forgotten_and_its_jobs_come_back<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let job_id = lab.job("a");
    let dead = pull(&["a"], 1);
    take(&mut lab, &dead);
    assert!(lab.reap(job_id));
    assert_eq!(lab.signals.offers.len(), 1, "those who wait are told");
    let view = lab.view(job_id);
    assert_eq!((view.status, view.attempt, view.crashes), (Status::Queued, 0, 1));
    let (session, renewal) = lab.read(|reader| reader.sessions())[0];
    assert!(lab.step(|transitions| transitions.expire_session(session, renewal)));
    assert_eq!(lab.view(job_id).waiting_for, Some(WaitingFor::Worker));
    assert_eq!(pulled(&mut lab, &["a"], 1), [job_id]);
}

pub(crate) fn what_others_wait_for_is_in_nobodys_way<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    // One name with many rows, and more names than one look goes through.
    let many: Vec<Command> = (0..1_000).map(|_| Command::Create(Box::new(create("other")))).collect();
    lab.apply_all(&many);
    let mut jobs: Vec<JobId> = (0..600).map(|n| lab.job(&format!("report_{n:03}"))).collect();
    let last = lab.job("z");
    assert_eq!(pulled(&mut lab, &["z"], 1), [last]);
    let mut taken = Vec::new();
    while taken.len() < jobs.len() {
        let next = pulled(&mut lab, &["report_*"], LIMIT_MAX);
        assert!(!next.is_empty(), "{} of {} were found", taken.len(), jobs.len());
        taken.extend(next);
    }
    taken.sort_unstable();
    jobs.sort_unstable();
    assert_eq!(taken, jobs);
}

pub(crate) fn names_have_turns_when_there_are_too_many_for_one_look<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let jobs: Vec<JobId> = (0..299).map(|n| lab.job(&format!("r{n:03}"))).collect();
    let high = lab.create(Create { priority: Priority::High, ..create("r299") });
    // Behind the 256 names of the first look, it is seen by the second one.
    assert_eq!(pulled(&mut lab, &["r*"], 1), [jobs[0]]);
    assert_eq!(pulled(&mut lab, &["r*"], 2), [high, jobs[1]]);
}

pub(crate) fn a_pull_is_bounded<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let large = to_raw_value(&"x".repeat(PAYLOAD_BYTES_MAX / 2)).expect("json");
    for _ in 0..3 {
        lab.create(Create { payload: Some(large.clone()), ..create("a") });
    }
    assert_eq!(pulled(&mut lab, &["a"], 100).len(), 2, "no more once there is so much payload");
    let refused = |lab: &mut Lab<F>, pull: Pull| lab.apply(Command::Pull(pull)).expect_err("refused").kind();
    let good = || pull(&["a"], 1);
    for bad in [
        Pull { lease_ms: 999, ..good() },
        Pull { lease_ms: 3_600_001, ..good() },
        Pull { limit: 0, ..good() },
        Pull { limit: LIMIT_MAX + 1, ..good() },
        Pull { tasks: vec![], ..good() },
        Pull { queues: vec![], ..good() },
    ] {
        assert_eq!(refused(&mut lab, bad), Some(Kind::Invalid));
    }
}

pub(crate) fn rung_rows_are_not_stuck_when_their_consumers_are_gone<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..5).map(|_| lab.job("a")).collect();
    assert_eq!(lab.ring().len(), 4);
    lab.apply(Command::EndSession { session }).expect("ended");
    assert_eq!(pulled(&mut lab, &["a"], 100), jobs);
    // Their bells free their places when a worker is back and names them.
    let back = SessionId::generate();
    lab.beat(heartbeat(back, &["a"])).expect("registered");
    let new = lab.job("a");
    assert!(lab.ring().is_empty());
    assert_eq!(lab.refused(back, jobs[0], 1), ClaimRefusal::NotQueued);
    let rung: Vec<JobId> = lab.ring().iter().map(|bell| bell.bell.job_id).collect();
    assert_eq!(rung, [new]);
}

pub(crate) fn a_paused_queue_is_not_pulled_from<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    assert!(pulled(&mut lab, &["a"], 1).is_empty());
    lab.pause(true);
    let job_id = lab.create(create("a"));
    assert!(lab.signals.offers.is_empty(), "nobody looks in vain");
    let mut lab = lab.after_kill();
    assert!(pulled(&mut lab, &["a"], 1).is_empty());
    lab.pause(false);
    assert_eq!(lab.signals.resumed, ["default"], "all who pull from it look");
    assert_eq!(pulled(&mut lab, &["a"], 1), [job_id]);
}

pub(crate) fn what_did_not_start_in_time_is_not_pulled<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let late = lab.create(Create { start_deadline_ms: Some(1_000), ..create("a") });
    lab.wall_ms += 1_000;
    assert!(pulled(&mut lab, &["a"], 1).is_empty(), "the loop that ends it need not have come");
    assert_eq!(lab.view(late).status, Status::Failed);
}

/// Tells that a job succeeded, and asks for the next one.
fn complete_and_take<F: Fixture>(lab: &mut Lab<F>, lease: JobFence, next: &Next) -> (Settled, Option<PulledJob>) {
    let JobFence { job_id, fence } = lease;
    let complete = Complete { job_id, fence, outcome: succeeded(), output: None, next: Some(next.clone()) };
    match lab.apply(Command::Complete(complete)) {
        Ok(Reply::Settled { settled, next, .. }) => (settled, next.map(|next| *next)),
        other => panic!("not settled: {other:?}"),
    }
}

fn next_for(session: SessionId) -> Next {
    Next { session, lease_ms: LEASE_MS, except: Vec::new(), claim_id: ClaimId::generate() }
}

pub(crate) fn the_next_job_without_a_bell_comes_with_an_outcome<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..6).map(|_| lab.job("a")).collect();
    assert_eq!(lab.ring().len(), 4);
    let high = lab.create(Create { priority: Priority::High, ..create("a") });
    let unknown = lab.create(Create { priority: Priority::High, ..create("b") });
    let claimed = lab.try_claim(session, jobs[0], 1, ClaimId::generate()).expect("won");
    assert!(claimed.more);
    let mut lease = JobFence { job_id: jobs[0], fence: claimed.fence };
    let mut taken = Vec::new();
    while let (Settled::Recorded, Some(next)) = complete_and_take(&mut lab, lease, &next_for(session)) {
        assert_eq!((next.claimed.attempt, next.claimed.lease_ms), (1, LEASE_MS));
        lease = self::lease(&next);
        taken.push(next.job_id);
    }
    assert_eq!(taken, [high, jobs[4], jobs[5]], "by priority, then age; those that are rung are left to their bells");
    assert_eq!(lab.view(unknown).status, Status::Queued);
    assert!(taken.iter().all(|job_id| lab.view(*job_id).status == Status::Succeeded));
    for job_id in &jobs[1..4] {
        lab.claim(session, *job_id, 1);
    }
}

pub(crate) fn an_outcome_that_is_repeated_brings_the_same_next_job<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..7).map(|_| lab.job("a")).collect();
    lab.ring();
    let lease = JobFence { job_id: jobs[0], fence: lab.claim(session, jobs[0], 1) };
    let next = next_for(session);
    let (settled, first) = complete_and_take(&mut lab, lease, &next);
    let first = first.expect("one waits");
    assert_eq!((settled, first.job_id), (Settled::Recorded, jobs[4]));
    let (settled, again) = complete_and_take(&mut lab, lease, &next);
    let again = again.expect("it is held");
    assert_eq!((settled, self::lease(&again)), (Settled::AlreadyRecorded, self::lease(&first)));
    assert_eq!(lab.view(jobs[5]).status, Status::Queued);
    // An owner who has none left.
    lab.reap(jobs[4]);
    let late = complete_and_take(&mut lab, self::lease(&first), &next_for(session));
    assert!(matches!(late, (Settled::Refused, None)), "{late:?}");
}

pub(crate) fn no_next_job_comes_from_a_paused_queue_or_to_a_stranger<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..8).map(|_| lab.job("a")).collect();
    lab.ring();
    let leases: Vec<JobFence> =
        jobs[..3].iter().map(|job_id| JobFence { job_id: *job_id, fence: lab.claim(session, *job_id, 1) }).collect();
    let (settled, none) = complete_and_take(&mut lab, leases[0], &next_for(SessionId::generate()));
    assert!(settled == Settled::Recorded && none.is_none(), "the outcome is kept whoever tells it");
    lab.pause(true);
    assert!(complete_and_take(&mut lab, leases[1], &next_for(session)).1.is_none());
    lab.pause(false);
    let other_lease = Next { except: vec!["a*".to_owned().try_into().expect("a pattern")], ..next_for(session) };
    assert!(complete_and_take(&mut lab, leases[2], &other_lease).1.is_none());
    let fourth = JobFence { job_id: jobs[3], fence: lab.claim(session, jobs[3], 1) };
    assert!(complete_and_take(&mut lab, fourth, &next_for(session)).1.is_some());
}
