//! A wall clock of its own for a process, to be put forward and back while it runs, by libfaketime. It is the wall clock alone that is moved:
//! leases and timers of the programs use others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian and its like install libfaketime.
const LIBRARIES: &str = "/usr/lib";
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// libfaketime, where it is installed.
pub fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir(LIBRARIES).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    folders.chain([PathBuf::from(LIBRARIES)]).map(|folder| folder.join(FAKETIME)).find(|library| library.is_file())
}

#[derive(Clone, Debug)]
pub struct WallClock {
    library: PathBuf,
    /// What it is off.
    file: PathBuf,
}

impl WallClock {
    /// One that is right, for a process that has not started.
    pub fn create(library: &Path, folder: &Path, name: &str) -> Result<Self> {
        let clock = Self { library: library.to_owned(), file: folder.join(format!("{name}.clock")) };
        clock.set(0)?;
        Ok(clock)
    }

    /// Puts it so many seconds off; its process learns it within a second.
    pub fn set(&self, seconds: i64) -> Result<()> {
        fs::write(&self.file, format!("{seconds:+}\n")).with_context(|| format!("writing {}", self.file.display()))
    }

    /// What the process must be started with.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}
