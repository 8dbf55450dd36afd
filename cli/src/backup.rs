//! `longshore backup`, `restore` and `migrate`: the store's database as one file, back again, and into PostgreSQL.

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::{ConfigError, ExitWith, Source};
use store_svc::Database;
use store_svc::storage::postgres::ACCEPTED;
use store_svc::storage::postgres::import::{ImportError, import};
use store_svc::storage::sqlite::backup::{self, BackupError};

use crate::arguments::{Backup, Migrate, Up};
use crate::output;
use crate::up::database;

/// `EX_CANTCREAT` of sysexits.h: a file is there, or in use.
const IN_THE_WAY: u8 = 73;
/// `EX_UNAVAILABLE`: the server is not there, or does not let us in.
const AWAY: u8 = 69;
/// `EX_USAGE`: the command is not for this kind of database.
const WRONG_DATABASE: u8 = 64;
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
    match database(&up, source)? {
        Database::Sqlite(path) => Ok(path),
        Database::Postgres(url) => {
            let sentence = format!(
                "DATABASE_URL names {url}, which PostgreSQL's own pg_dump --schema=longshore and pg_restore copy; this command copies \
                 SQLite files."
            );
            Err(ExitWith { status: WRONG_DATABASE, sentence }.into())
        }
    }
}

pub(crate) fn migrate(arguments: &Migrate, source: &Source) -> anyhow::Result<ExitCode> {
    let url = match source.get("DATABASE_URL").map(|url| Database::parse("DATABASE_URL", url)).transpose() {
        Ok(Some(Database::Postgres(url))) => url,
        Ok(_) => {
            let sentence = format!("DATABASE_URL must name the database to move to: {ACCEPTED}.");
            return Err(ExitWith { status: WRONG_DATABASE, sentence }.into());
        }
        Err(fault) => return Err(ConfigError::from(fault).into()),
    };
    let moved = import(&arguments.file, &url).map_err(|error| not_moved(&error))?;
    for (table, rows) in &moved {
        output::line(format!("{rows:>10} {table}"))?;
    }
    let file = arguments.file.display();
    output::line(format!("{url} is what {file} was, counted on both sides. Start no store on {file} any more."))?;
    Ok(ExitCode::SUCCESS)
}

fn not_moved(error: &ImportError) -> ExitWith {
    let status = match error {
        ImportError::InUse { .. } | ImportError::NotEmpty { .. } => IN_THE_WAY,
        ImportError::Unusable { .. } => BAD_FILE,
        ImportError::Server { .. } => AWAY,
        ImportError::Differs { .. } => 1,
    };
    ExitWith { status, sentence: format!("{error}.") }
}

fn failed(error: &BackupError) -> ExitWith {
    let status = match error {
        BackupError::Exists { .. } | BackupError::InUse { .. } => IN_THE_WAY,
        BackupError::Unusable { .. } => BAD_FILE,
        BackupError::File { .. } => 1,
    };
    ExitWith { status, sentence: format!("{error}.") }
}
