//! The lanes of API keys that have limits. A key gets its lane with its first limits and keeps it: jobs that it has submitted since are there.

use protocol::access::{KeyId, KeyLimits, unknown_key};
use protocol::dispatch::Lane;
use protocol::tenant::Tenant;

use super::allowance::Allowance;
use super::{Decided, Transaction};
use crate::storage::StorageError;
use crate::storage::sql::{Columns, Sql, values};

pub(super) const ALL: &str = "SELECT lane, key_id, running_max, rate, next_start FROM key_lanes";
const BY_LANE: &str = "SELECT lane, key_id, running_max, rate, next_start FROM key_lanes WHERE lane = ?";

/// What the writer knows of a key that has limits, or had.
#[derive(Clone, Debug)]
pub(super) struct KnownKey {
    pub(super) lane: Lane,
    pub(super) key_id: KeyId,
    pub(super) allowance: Allowance,
}

impl KnownKey {
    pub(super) fn read(columns: &mut dyn Columns) -> Result<Self, StorageError> {
        let lane = Lane::numbered(columns.int()?);
        let key_id = KeyId::try_from(columns.text()?).map_err(|error| StorageError::Internal(error.to_string()))?;
        let limits = limits(columns)?.into();
        Ok(Self {
            lane,
            key_id,
            allowance: Allowance { limits, next_start_us: columns.int()?, ..Allowance::default() },
        })
    }

    pub(super) fn save(&self, sql: &mut dyn Sql) -> Result<(), StorageError> {
        let query = "INSERT INTO key_lanes (lane, key_id, running_max, rate, next_start) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (lane) DO UPDATE SET running_max = ?3, rate = ?4, next_start = ?5";
        let Allowance { limits, next_start_us, .. } = &self.allowance;
        let rate = limits.rate_per_second.map(i64::from);
        sql.write(query, values![self.lane.number(), self.key_id.as_str(), limits.running_max, rate, *next_start_us])
    }
}

/// Two columns: how many run, and the rate.
pub(super) fn limits(columns: &mut dyn Columns) -> Result<KeyLimits, StorageError> {
    let running_max = columns.maybe_int()?.map(i64::cast_unsigned);
    let rate_per_second = columns.maybe_int()?.and_then(|rate| u32::try_from(rate).ok());
    Ok(KeyLimits { running_max, rate_per_second })
}

pub(super) fn load(sql: &mut dyn Sql, lane: Lane) -> Result<Option<KnownKey>, StorageError> {
    sql.one(BY_LANE, values![lane.number()], KnownKey::read)
}

impl Transaction<'_> {
    pub(super) fn limit_key(
        &mut self,
        key_id: &KeyId,
        of: Option<&Tenant>,
        limits: KeyLimits,
    ) -> Result<Decided, StorageError> {
        if let Err(problem) = limits.check() {
            return Ok(Err(problem));
        }
        let Some(record) = self.known_key(key_id, of)?.filter(|known| known.session_of.is_none()) else {
            return Ok(Err(unknown_key(key_id)));
        };
        let tenant = match self.tenant_that_creates(&record.key.tenant)? {
            Ok(tenant) => tenant,
            Err(problem) => return Ok(Err(problem)),
        };
        let known = &self.memory.tenants;
        let mut key = known.key(key_id).cloned().unwrap_or_else(|| KnownKey {
            lane: known.free_lane(tenant),
            key_id: key_id.clone(),
            allowance: Allowance::default(),
        });
        key.allowance.set(limits.into());
        key.save(self.sql)?;
        self.memory.tenants.put_key(key);
        self.count("key_limited");
        self.wake(tenant);
        self.shown_key(key_id)
    }
}
