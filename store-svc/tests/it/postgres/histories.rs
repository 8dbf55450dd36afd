//! Dumps, other schemas, servers that are not the one it was.

use protocol::api::Status;
use protocol::ids::{Fence, JobId};
use protocol::store_api::{Command, Complete, Outcome};
use store_svc::storage::Storage;
use store_svc::storage::postgres::{OpenError, Postgres, Url};

use super::{claimed, exists, seen, try_apply, try_create};
use crate::conformance::assert_nothing_is_listed;
use crate::conformance::postgres::{cluster, fresh_url, open};
use crate::conformance::sqlite::OLD_JOB;

fn database(url: &Url) -> String {
    url.to_string().rsplit('/').next().expect("a name").to_owned()
}

#[test]
fn a_database_keeps_its_incarnation() {
    let url = fresh_url();
    let first = open(&url).incarnation();
    assert_eq!(open(&url).incarnation(), first);
    assert_ne!(open(&fresh_url()).incarnation(), first);
}

#[test]
fn a_dump_that_was_restored_is_of_another_history() {
    let url = fresh_url();
    let mut storage = open(&url);
    let job_id = claimed(&mut storage);

    let dump = tempfile::NamedTempFile::new().expect("a file");
    let bytes = cluster().run("pg_dump", &["--format=custom", "--schema=longshore", &database(&url)]).expect("dumped");
    std::fs::write(dump.path(), bytes).expect("written");
    std::fs::set_permissions(dump.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("readable");
    let path = dump.path().display().to_string();
    let copy = fresh_url();
    cluster().run("pg_restore", &["--exit-on-error", "--dbname", &database(&copy), &path]).expect("restored");

    let mut restored = open(&copy);
    assert_ne!(restored.incarnation(), storage.incarnation());
    assert_eq!(open(&copy).incarnation(), restored.incarnation(), "once");
    // What ran on a lease of the former history has no say in this one.
    let late =
        Complete { job_id, fence: Fence(1), outcome: Outcome::Succeeded { result: None }, output: None, next: None };
    try_apply(&mut restored, &[Command::Complete(late)]).expect("answered");
    let view = seen(&restored, job_id).expect("read").expect("known");
    assert_eq!(view.status, Status::Running);
    // Restored over the tables that a store has open, it is noticed before anything is written.
    cluster().sql(&database(&url), "DROP SCHEMA longshore CASCADE").expect("dropped");
    cluster().run("pg_restore", &["--exit-on-error", "--dbname", &database(&url), &path]).expect("restored");
    let ended = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", database(&url));
    cluster().sql("postgres", &ended).expect("ended");
    let error = try_create(&mut storage).expect_err("refused").to_string();
    assert!(error.contains("another history"), "{error}");
    let mut anew = open(&url);
    let (created, _) = try_create(&mut anew).expect("created");
    assert!(exists(&anew, created).expect("read"));
}

#[test]
fn a_newer_schema_is_left_alone() {
    let url = fresh_url();
    drop(open(&url));
    cluster().sql(&database(&url), "INSERT INTO longshore.schema_version VALUES (99)").expect("written");
    match Postgres::open(&url) {
        Err(error @ OpenError::Unusable { .. }) => assert!(error.to_string().contains("schema version 99"), "{error}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_older_schema_is_brought_up_to_date() {
    let url = fresh_url();
    drop(open(&url));
    // The indexes of what is dropped go with it.
    let first = "SET search_path = longshore; ALTER TABLE jobs DROP COLUMN lane; ALTER TABLE queues RENAME COLUMN lane TO tenant;
                 ALTER TABLE bells RENAME COLUMN lane TO tenant;
                 CREATE INDEX jobs_ready ON jobs (n); CREATE INDEX jobs_no_match ON jobs (n); CREATE INDEX jobs_by_task ON jobs (n);
                 DROP TABLE longshore.key_lanes, longshore.tenants, longshore.api_keys, longshore.audit, longshore.webhooks, longshore.deliveries, longshore.schedules;
                 ALTER TABLE longshore.jobs DROP COLUMN schedule; DROP INDEX longshore.jobs_of_others;
                 DELETE FROM longshore.schema_version WHERE version > 1";
    cluster().sql(&database(&url), first).expect("as the first version made it");
    let mut reader = open(&url).reader().expect("a reader");
    assert_nothing_is_listed(reader.as_mut());
}

#[test]
fn what_the_version_before_holds_is_the_default_tenants() {
    let url = fresh_url();
    let job_id = JobId::generate();
    let migrations = [
        include_str!("../../../src/storage/postgres/schema_1.sql"),
        include_str!("../../../src/storage/postgres/schema_2.sql"),
        include_str!("../../../src/storage/postgres/schema_3.sql"),
        include_str!("../../../src/storage/postgres/schema_4.sql"),
    ];
    let before = format!(
        "SET ROLE longshore; CREATE SCHEMA longshore; SET search_path = longshore; CREATE TABLE schema_version (version BIGINT NOT NULL);
         INSERT INTO schema_version VALUES (1), (2), (3), (4); {};
         INSERT INTO meta (tenant, incarnation, origin, changes, version, fenced_through, log_start, jobs_through, epoch, sequencer_renewal)
         VALUES (0, gen_random_uuid(), 'elsewhere', 0, 1, 0, 0, 0, 0, 0); {}",
        migrations.join(";"),
        OLD_JOB.replace("JOB", &format!("'{job_id}'"))
    );
    cluster().sql(&database(&url), &before).expect("as the version before made it");
    let storage = open(&url);
    assert!(exists(&storage, job_id).expect("read"));
    let mut reader = storage.reader().expect("a reader");
    let tenants = reader.tenants().expect("read").read.tenants;
    assert_eq!((tenants.len(), tenants[0].depth.queued), (1, 1));
}

#[test]
fn stores_that_start_together_make_one_schema() {
    let url = fresh_url();
    let incarnations: Vec<_> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&url).incarnation())).collect();
        openers.into_iter().map(|opener| opener.join().expect("opened")).collect()
    });
    assert!(incarnations.iter().all(|incarnation| *incarnation == incarnations[0]), "{incarnations:?}");
}
