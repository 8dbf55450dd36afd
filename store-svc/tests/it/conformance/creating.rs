//! Accepting jobs: once, whatever is repeated.

use protocol::api::{Priority, Status, WaitingFor};
use protocol::ids::{Dispatch, JobId};
use protocol::problem::Kind;
use protocol::store_api::{Create, IDEMPOTENCY_KEY_MS};
use protocol::time::Timestamp;
use serde_json::value::RawValue;

use super::{BEGIN_MS, Fixture, Lab, create, succeeded};

pub(crate) fn a_job_is_recorded_as_asked<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["report_*"]);
    let payload = RawValue::from_string(r#"{"b": 1.50, "a":"ü"}"#.to_owned()).expect("json");
    let asked = Create {
        payload: Some(payload),
        priority: Priority::High,
        timeout_ms: Some(5_000),
        invalidates: vec!["a key".try_into().expect("a key")],
        trace: Some("00-aa-bb-01".to_owned()),
        wants_bell: true,
        ..create("report_7")
    };
    lab.ring();
    let created = lab.try_create(asked.clone()).expect("created");
    assert_eq!((created.job_id, created.status, created.bell), (asked.job_id, Status::Queued, Some(Dispatch(1))));
    assert_eq!(created.created_at.unix_ms(), BEGIN_MS);
    let view = lab.view(asked.job_id);
    assert_eq!((view.task.as_str(), view.queue.as_str(), view.priority), ("report_7", "default", Priority::High));
    assert_eq!((view.run, view.attempt, view.max_attempts, view.timeout_ms), (1, 0, 3, Some(5_000)));
    assert_eq!((view.invalidates, view.waiting_for), (vec!["a key".to_owned()], Some(WaitingFor::Slot)));
    let claimed = lab.try_claim(session, asked.job_id, 1, protocol::ids::ClaimId::generate()).expect("won");
    // As it was sent, byte by byte.
    assert_eq!(claimed.payload.as_deref().map(RawValue::get), Some(r#"{"b": 1.50, "a":"ü"}"#));
    assert_eq!((claimed.trace.as_deref(), claimed.timeout_ms), (Some("00-aa-bb-01"), Some(5_000)));
}

pub(crate) fn the_same_key_names_the_first_job<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let keyed = || Create { idempotency_key: Some("k".to_owned()), ..create("a") };
    // Together in one batch, as when they come at the same time, and later.
    let all: Vec<Create> = (0..100).map(|_| keyed()).collect();
    let commands: Vec<_> =
        all.iter().map(|create| protocol::store_api::Command::Create(Box::new(create.clone()))).collect();
    let first = all[0].job_id;
    let mut new = 0;
    for answer in lab.apply_all(&commands) {
        let Ok(protocol::store_api::Reply::Created(created)) = answer else { panic!("refused: {answer:?}") };
        assert_eq!(created.job_id, first);
        new += usize::from(created.replayed.is_none());
    }
    assert_eq!(new, 1);
    lab.ring();
    let fence = lab.claim(session, first, 1);
    lab.complete(first, fence, succeeded());
    let created = lab.try_create(keyed()).expect("replayed");
    let replayed = created.replayed.expect("it was there");
    assert_eq!((created.job_id, replayed.status), (first, Status::Succeeded));
    assert!(lab.ring().is_empty(), "no job was added");
}

pub(crate) fn the_same_key_with_another_body_is_refused<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.create(Create { idempotency_key: Some("k".to_owned()), ..create("a") });
    let other = Create { idempotency_key: Some("k".to_owned()), ..create("b") };
    let problem = lab.try_create(other.clone()).expect_err("refused");
    assert_eq!(problem.kind(), Some(Kind::IdempotencyMismatch));
    assert!(lab.seen(other.job_id).is_none());
}

pub(crate) fn a_key_is_forgotten_after_a_day<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let keyed = |key: &str| Create { idempotency_key: Some(key.to_owned()), ..create("a") };
    let first = lab.create(keyed("k"));
    lab.create(keyed("l"));
    lab.wall_ms += IDEMPOTENCY_KEY_MS - 1;
    assert_eq!(lab.create(keyed("k")), first);
    lab.wall_ms += 1;
    assert_ne!(lab.create(keyed("k")), first);
    let before_ms = lab.wall_ms - IDEMPOTENCY_KEY_MS + 1;
    assert!(lab.step(|transitions| transitions.trim_keys(before_ms, 0)), "there is one to drop");
    while lab.step(|transitions| transitions.trim_keys(before_ms, 1)) {}
    assert!(!lab.step(|transitions| transitions.trim_keys(before_ms, 0)));
}

pub(crate) fn the_same_id_is_repeated_or_refused<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let first = create("a");
    lab.create(first.clone());
    let again = lab.try_create(first.clone()).expect("repeated");
    assert_eq!((again.job_id, again.replayed.map(|job| job.status)), (first.job_id, Some(Status::Queued)));
    let other = Create { fingerprint: "another".to_owned(), ..first };
    assert_eq!(lab.try_create(other).expect_err("refused").kind(), Some(Kind::Conflict));
}

pub(crate) fn unknown_queues_are_refused<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let stray = Create { queue: "nowhere".try_into().expect("a name"), ..create("a") };
    let problem = lab.try_create(stray).expect_err("refused");
    assert_eq!((problem.kind(), problem.errors[0].pointer.as_str()), (Some(Kind::Invalid), "/queue"));
    let due = Timestamp::from_unix_ms(BEGIN_MS - 1);
    let past = Create { run_at: Some(due), ..create("a") };
    let job: JobId = lab.create(past);
    assert_eq!(lab.status(job), Status::Queued, "what is due already is queued");
}

/// However wrong the clock of the gateway is that took the job.
pub(crate) fn delays_count_from_the_stores_own_clock<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let job = lab.create(Create { delay_ms: Some(2_000), ..create("a") });
    assert_eq!(lab.view(job).run_at.map(Timestamp::unix_ms), Some(BEGIN_MS + 2_000));
    lab.wall_ms += 1_999;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.status(job), Status::Scheduled);
    lab.wall_ms += 1;
    lab.step(|transitions| transitions.due(10));
    assert_eq!(lab.status(job), Status::Queued);
}
