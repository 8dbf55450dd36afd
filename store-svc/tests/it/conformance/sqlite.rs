//! SQLite under the suite, and what only a file can get wrong.

use std::path::Path;

use protocol::api::Status;
use protocol::ids::JobId;
use protocol::job::Settled;
use protocol::tenant::Tenant;
use store_svc::storage::sqlite::Sqlite;
use store_svc::storage::sqlite::backup::{back_up, restore};
use store_svc::storage::sqlite::lock::OpenError;
use store_svc::storage::{JobRead, Storage};
use tempfile::TempDir;

use super::{Fixture, Lab, assert_nothing_is_listed, create, succeeded};

pub(crate) struct SqliteFixture {
    storage: Sqlite,
    folder: TempDir,
}

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("store.db"), "the tests").expect("it opens")
}

impl Fixture for SqliteFixture {
    fn fresh() -> Self {
        let folder = TempDir::new().expect("a folder");
        Self { storage: open(folder.path()), folder }
    }

    fn storage(&mut self) -> &mut dyn Storage {
        &mut self.storage
    }

    /// Copies the files while they are open: closing would tidy them up.
    fn after_kill(self) -> Self {
        let folder = TempDir::new().expect("a folder");
        for name in ["store.db", "store.db-wal"] {
            std::fs::copy(self.folder.path().join(name), folder.path().join(name)).expect("copied");
        }
        Self { storage: open(folder.path()), folder }
    }
}

#[test]
fn a_second_opener_is_told_who_holds_it() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.db");
    let first = Sqlite::open(&path, "process 7 on 127.0.0.1:5002").expect("it opens");
    match Sqlite::open(&path, "process 8") {
        Err(OpenError::Locked { holder, .. }) => assert_eq!(holder, "process 7 on 127.0.0.1:5002"),
        other => panic!("not refused: {other:?}"),
    }
    drop(first);
    Sqlite::open(&path, "process 8").expect("free again");
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    drop(open(folder.path()));
    let path = folder.path().join("store.db");
    let file = rusqlite::Connection::open(&path).expect("it opens");
    file.pragma_update(None, "user_version", 99).expect("written");
    drop(file);
    let error = Sqlite::open(&path, "an old program").expect_err("refused").to_string();
    assert!(error.contains("schema version 99"), "{error}");
}

/// Makes of a file that has version 6 one that has version 5.
const WITHOUT_LANES: &str = "DROP INDEX jobs_ready; DROP INDEX jobs_no_match; DROP INDEX jobs_by_task;
     ALTER TABLE jobs DROP COLUMN lane; DROP TABLE key_lanes;
     ALTER TABLE queues RENAME COLUMN lane TO tenant; ALTER TABLE bells RENAME COLUMN lane TO tenant;
     CREATE INDEX jobs_ready ON jobs (queue, priority, tenant, n) WHERE ring = 'ready';
     CREATE INDEX jobs_no_match ON jobs (queue, priority, tenant, n, task) WHERE ring = 'no_match';
     CREATE INDEX jobs_by_task ON jobs (queue, task, tenant, priority, n) WHERE ring <> 'rung';
     PRAGMA user_version = 5;";

#[test]
fn an_older_schema_is_brought_up_to_date() {
    let folder = TempDir::new().expect("a folder");
    drop(open(folder.path()));
    let path = folder.path().join("store.db");
    let file = rusqlite::Connection::open(&path).expect("it opens");
    let first =
        "DROP TABLE api_keys; DROP TABLE audit; DROP TABLE webhooks; DROP TABLE deliveries; DROP TABLE schedules;
                 ALTER TABLE jobs DROP COLUMN schedule; DROP TABLE tenants; DROP INDEX jobs_of_others;
                 PRAGMA user_version = 1;";
    file.execute_batch(WITHOUT_LANES).expect("as the version before made it");
    file.execute_batch(first).expect("as the first version made it");
    drop(file);
    let mut reader = open(folder.path()).reader().expect("a reader");
    assert_nothing_is_listed(reader.as_mut());
}

/// A job that waits, as the version before wrote it.
pub(crate) const OLD_JOB: &str =
    "INSERT INTO jobs (n, tenant, job_id, task, queue, priority, state, run, attempt, crashes, max_attempts, dispatch, fence, renewal,
                       settled, ring, refusals, pulled, lease_ms, fingerprint, created_at, changed)
     VALUES (1, 0, JOB, 'a', 'default', 1, 'queued', 1, 0, 0, 3, 1, 0, 0, 0, 'no_match', 0, 0, 0, 'f', 1700000000000, 0);
     INSERT INTO queues VALUES (0, 'default', NULL, 0, 0, 1, 0)";

#[test]
fn what_the_version_before_holds_is_the_default_tenants() {
    let folder = TempDir::new().expect("a folder");
    let file = rusqlite::Connection::open(folder.path().join("store.db")).expect("it opens");
    let job_id = JobId::generate();
    let hex = format!("x'{}'", job_id.0.simple());
    let schemas = [
        include_str!("../../../src/storage/sqlite/schema_1.sql"),
        include_str!("../../../src/storage/sqlite/schema_2.sql"),
        include_str!("../../../src/storage/sqlite/schema_3.sql"),
        include_str!("../../../src/storage/sqlite/schema_4.sql"),
    ];
    for statements in schemas {
        file.execute_batch(statements).expect("as the version before made it");
    }
    let meta = "INSERT INTO meta VALUES (0, randomblob(16), 1, 0, 0, 0, 0, NULL, 0);
                PRAGMA application_id = 0x4c534852; PRAGMA user_version = 4";
    file.execute_batch(meta).expect("written");
    file.execute_batch(&OLD_JOB.replace("JOB", &hex)).expect("written");
    drop(file);
    let storage = open(folder.path());
    let mut lab = Lab::with(SqliteFixture { storage, folder });
    assert_eq!(lab.status(job_id), Status::Queued);
    let tenants = lab.read(|reader| reader.tenants()).read.tenants;
    assert_eq!((tenants.len(), tenants[0].tenant.clone(), tenants[0].depth.queued), (1, Tenant::default(), 1));
    lab.worker(&["a"]);
    assert_eq!(lab.ring().len(), 1);
}

/// The version before knew tenants, and no lanes.
#[test]
fn what_waits_of_a_tenant_is_in_its_lane_after_an_upgrade() {
    let mut lab = Lab::<SqliteFixture>::new();
    let jobs = lab.backlog("acme", 3);
    let SqliteFixture { storage, folder } = lab.fixture;
    drop(storage);
    let file = rusqlite::Connection::open(folder.path().join("store.db")).expect("it opens");
    file.execute_batch(WITHOUT_LANES).expect("as the version before made it");
    drop(file);
    let mut lab = Lab::with(SqliteFixture { storage: open(folder.path()), folder });
    lab.worker(&["a"]);
    let rung: Vec<JobId> = lab.ring().iter().map(|bell| bell.bell.job_id).collect();
    assert_eq!(rung, jobs);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.db");
    std::fs::write(&path, "this is a letter to my grandmother, and long enough").expect("written");
    let error = Sqlite::open(&path, "the tests").expect_err("refused").to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[test]
fn incarnation_is_of_the_file() {
    let folder = TempDir::new().expect("a folder");
    let first = open(folder.path()).incarnation();
    assert_eq!(open(folder.path()).incarnation(), first);
    let other = TempDir::new().expect("a folder");
    assert_ne!(open(other.path()).incarnation(), first);
}

#[test]
fn a_restored_copy_has_a_history_of_its_own() {
    let mut lab = Lab::<SqliteFixture>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.create(create("a"));
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    let folder = lab.fixture.folder.path().to_owned();
    let (store, copy) = (folder.join("store.db"), folder.join("copy.db"));
    back_up(&store, &copy).expect("copied while it is open");
    let said = back_up(&store, &copy).expect_err("it is there").to_string();
    assert!(said.contains("is there already"), "{said}");
    let said = restore(&copy, &store).expect_err("it is open").to_string();
    assert!(said.contains("in use by the tests"), "{said}");

    let former = lab.fixture.storage.incarnation();
    let mut found = vec![former];
    for _ in 0..2 {
        let place = TempDir::new().expect("a folder");
        let path = place.path().join("store.db");
        assert_eq!(restore(&copy, &path).expect("restored"), None);
        let fixture = SqliteFixture { storage: open(place.path()), folder: place };
        found.push(fixture.storage.incarnation());
        let mut lab = Lab { fixture, ..Lab::<SqliteFixture>::new() };
        assert_eq!(lab.view(job_id).attempt, 1);
        let (settled, status) = lab.complete(job_id, fence, succeeded());
        assert_eq!((settled, status), (Settled::Refused, Status::Running), "a lease of the lost history has no say");
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 3, "each restore begins a history: {found:?}");
}

#[test]
fn what_is_replaced_is_kept_with_its_log() {
    let mut lab = Lab::<SqliteFixture>::new();
    let folder = lab.fixture.folder.path().to_owned();
    back_up(&folder.join("store.db"), &folder.join("copy.db")).expect("copied");
    let job_id = lab.create(create("a"));
    // As a kill leaves it: the job is in the log only.
    let place = TempDir::new().expect("a folder");
    let here = place.path().join("store.db");
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(folder.join(name), place.path().join(name)).expect("copied");
    }
    let aside = restore(&folder.join("copy.db"), &here).expect("restored").expect("something was there");
    let exists = |storage: &Sqlite| {
        let read = storage.reader().expect("a reader").job(&Tenant::default(), job_id).expect("read").read;
        matches!(read, JobRead::Job(..))
    };
    assert!(!exists(&Sqlite::open(&here, "the tests").expect("it opens")));
    assert!(exists(&Sqlite::open(&aside, "the tests").expect("it opens")));
}

/// What a disk leaves that did not keep all of what it said was written: the end of the log missing, or a byte of it wrong.
#[test]
fn a_log_damaged_at_any_byte_keeps_what_was_committed_before_it() {
    const DAMAGES: u64 = 40;
    let mut lab = Lab::<SqliteFixture>::new();
    let folder = lab.fixture.folder.path().to_owned();
    let mut commit = || {
        let job_id = lab.create(create("a"));
        (std::fs::metadata(folder.join("store.db-wal")).expect("a log").len(), job_id)
    };
    let commits: Vec<_> = (0..20).map(|_| commit()).collect();
    let (begin, end) = (commits[0].0, commits[19].0);
    for damage in 0..DAMAGES {
        let at = begin + (end - begin) * damage / DAMAGES + damage;
        let place = TempDir::new().expect("a folder");
        std::fs::copy(folder.join("store.db"), place.path().join("store.db")).expect("copied");
        let mut log = std::fs::read(folder.join("store.db-wal")).expect("read");
        let byte = usize::try_from(at).expect("small");
        if damage % 2 == 0 {
            log.truncate(byte)
        } else {
            log[byte] ^= 0xff
        }
        std::fs::write(place.path().join("store.db-wal"), log).expect("written");
        let mut reader = open(place.path()).reader().expect("a reader");
        for (through, job_id) in &commits {
            let is_there = matches!(reader.job(&Tenant::default(), *job_id).expect("read").read, JobRead::Job(..));
            assert_eq!(is_there, *through <= at, "damaged at {at}, committed through {through}");
        }
    }
}

#[test]
fn only_a_whole_database_of_ours_is_restored() {
    let folder = TempDir::new().expect("a folder");
    let (bad, store) = (folder.path().join("bad.db"), folder.path().join("store.db"));
    let check = |says: &str| {
        let said = restore(&bad, &store).expect_err("refused").to_string();
        assert!(said.contains(says), "{said}");
        assert!(!store.exists(), "{says}");
    };
    check("there is no such file");
    std::fs::write(&bad, "this is a letter to my grandmother, and long enough").expect("written");
    check("not a database");
    std::fs::remove_file(&bad).expect("removed");
    rusqlite::Connection::open(&bad).and_then(|other| other.execute_batch("CREATE TABLE a (b)")).expect("made");
    check("not a database of Longshore");
}
