//! What others know and the store does not: lost, unless it may have been forgotten.

use protocol::ids::{Dispatch, Fence, JobId};
use protocol::job::ClaimRefusal;
use protocol::store_api::{BellFates, BellId, Command, Heartbeat, Held};
use protocol::tenant::Tenant;
use store_svc::storage::JobRead;
use uuid::{NoContext, Timestamp, Uuid};

use super::{BEGIN_MS, DAY_MS, Fixture, Lab, heartbeat};

/// An id made so long before the tests begin.
fn made_before(ago_ms: u64) -> JobId {
    let made_ms = BEGIN_MS.cast_unsigned() - ago_ms;
    let nanos = u32::try_from(made_ms % 1_000).expect("below 1000") * 1_000_000;
    JobId(Uuid::new_v7(Timestamp::from_unix(NoContext, made_ms / 1_000, nanos)))
}

/// Names the job as each of those who may know of it, and gives how often it was missed.
fn missed<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> [usize; 3] {
    let session = lab.worker(&["a"]);
    let refusal = lab.refused(session, job_id, 9);
    let by_bell = lab.signals.missing.len();
    assert_eq!(refusal == ClaimRefusal::UnknownJob, lab.seen(job_id).is_none() && !is_expired(lab, job_id));
    let holds = vec![Held { job_id, fence: Fence(9), progress: None }];
    let reply = lab.beat(Heartbeat { holds, ..heartbeat(session, &["a"]) }).expect("known");
    assert_eq!(reply.lost.len(), 1);
    let by_session = lab.signals.missing.len();
    let bell = BellId { job_id, dispatch: Dispatch(9) };
    lab.apply(Command::Bells(BellFates { sent: Vec::new(), ring_again: vec![bell] })).expect("noted");
    [by_bell, by_session, lab.signals.missing.len()]
}

fn is_expired<F: Fixture>(lab: &mut Lab<F>, job_id: JobId) -> bool {
    matches!(lab.read(|reader| reader.job(&Tenant::default(), job_id)).read, JobRead::Expired)
}

pub(crate) fn what_a_bell_or_a_session_names_is_missed<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    for job_id in [made_before(0), made_before(DAY_MS), JobId(Uuid::new_v4())] {
        assert_eq!(missed(&mut lab, job_id), [1, 1, 1], "{job_id}");
    }
    // Anybody may ask for any id, which says nothing.
    lab.apply(Command::Cancel { job_id: made_before(0) }).expect_err("unknown");
    assert_eq!(lab.signals.missing, []);
}

pub(crate) fn what_may_be_forgotten_is_not_missed<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    assert_eq!(missed(&mut lab, made_before(DAY_MS + 1)), [0, 0, 0], "it may have ended a day ago");
    let job_id = lab.job("a");
    assert_eq!(missed(&mut lab, job_id), [0, 0, 0], "it is here");
    lab.apply(Command::Cancel { job_id }).expect("cancelled");
    lab.step(|transitions| transitions.expire(i64::MAX, 10));
    assert_eq!(missed(&mut lab, job_id), [0, 0, 0], "it was here");
}
