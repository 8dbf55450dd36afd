//! A server that stops, dies, has no room, or whose answer to a commit is lost.

use protocol::api::ErrorKind;
use protocol::ids::SessionId;
use protocol::store_api::{Command, Complete, Outcome};
use protocol::tenant::Tenant;
use store_svc::storage::postgres::{OpenError, Postgres};
use store_svc::storage::{JobRead, Storage, StorageError};

use super::proxy::{Cut, Proxy};
use super::{claimed, exists, job, own_cluster, seen, transact, try_apply, try_create};
use crate::conformance::heartbeat;
use crate::conformance::postgres::{cluster, fresh_url, open};

/// Retried until it works: the pause between attempts is bounded.
fn create_again(storage: &mut Postgres) -> Result<protocol::ids::JobId, StorageError> {
    let deadline_ms = chassis::clock::now_ms() + 20_000;
    loop {
        match try_create(storage) {
            Err(StorageError::Unavailable(_)) if chassis::clock::now_ms() < deadline_ms => {}
            other => return other.map(|(job_id, _)| job_id),
        }
    }
}

#[test]
fn a_server_that_is_away_is_unavailable_until_it_is_back() {
    let mut cluster = own_cluster();
    let url = cluster.fresh_database().expect("a database").parse().expect("a URL");
    let mut storage = Postgres::open(&url).expect("it opens");
    let (before, _) = try_create(&mut storage).expect("it is there");
    let mut reader = storage.reader().expect("a reader");
    reader.job(&Tenant::default(), before).expect("read");
    for kills in [false, true] {
        if kills {
            cluster.kill().expect("killed")
        } else {
            cluster.stop().expect("stopped")
        }
        let error = try_create(&mut storage).expect_err("it is away");
        assert!(matches!(error, StorageError::Unavailable(_)), "{error}");
        assert!(matches!(reader.job(&Tenant::default(), before), Err(StorageError::Unavailable(_))));
        cluster.start_again().expect("started");
        let after = create_again(&mut storage).expect("it is back");
        assert!(exists(&storage, after).expect("read"));
    }
    assert!(exists(&storage, before).expect("read"), "committed is committed");
}

#[test]
fn a_connection_that_the_server_ended_is_made_anew_unseen() {
    let url = fresh_url();
    let mut storage = open(&url);
    let (first, _) = try_create(&mut storage).expect("committed");
    let mut reader = storage.reader().expect("a reader");
    reader.job(&Tenant::default(), first).expect("read");
    let database = url.to_string();
    let database = database.rsplit('/').next().expect("a name");
    let ended = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'");
    assert_eq!(cluster().sql("postgres", &ended).expect("ended"), "2");
    try_create(&mut storage).expect("on another connection");
    assert!(matches!(reader.job(&Tenant::default(), first).expect("read").read, JobRead::Job(..)));
}

#[test]
fn a_full_disk_is_unavailable_until_there_is_room() {
    let url = fresh_url();
    let mut storage = open(&url);
    let database = url.to_string();
    let database = database.rsplit('/').next().expect("a name");
    let full = "CREATE FUNCTION longshore.full_disk() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
                CREATE TRIGGER full_disk BEFORE INSERT ON longshore.log EXECUTE FUNCTION longshore.full_disk()";
    cluster().sql(database, full).expect("made");
    let (job_id, command) = job("a");
    let error = try_apply(&mut storage, &[command]).expect_err("no room");
    assert!(matches!(&error, StorageError::Unavailable(reason) if reason.contains("No space left")), "{error}");
    assert!(!exists(&storage, job_id).expect("read"));
    cluster().sql(database, "DROP TRIGGER full_disk ON longshore.log").expect("dropped");
    assert_eq!(try_create(&mut storage).expect("room again").1.0, 1, "what failed used no position");
}

#[test]
fn a_commit_whose_answer_is_lost_counts_as_it_ended() {
    for (cut, committed) in [(Cut::AnswerToCommit, true), (Cut::BeforeCommit, false)] {
        let cluster = cluster();
        let url = cluster.fresh_database().expect("a database");
        let proxy = Proxy::start(cluster.port());
        let through = url.replace(&cluster.port().to_string(), &proxy.port().to_string()).parse().expect("a URL");
        let mut storage = Postgres::open(&through).expect("it opens");
        try_create(&mut storage).expect("committed");
        let (job_id, command) = job("a");
        let result = transact(&mut storage, &mut |transitions| {
            transitions.apply(&Tenant::default(), &command)?;
            proxy.arm(cut);
            Ok(())
        });
        assert!(proxy.has_cut(), "{cut:?}");
        match result {
            Ok(signals) => assert_eq!((committed, signals.head.0), (true, 2)),
            Err(StorageError::Unavailable(_)) => assert!(!committed, "it was committed"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(exists(&storage, job_id).expect("read"), committed);
        try_create(&mut storage).expect("it goes on");
    }
}

#[test]
fn a_row_that_a_stranger_has_locked_holds_up_nobody_else() {
    let url = fresh_url();
    let mut storage = open(&url);
    let session = SessionId::generate();
    try_apply(&mut storage, &[Command::Heartbeat(heartbeat(session, &["a"]))]).expect("registered");
    let (locked, _) = try_create(&mut storage).expect("created");
    let (free, _) = try_create(&mut storage).expect("created");
    let mut psql = super::proxy::Stranger::lock(&url, locked);
    let mut rung = Vec::new();
    let mut ring = |storage: &mut Postgres| {
        let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| {
            rung = transitions.ring("default")?.bells.iter().map(|bell| bell.bell.job_id).collect();
            Ok(())
        };
        transact(storage, work).expect("rung");
        rung.clone()
    };
    assert_eq!(ring(&mut storage), [free]);
    psql.let_go();
    assert_eq!(ring(&mut storage), [locked]);
}

#[test]
fn free_text_may_hold_any_character() {
    let url = fresh_url();
    let mut storage = open(&url);
    let job_id = claimed(&mut storage);
    let error = protocol::api::JobError { kind: ErrorKind::Failed, message: "a\0b \u{1f6a2}".to_owned() };
    let outcome = Outcome::Failed { error, may_retry: false, retry_after_ms: None };
    let complete = Complete { job_id, fence: protocol::ids::Fence(1), outcome, output: None, next: None };
    try_apply(&mut storage, &[Command::Complete(complete)]).expect("recorded");
    let view = seen(&storage, job_id).expect("read").expect("known");
    assert_eq!(view.error.expect("an error").message, "a\u{fffd}b \u{1f6a2}");
}

#[test]
fn a_wrong_password_is_told_without_it() {
    let url = fresh_url();
    let wrong = cluster().url("postgres").replace(chassis::testing::postgres::PASSWORD, "secret");
    drop(open(&url));
    match Postgres::open(&wrong.parse().expect("a URL")) {
        Err(error @ OpenError::Unusable { .. }) => {
            let text = format!("{error} {error:?}");
            assert!(text.contains("28P01") && !text.contains("secret"), "{text}");
        }
        other => panic!("not refused: {other:?}"),
    }
}
