//! The end of ended jobs: their data goes, a tombstone stays for a while and says that they were there.

use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::Reply;

use super::{Decided, Transaction};
use crate::storage::row::Row;
use crate::storage::sql::{Sql, values};
use crate::storage::{SYSTEM, StorageError};

/// What belongs to a job besides its row, by its `n`.
const PARTS: [&str; 3] = [
    "DELETE FROM payloads WHERE tenant = ? AND n = ?",
    "DELETE FROM results WHERE tenant = ? AND n = ?",
    "DELETE FROM logs WHERE tenant = ? AND n = ?",
];

/// In the order in which they lie.
const OLDEST_TOMBSTONES: &str = "SELECT max(seq), count(*) FROM
    (SELECT seq, at FROM tombstones NOT INDEXED ORDER BY seq LIMIT ?) AS oldest
    WHERE at < ? OR seq <= ?";

impl Transaction<'_> {
    /// The row of a job of the caller, or what to say when it has none of this id.
    pub(super) fn known(&mut self, job_id: JobId) -> Result<Result<Row, Problem>, StorageError> {
        match self.load(job_id)? {
            Some(row) if Some(row.tenant) == self.caller => Ok(Ok(row)),
            None if self.caller.is_some() && self.expired_of(job_id)? == self.caller => Ok(Err(expired(job_id))),
            Some(_) | None => Ok(Err(Kind::NotFound.problem())),
        }
    }

    pub(super) fn purge(&mut self, job_id: JobId) -> Result<Decided, StorageError> {
        let row = match self.known(job_id)? {
            Ok(row) => row,
            Err(problem) => return Ok(Err(problem)),
        };
        let purged = row.job.may_be_purged();
        if purged {
            self.bury(row.n, row.tenant, job_id)?;
            self.never_again(row.n)?;
            self.count("purged");
        }
        Ok(Ok(Reply::Purged { purged }))
    }

    pub(super) fn expire_jobs(&mut self, before_wall_ms: i64, limit: u32) -> Result<bool, StorageError> {
        // Ended jobs have an end; one that is retried loses it.
        let query = "SELECT n, tenant, job_id FROM jobs WHERE finished_at < ? ORDER BY finished_at, n LIMIT ?";
        let ended = self.sql.take_all(query, values![before_wall_ms, limit], |columns| {
            Ok((columns.int()?, columns.int()?, JobId(columns.uuid()?)))
        })?;
        for (n, tenant, job_id) in &ended {
            self.bury(*n, *tenant, *job_id)?;
            self.count("expired");
        }
        if let Some(highest) = ended.iter().map(|(n, ..)| *n).max() {
            self.never_again(highest)?;
        }
        Ok(u32::try_from(ended.len()).is_ok_and(|count| count == limit))
    }

    fn bury(&mut self, n: i64, tenant: i64, job_id: JobId) -> Result<(), StorageError> {
        for part in PARTS {
            self.sql.write(part, values![tenant, n])?;
        }
        self.sql.write("DELETE FROM jobs WHERE n = ?", values![n])?;
        let query = "INSERT INTO tombstones (seq, tenant, job_id, at)
                     SELECT coalesce(max(seq), 0) + 1, ?, ?, ? FROM tombstones";
        self.sql.write(query, values![tenant, job_id.0, self.context.wall_ms])?;
        self.foreseen.bury(job_id, tenant);
        Ok(())
    }

    /// A number is given once, so that what is new is never listed behind what is old.
    fn never_again(&mut self, n: i64) -> Result<(), StorageError> {
        let query = "UPDATE meta SET jobs_through = ?1 WHERE tenant = ?2 AND jobs_through < ?1";
        self.sql.write(query, values![n, SYSTEM])
    }

    /// They lie in the order in which they were made, so there are as many as there are numbers between the first and the last.
    pub(super) fn trim_oldest_tombstones(
        &mut self,
        before_wall_ms: i64,
        kept: u64,
        limit: u32,
    ) -> Result<bool, StorageError> {
        let newest = self.sql.single("SELECT coalesce(max(seq), 0) FROM tombstones", &[], |columns| columns.int())?;
        let surplus = newest - i64::try_from(kept).unwrap_or(i64::MAX);
        let values = values![limit, before_wall_ms, surplus];
        let (through, count) =
            self.sql.single(OLDEST_TOMBSTONES, values, |columns| Ok((columns.maybe_int()?, columns.small()?)))?;
        let Some(through) = through else { return Ok(false) };
        self.sql.write("DELETE FROM tombstones WHERE seq <= ?", values![through])?;
        self.foreseen.forget_rows();
        Ok(count == limit)
    }
}

/// What a job that is no longer kept is answered with.
pub(super) fn expired(job_id: JobId) -> Problem {
    Kind::JobExpired.problem().with("job_id", job_id.to_string())
}

/// Whose the job was that has ended and is no longer kept.
pub(super) fn expired_of(sql: &mut dyn Sql, job_id: JobId) -> Result<Option<i64>, StorageError> {
    sql.one("SELECT tenant FROM tombstones WHERE job_id = ?", values![job_id.0], |columns| columns.int())
}

/// When the oldest of the `kept` jobs that ended last ended; `None`: there are not so many.
pub(super) fn ended_before(sql: &mut dyn Sql, kept: u64) -> Result<Option<i64>, StorageError> {
    let query = "SELECT finished_at FROM jobs WHERE finished_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT 1 OFFSET ?";
    let skipped = i64::try_from(kept.saturating_sub(1)).unwrap_or(i64::MAX);
    sql.one(query, values![skipped], |columns| columns.int())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::plan_of;

    #[test]
    fn tombstones_are_trimmed_without_a_look_at_all_of_them() {
        let plan = plan_of(OLDEST_TOMBSTONES);
        assert_eq!(plan, ["CO-ROUTINE oldest", "SCAN tombstones", "SCAN oldest"]);
    }
}
