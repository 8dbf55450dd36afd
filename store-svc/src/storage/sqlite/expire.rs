//! The end of ended jobs: their data goes, a tombstone stays for a while and says that they were there.

use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::Reply;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::columns::Columns;
use super::row::Row;
use super::transaction::{Decided, Transaction};
use super::{StorageError, TENANT};

/// What belongs to a job besides its row, by its `n`.
const PARTS: [&str; 3] = [
    "DELETE FROM payloads WHERE tenant = ?1 AND n = ?2",
    "DELETE FROM results WHERE tenant = ?1 AND n = ?2",
    "DELETE FROM logs WHERE tenant = ?1 AND n = ?2",
];

impl Transaction<'_> {
    /// The job's row, or what to say when there is none.
    pub(super) fn known(&self, job_id: JobId) -> Result<Result<Row, Problem>, StorageError> {
        match Row::load(self.sql, job_id)? {
            Some(row) => Ok(Ok(row)),
            None if is_expired(self.sql, job_id)? => Ok(Err(expired(job_id))),
            None => Ok(Err(Kind::NotFound.problem())),
        }
    }

    pub(super) fn purge(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        let row = match self.known(job_id)? {
            Ok(row) => row,
            Err(problem) => return Ok(Err(problem)),
        };
        let purged = row.job.may_be_purged();
        if purged {
            self.bury(row.n, job_id)?;
            self.never_again(row.n)?;
            self.count("purged");
        }
        Ok(Ok(Reply::Purged { purged }))
    }

    pub(super) fn expire_jobs(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        // Ended jobs have an end; one that is retried loses it.
        let query = "SELECT n, job_id FROM jobs WHERE tenant = ? AND finished_at < ? ORDER BY finished_at, n LIMIT ?";
        let mut ended = Vec::new();
        {
            let mut statement = self.sql.prepare_cached(query)?;
            let mut rows = statement.query(params![TENANT, before_wall_ms, limit])?;
            while let Some(row) = rows.next()? {
                let mut columns = Columns::of(row);
                let n: i64 = columns.take()?;
                ended.push((n, JobId(columns.uuid()?)));
            }
        }
        for (n, job_id) in &ended {
            self.bury(*n, *job_id)?;
            self.count("expired");
        }
        if let Some(highest) = ended.iter().map(|(n, _)| *n).max() {
            self.never_again(highest)?;
        }
        Ok(u32::try_from(ended.len()).is_ok_and(|count| count == limit))
    }

    fn bury(&self, n: i64, job_id: JobId) -> Result<(), StorageError> {
        for part in PARTS {
            self.sql.prepare_cached(part)?.execute(params![TENANT, n])?;
        }
        self.sql.prepare_cached("DELETE FROM jobs WHERE n = ?")?.execute([n])?;
        let query = "INSERT INTO tombstones (tenant, job_id, at) VALUES (?, ?, ?)";
        self.sql.prepare_cached(query)?.execute(params![TENANT, job_id.0.as_bytes(), self.context.wall_ms])?;
        Ok(())
    }

    /// A number is given once, so that what is new is never listed behind what is old.
    fn never_again(&self, n: i64) -> Result<(), StorageError> {
        let query = "UPDATE meta SET jobs_through = max(jobs_through, ?) WHERE tenant = ?";
        self.sql.prepare_cached(query)?.execute(params![n, TENANT])?;
        Ok(())
    }

    /// They lie in the order in which they were made, so there are as many as there are numbers between the first and the last.
    pub(super) fn trim_oldest_tombstones(
        &mut self,
        before_wall_ms: i64,
        kept: u64,
        limit: u32,
    ) -> Result<bool, StorageError> {
        let newest: i64 =
            self.sql.prepare_cached("SELECT coalesce(max(seq), 0) FROM tombstones")?.query_row([], |row| row.get(0))?;
        let surplus = newest - i64::try_from(kept).unwrap_or(i64::MAX);
        let query = "SELECT max(seq), count(*) FROM
                         (SELECT seq, at FROM tombstones WHERE tenant = ? ORDER BY seq LIMIT ?)
                     WHERE at < ? OR seq <= ?";
        let (through, count): (Option<i64>, u32) = self
            .sql
            .prepare_cached(query)?
            .query_row(params![TENANT, limit, before_wall_ms, surplus], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(through) = through else { return Ok(false) };
        self.sql.prepare_cached("DELETE FROM tombstones WHERE seq <= ?")?.execute([through])?;
        Ok(count == limit)
    }
}

/// What a job that is no longer kept is answered with.
pub(super) fn expired(job_id: JobId) -> Problem {
    Kind::JobExpired.problem().with("job_id", job_id.to_string())
}

pub(super) fn is_expired(sql: &Connection, job_id: JobId) -> Result<bool, StorageError> {
    let mut statement = sql.prepare_cached("SELECT 1 FROM tombstones WHERE tenant = ? AND job_id = ?")?;
    Ok(statement.exists(params![TENANT, job_id.0.as_bytes()])?)
}

/// When the oldest of the `kept` jobs that ended last ended; `None`: there are not so many.
pub(super) fn ended_before(sql: &Connection, kept: u64) -> Result<Option<i64>, StorageError> {
    let query = "SELECT finished_at FROM jobs WHERE tenant = ? AND finished_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT 1 OFFSET ?";
    let skipped = i64::try_from(kept.saturating_sub(1)).unwrap_or(i64::MAX);
    Ok(sql.prepare_cached(query)?.query_row(params![TENANT, skipped], |row| row.get(0)).optional()?)
}
