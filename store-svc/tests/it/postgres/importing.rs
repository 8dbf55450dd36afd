//! From an SQLite file into PostgreSQL: jobs in every state, and everything about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::api::{JobError, Status};
use protocol::ids::{ClaimId, Dispatch, Fence, JobId, Position, RetryId, SessionId};
use protocol::job::ClaimRefusal;
use protocol::logs::{LogTail, Output};
use protocol::schedule::ScheduleCommand;
use protocol::store_api::{Answer, Claim, Command, Complete, Create, Outcome, PutData, Reply, RetryJobs};
use protocol::tenant::{Limits, Tenant};
use protocol::time::Timestamp;
use protocol::webhook::{Filter, WebhookCommand};
use serde_json::value::RawValue;
use store_svc::storage::postgres::import::{ImportError, import};
use store_svc::storage::sqlite::Sqlite;
use store_svc::storage::{
    Context, DeliveriesQuery, JobsQuery, LogKinds, LogRead, Reader, Settings, Storage, Transitions,
};
use tempfile::TempDir;

use super::seen;
use crate::conformance::postgres::{fresh_url, open};
use crate::conformance::scheduling::every_minute;
use crate::conformance::telling::webhook;
use crate::conformance::{BEGIN_MS, create, heartbeat};
use crate::service::retries::CANCELLED;

const BOTH: LogKinds = LogKinds { jobs: true, invalidations: true };

fn step<T>(storage: &mut dyn Storage, mut step: impl FnMut(&mut dyn Transitions) -> T) -> T {
    let settings = Settings {
        window: Some(16),
        queues: ["default", "reports"].map(ToOwned::to_owned).into(),
        ..Settings::default()
    };
    let context = Context { wall_ms: BEGIN_MS, now_ms: 0, seed: 7, settings: Arc::new(settings) };
    let mut result = None;
    let work = &mut |transitions: &mut dyn Transitions| {
        result = Some(step(transitions));
        Ok(())
    };
    storage.transact(&context, work).expect("committed");
    result.expect("it ran")
}

fn apply(storage: &mut dyn Storage, command: &Command) -> Reply {
    match step(storage, |transitions| transitions.apply(&Tenant::default(), command).expect("applied")) {
        Answer::Ok(reply) => *reply,
        Answer::Error(problem) => panic!("{problem:?}"),
    }
}

fn claim(storage: &mut dyn Storage, session: SessionId, job_id: JobId, dispatch: u64) -> Reply {
    let claim = Claim {
        session,
        job_id,
        dispatch: Dispatch(dispatch),
        claim_id: ClaimId::generate(),
        lease_ms: 15_000,
        or_except: None,
    };
    apply(storage, &Command::Claim(claim))
}

fn complete(storage: &mut dyn Storage, job_id: JobId, outcome: Outcome) -> Reply {
    let wrote = LogTail { text: "wrote \0 🚢".to_owned(), truncated: true };
    let output = Some(Box::new(Output { stdout: wrote, stderr: LogTail::default() }));
    apply(storage, &Command::Complete(Complete { job_id, fence: Fence(1), outcome, output, next: None }))
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("json")
}

/// A file with a job in every state that there is; the last two are running and waiting.
fn fill(storage: &mut dyn Storage) -> (SessionId, JobId, JobId) {
    let (knows, other) = (SessionId::generate(), SessionId::generate());
    apply(storage, &Command::Webhook(WebhookCommand::Put(Box::new(webhook("all", Filter::default())))));
    apply(storage, &Command::Heartbeat(heartbeat(knows, &["a"])));
    apply(storage, &Command::Heartbeat(heartbeat(other, &["b"])));
    let make = |storage: &mut dyn Storage, create: Create| {
        let job_id = create.job_id;
        apply(storage, &Command::Create(Box::new(create)));
        job_id
    };
    let with = || Create { payload: Some(raw(r#"{"name":"Zoë \u0000 🚢"}"#)), ..create("a") };
    let (done, broken, again) = (make(storage, with()), make(storage, with()), make(storage, with()));
    let finishing = make(storage, Create { invalidates: vec!["k".try_into().expect("a key")], ..with() });
    let (deferred, running) = (make(storage, with()), make(storage, with()));
    make(storage, create("nobody"));
    let unique_key = Some("only one".try_into().expect("a key"));
    make(storage, Create { unique_key, start_deadline_ms: Some(5_000), ..create("nobody") });
    let dropped = make(storage, create("nobody"));
    apply(storage, &Command::Cancel { job_id: dropped });
    apply(storage, &Command::Purge { job_id: dropped });
    make(storage, Create { run_at: Some(Timestamp::from_unix_ms(BEGIN_MS + 60_000)), ..create("a") });
    let cancelled = make(storage, create("a"));
    apply(storage, &Command::Cancel { job_id: cancelled });
    step(storage, |transitions| transitions.ring("default").map(drop)).expect("rung");
    for job_id in [done, broken, again, finishing, running] {
        claim(storage, knows, job_id, 1);
    }
    let refused = claim(storage, other, deferred, 1);
    assert!(matches!(refused, Reply::ClaimRefused(ClaimRefusal::UnknownTask)), "{refused:?}");
    complete(storage, done, Outcome::Succeeded { result: Some(raw(r#"["done",1.5e3]"#)) });
    let error = JobError { kind: protocol::api::ErrorKind::Failed, message: "no 🚢".to_owned() };
    complete(storage, broken, Outcome::Failed { error: error.clone(), may_retry: false, retry_after_ms: None });
    complete(storage, again, Outcome::Failed { error, may_retry: true, retry_after_ms: None });
    complete(storage, finishing, Outcome::Succeeded { result: None });
    let retry_id = RetryId(uuid::Uuid::new_v4());
    apply(
        storage,
        &Command::RetryJobs(Box::new(RetryJobs { retry_id, filter: CANCELLED, rate_per_second: 7, limit: 100 })),
    );
    apply(storage, &Command::Schedule(ScheduleCommand::Put(Box::new(every_minute("often")))));
    let by_hand = ScheduleCommand::Run { name: "often".try_into().expect("a name"), job_id: JobId::generate() };
    apply(storage, &Command::Schedule(by_hand));
    apply(storage, &Command::PauseQueue { queue: "reports".try_into().expect("a queue") });
    let waiting = make(storage, Create { idempotency_key: Some("key".to_owned()), wants_bell: true, ..with() });
    let put = PutData {
        tags: vec!["t".try_into().expect("a tag")],
        ..PutData::json("k".try_into().expect("a key"), raw("[1]"))
    };
    apply(storage, &Command::PutData(put));
    let limits = Limits { share: 3, rate_per_second: Some(7), ..Limits::default() };
    apply(storage, &Command::SetTenant { tenant: acme(), limits });
    let of_acme = Command::Create(Box::new(create("a")));
    step(storage, |transitions| transitions.apply(&acme(), &of_acme).map(drop)).expect("created");
    (knows, running, waiting)
}

fn acme() -> Tenant {
    "acme".parse().expect("a tenant")
}

/// Everything that can be read, as text.
fn everything(reader: &mut dyn Reader) -> Vec<String> {
    let jobs = reader.jobs(&Tenant::default(), &JobsQuery { limit: 100, ..JobsQuery::default() }).expect("read");
    let mut told: Vec<String> = jobs.read.jobs.iter().map(|job| serde_json::to_string(job).expect("json")).collect();
    let page = reader.log(Position(0), BOTH, 1_000).expect("read");
    let LogRead::Page { entries, .. } = page.read else { panic!("trimmed") };
    told.extend(entries.iter().map(|(position, change)| format!("{position} {change}")));
    told.extend(["k", "my_data"].map(|key| {
        let entry = reader.data(key).expect("read").read.expect("there");
        format!("{key} {} {}", entry.version.0, entry.data.get())
    }));
    told.push(format!("{:?}", reader.tenants().expect("read").read));
    let of_acme = JobsQuery { limit: 100, ..JobsQuery::default() };
    told.push(format!("{:?}", reader.jobs(&acme(), &of_acme).expect("read").read.jobs));
    told.push(format!("{:?}", reader.outstanding().expect("read")));
    told.extend(
        jobs.read
            .jobs
            .iter()
            .map(|job| format!("{:?}", reader.logs(&Tenant::default(), job.job_id).expect("read").read)),
    );
    told.push(format!("{:?}", reader.bulk_retries(&Tenant::default()).expect("read").read));
    told.push(format!("{:?}", reader.schedules(&Tenant::default(), "", 10).expect("read").read));
    told.push(format!("{:?}", reader.webhooks("", 10, 0).expect("read").read));
    let name = "all".try_into().expect("a name");
    let events = DeliveriesQuery { name, status: None, before: i64::MAX, limit: 100 };
    told.push(format!("{:?}", reader.deliveries(&events).expect("read").read));
    told.push(format!("{:?}", reader.queues(&BTreeSet::new()).expect("read").read));
    told.push(format!("{:?}", reader.next_due_ms().expect("read")));
    let mut workers: Vec<_> = reader.workers().expect("read").read.workers;
    workers.sort_by_key(|worker| worker.session_id);
    told.push(format!("{workers:?}"));
    told
}

#[test]
fn everything_moves_and_goes_on_in_a_history_of_its_own() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("store.db");
    let mut sqlite = Sqlite::open(&file, "process 7").expect("it opens");
    let (session, running, waiting) = fill(&mut sqlite);
    let before = everything(sqlite.reader().expect("a reader").as_mut());
    let states: BTreeSet<Status> = {
        let jobs = sqlite
            .reader()
            .expect("a reader")
            .jobs(&Tenant::default(), &JobsQuery { limit: 100, ..JobsQuery::default() });
        jobs.expect("read").read.jobs.iter().map(|job| job.status).collect()
    };
    assert_eq!(states.len(), 6, "{states:?}");
    let url = fresh_url();
    match import(&file, &url) {
        Err(ImportError::InUse { holder, .. }) => assert_eq!(holder, "process 7"),
        other => panic!("not refused: {other:?}"),
    }
    let incarnation = sqlite.incarnation();
    drop(sqlite);

    let moved = import(&file, &url).expect("moved");
    assert_eq!((moved["jobs"], moved["results"], moved["idempotency_keys"]), (13, 1, 1));
    assert_eq!((moved["logs"], moved["tombstones"], moved["retries"], moved["queues"]), (4, 1, 1, 3));
    assert_eq!((moved["schedules"], moved["webhooks"], moved["deliveries"], moved["tenants"]), (1, 1, 4, 2));
    let mut postgres = open(&url);
    assert_eq!(everything(postgres.reader().expect("a reader").as_mut()), before);
    assert_ne!(postgres.incarnation(), incarnation);
    let file_again = Sqlite::open(&file, "process 8").expect("it stays as it is");
    assert_eq!(everything(file_again.reader().expect("a reader").as_mut()), before);
    drop(file_again);

    // What still runs on a lease of the former history has no say; what waits goes on under the same bell.
    complete(&mut postgres, running, Outcome::Succeeded { result: None });
    let status = |postgres: &store_svc::storage::postgres::Postgres, job_id| {
        seen(postgres, job_id).expect("read").expect("known").status
    };
    assert_eq!(status(&postgres, running), Status::Running);
    let Reply::Claimed(claimed) = claim(&mut postgres, session, waiting, 1) else { panic!("refused") };
    let outcome = Outcome::Succeeded { result: None };
    apply(
        &mut postgres,
        &Command::Complete(Complete { job_id: waiting, fence: claimed.fence, outcome, output: None, next: None }),
    );
    assert_eq!(status(&postgres, waiting), Status::Succeeded);
    let same_key = Create { idempotency_key: Some("key".to_owned()), ..create("a") };
    let Reply::Created(created) = apply(&mut postgres, &Command::Create(Box::new(same_key))) else { panic!("no job") };
    assert_eq!(created.job_id, waiting);

    assert!(matches!(import(&file, &url), Err(ImportError::NotEmpty { .. })));
    assert_eq!(status(&postgres, waiting), Status::Succeeded, "nothing was changed");
}

#[test]
fn a_database_that_only_has_limits_is_not_empty() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("store.db");
    drop(Sqlite::open(&file, "process 7").expect("it opens"));
    let url = fresh_url();
    let limits = Limits { running_max: Some(3), ..Limits::default() };
    apply(&mut open(&url), &Command::SetTenant { tenant: Tenant::default(), limits });
    assert!(matches!(import(&file, &url), Err(ImportError::NotEmpty { .. })));
}

#[test]
fn a_move_that_fails_leaves_the_database_empty() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("store.db");
    let mut sqlite = Sqlite::open(&file, "process 7").expect("it opens");
    fill(&mut sqlite);
    drop(sqlite);
    let damaged = rusqlite::Connection::open(&file).expect("it opens");
    damaged.execute("UPDATE log SET change = 1.5 WHERE position = 3", []).expect("written");
    damaged.execute("UPDATE jobs SET task = x'ff' WHERE n = 2", []).expect("written");
    drop(damaged);
    let url = fresh_url();
    match import(&file, &url) {
        Err(ImportError::Unusable { path, .. }) => assert!(path.ends_with("store.db"), "{path}"),
        other => panic!("not refused: {other:?}"),
    }
    let mut reader = open(&url).reader().expect("a reader");
    assert!(
        reader
            .jobs(&Tenant::default(), &JobsQuery { limit: 1, ..JobsQuery::default() })
            .expect("read")
            .read
            .jobs
            .is_empty()
    );
    assert!(reader.data("my_data").expect("read").read.is_some());
}
