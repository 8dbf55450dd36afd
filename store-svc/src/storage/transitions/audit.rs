//! The record of what operators did, written in the commit that does it.

use protocol::access::{Act, AuditEntry, Audited};
use protocol::problem::Problem;
use protocol::store_api::Reply;
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::{Decided, Transaction};
use crate::storage::sql::{Columns, Sql, fitting, values};
use crate::storage::{AuditRead, StorageError};

/// So many entries are kept, the newest.
const KEPT: i64 = 1_000_000;
/// The oldest are dropped so many at a time.
const DROPPED_TOGETHER: i64 = 1_000;

impl Transaction<'_> {
    pub(super) fn audited(&mut self, tenant: &Tenant, audited: &Audited) -> Result<Decided, StorageError> {
        let decided = self.decide(tenant, &audited.command)?;
        self.note_act(audited.act.clone(), decided.as_ref().err())?;
        Ok(decided)
    }

    pub(super) fn audit(&mut self, (act, refused): &(Act, Option<Problem>)) -> Result<Decided, StorageError> {
        self.note_act(act.clone(), refused.as_ref())?;
        Ok(Ok(Reply::Done))
    }

    fn note_act(&mut self, act: Act, refused: Option<&Problem>) -> Result<(), StorageError> {
        let last = self.sql.single("SELECT coalesce(max(n), 0) FROM audit", values![], |columns| columns.int())?;
        let (n, tenant) = (last + 1, act.tenant.clone());
        let entry = AuditEntry::of(act, Timestamp::from_unix_ms(self.context.wall_ms), refused);
        let text = serde_json::to_string(&entry)?;
        let query = "INSERT INTO audit (n, tenant_name, entry) VALUES (?, ?, ?)";
        self.sql.write(query, values![n, tenant.as_str(), &text])?;
        if n > KEPT && n % DROPPED_TOGETHER == 0 {
            self.sql.write("DELETE FROM audit WHERE n <= ?", values![n - KEPT])?;
        }
        Ok(())
    }
}

/// One page, the newest first, of all tenants or of one.
pub(super) fn page(
    sql: &mut dyn Sql,
    of: Option<&Tenant>,
    before: Option<i64>,
    limit: u32,
) -> Result<AuditRead, StorageError> {
    let before = before.unwrap_or(i64::MAX);
    let more = limit.saturating_add(1);
    let read = |columns: &mut dyn Columns| {
        let n = columns.int()?;
        Ok((n, serde_json::from_str::<AuditEntry>(columns.word()?)?))
    };
    let found = match of {
        None => {
            sql.all("SELECT n, entry FROM audit WHERE n < ? ORDER BY n DESC LIMIT ?", values![before, more], read)?
        }
        Some(tenant) => {
            let query = "SELECT n, entry FROM audit WHERE tenant_name = ? AND n < ? ORDER BY n DESC LIMIT ?";
            sql.all(query, values![tenant.as_str(), before, more], read)?
        }
    };
    let (found, follows) = fitting(found, limit);
    let before = found.last().filter(|_| follows).map(|(n, _)| *n);
    Ok(AuditRead { entries: found.into_iter().map(|(_, entry)| entry).collect(), before })
}
