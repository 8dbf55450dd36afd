//! Opens the database that the configuration names.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chassis::backoff::Backoff;
use chassis::config::ExitWith;
use tokio::time::Instant;

use crate::config::Database;
use crate::storage::Storage;
use crate::storage::postgres::{Follower, OpenError as PostgresError, Postgres, Url};
use crate::storage::sqlite::Sqlite;
use crate::storage::sqlite::lock::OpenError as SqliteError;

/// Another process has the database open (`EX_CANTCREAT` of sysexits.h).
const LOCKED: u8 = 73;
/// The database server is not there (`EX_UNAVAILABLE`).
const AWAY: u8 = 69;
/// A server that starts at the same time as we do is waited for.
const AWAIT_SERVER: Duration = Duration::from_secs(30);

pub(crate) struct Opened {
    pub(crate) storage: Box<dyn Storage>,
    /// Where several stores share the database.
    pub(crate) follower: Option<Follower>,
}

pub(crate) async fn open(database: &Database, holder: &str) -> anyhow::Result<Opened> {
    match database {
        Database::Sqlite(path) => Ok(Opened { storage: Box::new(open_file(path, holder)?), follower: None }),
        Database::Postgres(url) => {
            let storage = connect(url).await?;
            let follower = Some(storage.follower());
            Ok(Opened { storage: Box::new(storage), follower })
        }
    }
}

fn open_file(path: &Path, holder: &str) -> anyhow::Result<Sqlite> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    Sqlite::open(path, holder).map_err(|error| match error {
        SqliteError::Locked { .. } => ExitWith { status: LOCKED, sentence: error.to_string() }.into(),
        SqliteError::File { .. } | SqliteError::Storage(_) => {
            anyhow::Error::from(error).context(format!("opening {}", path.display()))
        }
    })
}

async fn connect(url: &Url) -> anyhow::Result<Postgres> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2));
    let deadline = Instant::now() + AWAIT_SERVER;
    loop {
        let at = url.clone();
        // It drives its connections on the threads that use them.
        let opened = tokio::task::spawn_blocking(move || Postgres::open(&at)).await.context("opening the database")?;
        let error = match opened {
            Ok(storage) => return Ok(storage),
            Err(error) => error,
        };
        let may_come = matches!(error, PostgresError::Away { .. }) && Instant::now() < deadline;
        if !may_come {
            return Err(ExitWith { status: AWAY, sentence: format!("{error}.") }.into());
        }
        tracing::warn!(%error, "waiting for the database");
        tokio::time::sleep(backoff.next_random()).await;
    }
}
