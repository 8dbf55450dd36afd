//! `longshore backup` and `restore`: the store's database as one file, and back again.

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::{ExitWith, Source};
use store_svc::storage::sqlite::backup::{self, BackupError};

use crate::arguments::{Backup, Up};
use crate::output;
use crate::up::database;

/// `EX_CANTCREAT` of sysexits.h: a file is there, or in use.
const IN_THE_WAY: u8 = 73;
/// `EX_DATAERR`: the file is not what it should be.
const BAD_FILE: u8 = 65;

pub(crate) fn back_up(arguments: &Backup, source: &Source) -> anyhow::Result<ExitCode> {
    let database = database_of(arguments, source)?;
    backup::back_up(&database, &arguments.file).map_err(|error| failed(&error))?;
    output::line(format!("{} is in {}.", database.display(), arguments.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(arguments: &Backup, source: &Source) -> anyhow::Result<ExitCode> {
    let database = database_of(arguments, source)?;
    let kept = backup::restore(&arguments.file, &database).map_err(|error| failed(&error))?;
    output::line(format!("{} is what {} was.", database.display(), arguments.file.display()))?;
    if let Some(kept) = kept {
        output::line(format!("What it was before is in {}.", kept.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where `longshore up` would keep it.
fn database_of(arguments: &Backup, source: &Source) -> anyhow::Result<PathBuf> {
    let up = Up { gateways: None, data_dir: arguments.data_dir.clone() };
    Ok(database(&up, source)?)
}

fn failed(error: &BackupError) -> ExitWith {
    let status = match error {
        BackupError::Exists { .. } | BackupError::InUse { .. } => IN_THE_WAY,
        BackupError::Unusable { .. } => BAD_FILE,
        BackupError::File { .. } => 1,
    };
    ExitWith { status, sentence: format!("{error}.") }
}
