//! Keeps a second process out of the database file: two dispatchers on one file would give every job two bells, and two reapers.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::storage::StorageError;

/// Why a database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{path} is in use by {holder}")]
    Locked { path: String, holder: String },
    #[error("cannot open {path}: {error}")]
    File { path: String, error: std::io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Held for as long as the database is open; the kernel gives it back when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who has the database open; `None`: nobody. For whoever only looks.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn holder(database: &Path) -> std::io::Result<Option<String>> {
    let mut file = match File::open(lock_of(database)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => read_holder(&mut file).map(Some),
        Err(errno) => Err(errno.into()),
    }
}

fn lock_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn read_holder(file: &mut File) -> std::io::Result<String> {
    let mut holder = String::new();
    file.read_to_string(&mut holder)?;
    Ok(if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() })
}

impl Lock {
    /// Locks `PATH.lock` and writes into it who holds it.
    pub(super) fn take(database: &Path, holder: &str) -> Result<Self, OpenError> {
        let path = lock_of(database);
        let fault = |error: std::io::Error| OpenError::File { path: path.display().to_string(), error };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fault)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = read_holder(&mut file).map_err(fault)?;
                return Err(OpenError::Locked { path: database.display().to_string(), holder });
            }
            Err(errno) => return Err(fault(errno.into())),
        }
        file.set_len(0).map_err(fault)?;
        file.rewind().map_err(fault)?;
        writeln!(file, "{holder}").map_err(fault)?;
        Ok(Self { _file: file })
    }
}
