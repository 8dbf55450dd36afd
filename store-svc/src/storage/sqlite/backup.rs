//! Copies of a database: made while it is in use, put back while it is not. A copy knows that it is one, so that the store which opens it
//! begins a history of its own.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use super::lock::{Lock, OpenError};
use super::schema;

/// How long to wait for a checkpoint of the store, in which nothing can be read.
const BUSY: Duration = Duration::from_secs(10);
/// What SQLite keeps beside a database.
const LOG: [&str; 2] = ["-wal", "-shm"];

/// Why a database was not copied.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error("{path} is there already: name another file, or remove it")]
    Exists { path: String },
    #[error("{path}: {reason}")]
    Unusable { path: String, reason: String },
    #[error("{path} is in use by {holder}: stop it first")]
    InUse { path: String, holder: String },
    #[error("{path}: {error}")]
    File { path: String, error: std::io::Error },
}

/// Writes what is committed in `database` now into the new file `copy`, which is on disk afterwards. The store may be at work meanwhile.
///
/// # Errors
/// See [`BackupError`]; a `copy` that is not whole is never there under its name.
pub fn back_up(database: &Path, copy: &Path) -> Result<(), BackupError> {
    if copy.exists() {
        return Err(BackupError::Exists { path: shown(copy) });
    }
    write(copy, |unfinished| copy_of(database, unfinished))
}

/// Puts `copy`, a backup or any other whole copy of a database, in the place of `database`, whose store must not run. What was there is
/// kept beside it; its path is returned.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(copy: &Path, database: &Path) -> Result<Option<PathBuf>, BackupError> {
    must_exist(copy)?;
    if let Some(folder) = folder(database) {
        fs::create_dir_all(folder).map_err(|error| BackupError::File { path: shown(folder), error })?;
    }
    let _lock = Lock::take(database, "a restore").map_err(|error| match error {
        OpenError::Locked { path, holder } => BackupError::InUse { path, holder },
        other => unusable(database, &other),
    })?;
    let mut kept = None;
    write(database, |unfinished| {
        copy_of(copy, unfinished)?;
        kept = set_aside(database)?;
        Ok(())
    })?;
    Ok(kept)
}

/// Reads a database with what is in the log beside it, whoever else may be writing, into one file that knows that it is a copy.
fn copy_of(database: &Path, to: &Path) -> Result<(), BackupError> {
    let path = to.to_str().ok_or_else(|| unusable(to, &"its name is not UTF-8"))?;
    let source = open_ours(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.execute("VACUUM INTO ?", [path]).map_err(|error| unusable(to, &error))?;
    let copy = open_ours(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::mark_copy(&copy).map_err(|error| unusable(to, &error))
}

/// Gives the database another name, together with its log: applied to another database it would destroy that.
fn set_aside(database: &Path) -> Result<Option<PathBuf>, BackupError> {
    let was_there = database.exists();
    let aside = beside(database, &format!(".replaced-{}", chassis::clock::wall_ms()));
    for end in LOG.into_iter().chain([""]) {
        let from = beside(database, end);
        if from.exists() {
            let renamed = fs::rename(&from, beside(&aside, end));
            renamed.map_err(|error| BackupError::File { path: shown(&from), error })?;
        }
    }
    Ok(was_there.then_some(aside))
}

/// Writes a file under another name, gives it its own when it is whole and on disk, and leaves nothing behind otherwise.
fn write(to: &Path, fill: impl FnOnce(&Path) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let fault = |error| BackupError::File { path: shown(to), error };
    let unfinished = beside(to, ".unfinished");
    fs::remove_file(&unfinished).ok();
    let written = fill(&unfinished).and_then(|()| {
        File::open(&unfinished).and_then(|file| file.sync_all()).map_err(fault)?;
        fs::rename(&unfinished, to).map_err(fault)?;
        File::open(folder(to).unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(fault)
    });
    if written.is_err() {
        fs::remove_file(&unfinished).ok();
    }
    written
}

fn open_ours(path: &Path, flags: OpenFlags) -> Result<Connection, BackupError> {
    must_exist(path)?;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|connection| connection.busy_timeout(BUSY).map(|()| connection))
        .map_err(|error| unusable(path, &error))?;
    schema::check(&connection).map_err(|reason| unusable(path, &reason))?;
    Ok(connection)
}

fn must_exist(path: &Path) -> Result<(), BackupError> {
    if path.exists() { Ok(()) } else { Err(unusable(path, &"there is no such file")) }
}

fn unusable(path: &Path, reason: &dyn Display) -> BackupError {
    BackupError::Unusable { path: shown(path), reason: reason.to_string() }
}

fn folder(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
