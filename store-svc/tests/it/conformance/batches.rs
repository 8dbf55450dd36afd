//! Group commit: what is done together is kept together, and no command spoils it for its neighbours.

use protocol::api::Status;
use protocol::ids::{Fence, JobId};
use protocol::problem::Kind;
use protocol::store_api::{Command, Complete, Create};
use protocol::tenant::Tenant;
use store_svc::storage::StorageError;

use super::{Fixture, Lab, create, succeeded};

pub(crate) fn one_bad_command_does_not_fail_its_batch<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let before = create("a");
    let conflict = Create { fingerprint: "another".to_owned(), ..before.clone() };
    let unknown =
        Complete { job_id: JobId::generate(), fence: Fence(1), outcome: succeeded(), output: None, next: None };
    let after = create("b");
    let answers = lab.apply_all(&[
        Command::Create(Box::new(before.clone())),
        Command::Create(Box::new(conflict)),
        Command::Complete(unknown),
        Command::Create(Box::new(after.clone())),
    ]);
    let kinds: Vec<Option<Kind>> = answers.iter().map(|answer| answer.as_ref().err().and_then(super::kind)).collect();
    assert_eq!(kinds, [None, Some(Kind::Conflict), Some(Kind::NotFound), None]);
    for job_id in [before.job_id, after.job_id] {
        assert_eq!(lab.status(job_id), Status::Queued);
    }
}

pub(crate) fn failed_work_leaves_nothing_behind<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let first = lab.job("a");
    let lost = create("a");
    let result = lab.try_step(|transitions| -> Result<(), StorageError> {
        transitions.apply(&Tenant::default(), &Command::Create(Box::new(lost.clone())))?;
        assert_eq!(transitions.ring("default")?.bells.len(), 2);
        Err(StorageError::Internal("by design".to_owned()))
    });
    assert!(matches!(result, Err(StorageError::Internal(_))));
    assert!(lab.seen(lost.job_id).is_none());
    // Neither log positions nor places were used up, and the sessions are still known.
    let head = lab.log(0).last().map(|entry| entry.position.0);
    assert_eq!(head, Some(1));
    assert_eq!(lab.ring().len(), 1);
    lab.claim(session, first, 1);
    assert_eq!(lab.log(1).first().map(|entry| entry.position.0), Some(2));
}

pub(crate) fn committed_work_survives_a_kill<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..10).map(|_| lab.job("a")).collect();
    assert_eq!(lab.ring().len(), 4);
    let fence = lab.claim(session, jobs[0], 1);
    let head = lab.log(0).len();
    let mut lab = lab.after_kill();
    assert_eq!(lab.log(0).len(), head);
    assert_eq!(lab.status(jobs[0]), Status::Running);
    // The session, the lease and the bells that are out are known: one place was freed by the claim.
    assert_eq!(lab.ring().len(), 1);
    assert_eq!(lab.complete(jobs[0], fence, succeeded()).1, Status::Succeeded);
    for job_id in &jobs[1..] {
        assert_eq!(lab.status(*job_id), Status::Queued);
    }
    let next = lab.job("a");
    assert_eq!(lab.log(u64::try_from(head).expect("small") + 1).len(), 1, "positions go on where they were");
    assert_eq!(lab.status(next), Status::Queued);
}
