//! SQLite under the suite, and what only a file can get wrong.

use std::path::Path;

use store_svc::storage::Storage;
use store_svc::storage::sqlite::Sqlite;
use store_svc::storage::sqlite::lock::OpenError;
use tempfile::TempDir;

use super::Fixture;

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
