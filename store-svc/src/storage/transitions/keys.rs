//! API keys as rows: made, rotated, revoked. Whether a secret is right is the gateways' business; here is only its digest.

use protocol::access::{KEYS_MAX, KeyCommand, KeyId, KeyName, KeyRecord, KeyView, NewKey, Scopes, unknown_key};
use protocol::problem::Kind;
use protocol::store_api::Reply;
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::{Decided, Transaction, key_lanes};
use crate::storage::sql::{Columns, Sql, fitting, values};
use crate::storage::{KeyCursor, KeysPage, StorageError};

/// What has ended is kept so long, so that the audit log's ids have names.
const ENDED_KEPT_MS: i64 = 90 * 24 * 3_600 * 1_000;

macro_rules! key_columns {
    () => {
        "api_keys.key_id, tenant_name, name, scopes, digest, old_digest, old_until, session_of, created_at, expires_at, rotated_at, \
         revoked_at, last_used_at, running_max, rate"
    };
}

macro_rules! keys {
    () => {
        "api_keys LEFT JOIN key_lanes ON key_lanes.key_id = api_keys.key_id"
    };
}

fn read(columns: &mut dyn Columns) -> Result<KeyRecord, StorageError> {
    let odd = |what: &str| StorageError::Internal(format!("an API key in a row has an odd {what}"));
    let instant = |ms: Option<i64>| ms.map(Timestamp::from_unix_ms);
    let key_id = KeyId::try_from(columns.text()?).map_err(|_| odd("id"))?;
    let tenant = Tenant::try_from(columns.text()?).map_err(|_| odd("tenant"))?;
    let name = KeyName::try_from(columns.text()?).map_err(|_| odd("name"))?;
    let scopes = Scopes::of_words(columns.word()?);
    let (digest, old_digest) = (columns.text()?, columns.maybe_text()?);
    let old_secret_until = instant(columns.maybe_int()?);
    let session_of = columns.maybe_text()?;
    let key = KeyView {
        key_id,
        name,
        tenant,
        scopes,
        created_at: Timestamp::from_unix_ms(columns.int()?),
        expires_at: instant(columns.maybe_int()?),
        rotated_at: instant(columns.maybe_int()?),
        old_secret_until,
        revoked_at: instant(columns.maybe_int()?),
        last_used_at: instant(columns.maybe_int()?),
        limits: key_lanes::limits(columns)?,
    };
    Ok(KeyRecord { key, digest, old_digest, session_of })
}

pub(super) fn load(sql: &mut dyn Sql, key_id: &KeyId) -> Result<Option<KeyRecord>, StorageError> {
    let query = concat!("SELECT ", key_columns!(), " FROM ", keys!(), " WHERE api_keys.key_id = ?");
    sql.one(query, values![key_id.as_str()], read)
}

/// One page, the oldest first, of all tenants or of one.
pub(super) fn page(
    sql: &mut dyn Sql,
    of: Option<&Tenant>,
    after: Option<&KeyCursor>,
    limit: u32,
) -> Result<KeysPage, StorageError> {
    let query = concat!(
        "SELECT ",
        key_columns!(),
        " FROM ",
        keys!(),
        " WHERE session_of IS NULL AND (created_at, api_keys.key_id) > (?1, ?2) AND (tenant_name = ?3 OR ?3 = '')
          ORDER BY created_at, api_keys.key_id LIMIT ?4"
    );
    let (at, key_id) = after.map_or((i64::MIN, ""), |after| (after.created_at, after.key_id.as_str()));
    let tenant = of.map_or("", Tenant::as_str);
    let records = sql.all(query, values![at, key_id, tenant, limit.saturating_add(1)], read)?;
    let (records, follows) = fitting(records, limit);
    let cursor = |key: &KeyView| KeyCursor { created_at: key.created_at.unix_ms(), key_id: key.key_id.clone() };
    let after = records.last().filter(|_| follows).map(|last| cursor(&last.key));
    Ok(KeysPage { keys: records.into_iter().map(|record| record.key).collect(), after })
}

impl Transaction<'_> {
    pub(super) fn command_key(&mut self, command: &KeyCommand) -> Result<Decided, StorageError> {
        match command {
            KeyCommand::Create(new) => self.create_key(new),
            KeyCommand::Rotate { key_id, of, digest, overlap_ms } => {
                self.rotate_key(key_id, of.as_ref(), digest, *overlap_ms)
            }
            KeyCommand::Revoke { key_id, of } => self.revoke_key(key_id, of.as_ref()),
            KeyCommand::Limit { key_id, of, limits } => self.limit_key(key_id, of.as_ref(), *limits),
            KeyCommand::Used(keys) => self.note_used_keys(keys),
        }
    }

    pub(super) fn shown_key(&mut self, key_id: &KeyId) -> Result<Decided, StorageError> {
        let record = load(self.sql, key_id)?;
        Ok(record.map(|record| Reply::Key(Box::new(record.key))).ok_or_else(|| unknown_key(key_id)))
    }

    fn create_key(&mut self, new: &NewKey) -> Result<Decided, StorageError> {
        if let Some(known) = load(self.sql, &new.key_id)? {
            let is_repeat = known.digest == new.digest;
            let taken = || Kind::Conflict.detail("Another key has this id; try again.");
            return Ok(if is_repeat { Ok(Reply::Key(Box::new(known.key))) } else { Err(taken()) });
        }
        let now = self.context.wall_ms;
        let query = "DELETE FROM api_keys WHERE coalesce(revoked_at, expires_at) < ?";
        self.sql.write(query, values![now - ENDED_KEPT_MS])?;
        let query = "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)";
        if self.sql.single(query, values![now], |columns| columns.small())? >= KEYS_MAX {
            let detail = format!("There are {KEYS_MAX} keys and sessions, which is the limit; revoke some first.");
            return Ok(Err(Kind::Conflict.detail(detail)));
        }
        let query =
            "INSERT INTO api_keys (key_id, tenant_name, name, scopes, digest, session_of, created_at, expires_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let (scopes, expires_at) = (new.scopes.words(), new.expires_at.map(Timestamp::unix_ms));
        let (tenant, name) = (new.tenant.as_str(), new.name.as_str());
        self.sql.write(
            query,
            values![new.key_id.as_str(), tenant, name, &scopes, &new.digest, &new.session_of, now, expires_at],
        )?;
        self.shown_key(&new.key_id)
    }

    /// A key that may be changed on behalf of this tenant.
    pub(super) fn known_key(&mut self, key_id: &KeyId, of: Option<&Tenant>) -> Result<Option<KeyRecord>, StorageError> {
        let known = load(self.sql, key_id)?;
        Ok(known.filter(|known| of.is_none_or(|of| *of == known.key.tenant)))
    }

    fn rotate_key(
        &mut self,
        key_id: &KeyId,
        of: Option<&Tenant>,
        digest: &str,
        overlap_ms: u64,
    ) -> Result<Decided, StorageError> {
        let Some(known) = self.known_key(key_id, of)?.filter(|known| known.session_of.is_none()) else {
            return Ok(Err(unknown_key(key_id)));
        };
        let now = self.context.wall_ms;
        if !known.key.is_good(now) {
            let detail = "The key was revoked or has expired; create another one.";
            return Ok(Err(Kind::Conflict.detail(detail)));
        }
        if known.digest != digest {
            let query =
                "UPDATE api_keys SET old_digest = digest, digest = ?, old_until = ?, rotated_at = ? WHERE key_id = ?";
            let until = now.saturating_add_unsigned(overlap_ms);
            self.sql.write(query, values![digest, until, now, key_id.as_str()])?;
        }
        self.shown_key(key_id)
    }

    fn revoke_key(&mut self, key_id: &KeyId, of: Option<&Tenant>) -> Result<Decided, StorageError> {
        if self.known_key(key_id, of)?.is_none() {
            return Ok(Err(unknown_key(key_id)));
        }
        let query = "UPDATE api_keys SET revoked_at = ?1 WHERE revoked_at IS NULL AND (key_id = ?2 OR session_of = ?2)";
        self.sql.write(query, values![self.context.wall_ms, key_id.as_str()])?;
        self.shown_key(key_id)
    }

    fn note_used_keys(&mut self, keys: &[(KeyId, Timestamp)]) -> Result<Decided, StorageError> {
        let query =
            "UPDATE api_keys SET last_used_at = ?1 WHERE key_id = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)";
        for (key_id, at) in keys {
            self.sql.write(query, values![at.unix_ms(), key_id.as_str()])?;
        }
        Ok(Ok(Reply::Done))
    }
}
