//! Why a job does not run.

use protocol::api::{Priority, Status, WaitingFor};
use protocol::explain::{AHEAD_MAX, Explanation, WaitsForFence};
use protocol::ids::{Epoch, Fence, InstanceId, JobId, Position};
use protocol::store_api::{Command, Create};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::{BEGIN_MS, Fixture, LEASE_MS, Lab, create, succeeded};

impl<F: Fixture> Lab<F> {
    fn explain(&mut self, job_id: JobId) -> Explanation {
        self.read(|reader| reader.explain(&Tenant::default(), job_id)).read.expect("the job is known")
    }

    /// How many are ahead, whether that is exact, and whether it is offered.
    fn position(&mut self, job_id: JobId) -> Option<(u64, bool, bool)> {
        self.explain(job_id).position.map(|position| (position.ahead, position.exact, position.offered))
    }
}

pub(crate) fn a_position_counts_what_is_offered_before<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..7).map(|_| lab.job("a")).collect();
    lab.job("nobody");
    let low = lab.create(Create { priority: Priority::Low, ..create("a") });
    let high = lab.create(Create { priority: Priority::High, ..create("a") });
    let elsewhere = Create { queue: "reports".try_into().expect("a queue"), ..create("a") };
    lab.create(elsewhere);
    assert_eq!(lab.position(high), Some((0, true, false)));
    assert_eq!(lab.position(jobs[2]), Some((3, true, false)));
    assert_eq!(lab.position(low), Some((8, true, false)));
    lab.ring();
    // Out are the high one and the first three.
    assert_eq!(lab.position(high), Some((0, true, true)));
    assert_eq!(lab.position(jobs[2]), Some((3, true, true)));
    assert_eq!(lab.position(jobs[4]), Some((5, true, false)));
    lab.claim(session, high, 1);
    assert_eq!(lab.position(jobs[2]), Some((2, true, true)));
    assert_eq!(lab.position(low), Some((7, true, false)));
    assert_eq!(lab.position(high), None);
    assert!(lab.read(|reader| reader.explain(&Tenant::default(), JobId::generate())).read.is_none());
}

pub(crate) fn a_position_is_exact_up_to_a_bound<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    lab.ring();
    let commands: Vec<Command> =
        (0..AHEAD_MAX).map(|_| Command::Create(Box::new(Create { priority: Priority::High, ..create("a") }))).collect();
    for chunk in commands.chunks(1_000) {
        lab.apply_all(chunk);
    }
    lab.ring();
    let (last, beyond) = (lab.job("a"), lab.job("a"));
    assert_eq!(lab.position(last), Some((AHEAD_MAX, true, false)), "bells and rows together");
    assert_eq!(lab.position(beyond), Some((AHEAD_MAX, false, false)));
}

pub(crate) fn waits_are_explained<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let due = Timestamp::from_unix_ms(BEGIN_MS + 5_000);
    let scheduled = lab.create(Create { run_at: Some(due), start_deadline_ms: Some(1_000), ..create("a") });
    let explained = lab.explain(scheduled);
    assert_eq!((explained.waiting_for, explained.due_at), (Some(WaitingFor::DueTime), Some(due)));
    assert_eq!(explained.start_by.map(Timestamp::unix_ms), Some(BEGIN_MS + 6_000));
    let job_id = lab.job("a");
    let narrow = lab.worker(&["other"]);
    let explained = lab.explain(job_id);
    let workers = explained.workers.expect("queued");
    assert_eq!((explained.waiting_for, explained.position), (Some(WaitingFor::Worker), None));
    assert_eq!((workers.consumers, workers.sessions, workers.listed.len()), (1, 0, 0));
    let session = lab.worker(&["a"]);
    lab.ring();
    assert_eq!(lab.refused(narrow, job_id, 1), protocol::job::ClaimRefusal::UnknownTask);
    let explained = lab.explain(job_id);
    assert_eq!(explained.due_at.map(Timestamp::unix_ms), Some(BEGIN_MS + 250), "when it is offered again");
    let workers = explained.workers.expect("queued");
    assert_eq!((workers.consumers, workers.sessions, workers.slots, workers.busy), (2, 1, 8, 0));
    assert_eq!(workers.listed[0].session_id, session);
    lab.pause(true);
    let explained = lab.explain(job_id);
    assert_eq!(explained.waiting_for, Some(WaitingFor::QueuePaused));
    assert_eq!(explained.paused_at.map(Timestamp::unix_ms), Some(BEGIN_MS));
    lab.apply(Command::Cancel { job_id }).expect("cancelled");
    let explained = lab.explain(job_id);
    assert_eq!((explained.status, explained.waiting_for, explained.workers), (Status::Cancelled, None, None));
}

pub(crate) fn owners_are_named<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (job_id, waiting) = (lab.job("a"), lab.job("a"));
    lab.ring();
    lab.claim(session, job_id, 1);
    let lease = lab.explain(job_id).lease.expect("it runs");
    assert_eq!((lease.session_id, lease.fence, lease.lease_ms), (Some(session), Fence(1), LEASE_MS));
    assert_eq!((lease.worker.as_deref(), lease.cancel_requested), (Some("worker of the tests"), false));
    assert_eq!(lab.explain(waiting).workers.expect("queued").busy, 1);
    lab.apply(Command::Cancel { job_id }).expect("asked");
    lab.apply(Command::EndSession { session }).expect("ended");
    let lease = lab.explain(job_id).lease.expect("it runs");
    assert_eq!((lease.session_id, lease.worker, lease.cancel_requested), (Some(session), None, true));
}

pub(crate) fn a_fence_is_named<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let keys = vec!["k".try_into().expect("a key")];
    let job_id = lab.create(Create { invalidates: keys, ..create("a") });
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    lab.complete(job_id, fence, succeeded());
    let position = lab.signals.invalidation.expect("it invalidates");
    let explained = lab.explain(job_id);
    assert_eq!((explained.status, explained.lease), (Status::Running, None));
    assert_eq!(explained.fence, Some(WaitsForFence { position, fenced_through: Position(0) }));
    lab.apply(Command::SequencerAcquire { instance: InstanceId::generate() }).expect("granted");
    lab.apply(Command::Fenced { epoch: Epoch(1), through: position }).expect("fenced");
    assert_eq!((lab.explain(job_id).status, lab.explain(job_id).fence), (Status::Succeeded, None));
}
