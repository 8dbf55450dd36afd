//! The sequencer's lease, and what waits for the fence over invalidations.

use protocol::api::Status;
use protocol::ids::{Epoch, InstanceId, JobId, Position};
use protocol::invalidation::margin_ms;
use protocol::job::{Cancelled, Settled};
use protocol::store_api::{Change, Command, Create, Reply, SequencerAnswer};
use store_svc::storage::SequencerRenewal;

use super::{Fixture, Lab, create, failed, succeeded};

fn acquire<F: Fixture>(lab: &mut Lab<F>, instance: InstanceId) -> SequencerAnswer {
    match lab.apply(Command::SequencerAcquire { instance }) {
        Ok(Reply::Sequencer(answer)) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn fenced<F: Fixture>(lab: &mut Lab<F>, epoch: u64, through: u64) -> Option<Position> {
    match lab.apply(Command::Fenced { epoch: Epoch(epoch), through: Position(through) }) {
        Ok(Reply::Fenced { fenced_through }) => fenced_through,
        other => panic!("no answer: {other:?}"),
    }
}

fn invalidating() -> Create {
    Create { invalidates: vec!["k".try_into().expect("a key")], ..create("a") }
}

/// A job that has run and whose outcome is recorded.
fn finishing<F: Fixture>(lab: &mut Lab<F>) -> (JobId, u64) {
    let session = lab.worker(&["a"]);
    let job_id = lab.create(invalidating());
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert_eq!(lab.complete(job_id, fence, succeeded()), (Settled::Recorded, Status::Running));
    let position = lab.log(0).last().expect("an entry").clone();
    assert!(matches!(position.change, Change::Invalidates { job_id: id, .. } if id == job_id));
    (job_id, position.position.0)
}

pub(crate) fn a_job_that_invalidates_succeeds_when_fenced<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    acquire(&mut lab, InstanceId::generate());
    let (job_id, position) = finishing(&mut lab);
    assert!(lab.read(|reader| reader.leases()).is_empty(), "it has no lease to lose");
    let Ok(Reply::Cancelled { cancelled, .. }) = lab.apply(Command::Cancel { job_id }) else { panic!("no answer") };
    assert_eq!(cancelled, Cancelled::Conflict);
    assert_eq!(fenced(&mut lab, 1, position - 1), Some(Position(position - 1)));
    assert_eq!(lab.status(job_id), Status::Running);
    assert!(lab.view(job_id).finished_at.is_none());
    let mut lab = lab.after_kill();
    assert_eq!(fenced(&mut lab, 1, position), Some(Position(position)));
    assert_eq!(lab.status(job_id), Status::Succeeded);
    assert_eq!(lab.signals.fenced_through, Position(position));
    let last = lab.log(position).pop().expect("an entry").change;
    assert_eq!(last, Change::Job { job_id, run: 1, status: Status::Succeeded });
    // Said again, or less than before: nothing changes.
    assert_eq!(fenced(&mut lab, 1, 1), Some(Position(position)));
}

pub(crate) fn only_the_present_epoch_fences<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let (job_id, position) = finishing(&mut lab);
    assert_eq!(fenced(&mut lab, 0, position), None, "nobody is sequencer");
    let first = InstanceId::generate();
    acquire(&mut lab, first);
    lab.apply(Command::SequencerYield { instance: first, epoch: Epoch(1) }).expect("yielded");
    assert_eq!(fenced(&mut lab, 1, position), None, "nobody is sequencer any more");
    acquire(&mut lab, InstanceId::generate());
    assert_eq!(fenced(&mut lab, 1, position), None);
    assert_eq!(fenced(&mut lab, 3, position), None);
    assert_eq!(fenced(&mut lab, 2, position + 1), None, "there is no such entry yet");
    assert_eq!(lab.status(job_id), Status::Running);
    assert_eq!(fenced(&mut lab, 2, position), Some(Position(position)));
    assert_eq!(lab.status(job_id), Status::Succeeded);
}

pub(crate) fn one_sequencer_at_a_time<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let (first, second) = (InstanceId::generate(), InstanceId::generate());
    lab.job("a");
    let granted = acquire(&mut lab, first);
    let SequencerAnswer::Granted { epoch, head, fenced_through, predecessor, .. } = granted else { panic!("held") };
    assert_eq!((epoch, head, fenced_through, predecessor), (Epoch(1), Position(1), Position(0), false));
    assert!(matches!(acquire(&mut lab, second), SequencerAnswer::Held { .. }));
    lab.apply(Command::SequencerYield { instance: second, epoch: Epoch(1) }).expect("it had nothing");
    assert!(matches!(acquire(&mut lab, second), SequencerAnswer::Held { .. }));
    let mut lab = lab.after_kill();
    assert!(matches!(acquire(&mut lab, second), SequencerAnswer::Held { .. }));
    lab.apply(Command::SequencerYield { instance: first, epoch: Epoch(1) }).expect("given back");
    let granted = acquire(&mut lab, second);
    assert!(matches!(granted, SequencerAnswer::Granted { epoch: Epoch(2), predecessor: true, .. }));
}

pub(crate) fn a_silent_sequencer_is_replaced<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let (first, second) = (InstanceId::generate(), InstanceId::generate());
    let renew = |lab: &mut Lab<F>, instance, epoch| {
        let renewal = SequencerRenewal { instance, epoch: Epoch(epoch) };
        lab.step(|transitions| transitions.renew_sequencer(renewal))
    };
    let free_ms = lab.settings.sequencer_lease_ms + margin_ms(lab.settings.sequencer_lease_ms);
    acquire(&mut lab, first);
    lab.now_ms += free_ms - 1;
    assert!(renew(&mut lab, first, 1));
    assert!(!renew(&mut lab, second, 1) && !renew(&mut lab, first, 2));
    lab.now_ms += free_ms - 1;
    assert!(matches!(acquire(&mut lab, second), SequencerAnswer::Held { retry_after_ms: 1 }));
    // After a restart of the store its silence is counted anew.
    let mut lab = lab.after_kill();
    lab.step(|_| Ok(()));
    lab.now_ms += 1;
    assert!(matches!(acquire(&mut lab, second), SequencerAnswer::Held { .. }));
    lab.now_ms += free_ms - 1;
    let granted = acquire(&mut lab, second);
    assert!(matches!(granted, SequencerAnswer::Granted { epoch: Epoch(2), predecessor: true, .. }), "{granted:?}");
    assert!(!renew(&mut lab, first, 1), "too late");
}

pub(crate) fn unsuccessful_ends_invalidate_without_waiting<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.create(invalidating());
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert_eq!(lab.complete(job_id, fence, failed(false)), (Settled::Recorded, Status::Failed));
    assert!(matches!(lab.log(0).pop().expect("an entry").change, Change::Invalidates { .. }));
}
