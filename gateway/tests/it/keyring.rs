//! The keys of a scripted store, and what it was told to record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chassis::clock;
use chassis::http::{Json, Rejection};
use protocol::access::{Act, KeyCommand, KeyId, KeyLimits, KeyRecord, KeyView, NewKey, Scopes, key_id_of, unknown_key};
use protocol::problem::{Kind, Problem};
use protocol::store_api::Reply;
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use sha2::{Digest, Sha256};

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyring(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Questions are refused.
    pub(crate) away: bool,
    /// Questions for a key.
    pub(crate) asked: usize,
    pub(crate) acts: Vec<Act>,
    /// Of which tenant each key had to be that was given limits; `None`: of any.
    pub(crate) limited: Vec<Option<Tenant>>,
    records: BTreeMap<KeyId, KeyRecord>,
}

impl Keyring {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("no test broke")
    }

    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/keys/{id}", get(key)).with_state(self.clone())
    }

    /// A key that is good for these scopes.
    pub(crate) fn key(&self, number: u64, tenant: &str, scopes: &str) -> String {
        let key_id = KeyId::of(number);
        let api_key = format!("lsk_{key_id}_secret");
        let new = NewKey {
            key_id,
            name: "a key".parse().expect("a name"),
            tenant: tenant.parse().expect("a tenant"),
            scopes: Scopes::of_words(scopes),
            expires_at: None,
            digest: digest(&api_key),
            session_of: None,
        };
        self.apply(KeyCommand::Create(new)).expect("made");
        api_key
    }

    pub(crate) fn revoke(&self, api_key: &str) {
        let key_id = key_id_of(api_key).expect("a key");
        self.apply(KeyCommand::Revoke { key_id, of: None }).expect("revoked");
    }

    pub(crate) fn note(&self, act: Act) {
        self.kept().acts.push(act);
    }

    pub(crate) fn apply(&self, command: KeyCommand) -> Result<Reply, Problem> {
        let mut kept = self.kept();
        let now = Timestamp::from_unix_ms(clock::wall_ms());
        let key_id = match command {
            KeyCommand::Create(new) => {
                let key_id = new.key_id.clone();
                kept.records.insert(key_id.clone(), record(new, now));
                key_id
            }
            KeyCommand::Revoke { key_id, .. } => {
                let of = key_id.to_string();
                let is_meant = |record: &&mut KeyRecord| {
                    record.key.key_id == key_id || record.session_of.as_deref() == Some(of.as_str())
                };
                kept.records.values_mut().filter(is_meant).for_each(|record| record.key.revoked_at = Some(now));
                key_id
            }
            KeyCommand::Limit { key_id, of, limits } => {
                kept.limited.push(of.clone());
                let is_meant = |record: &&mut KeyRecord| of.is_none_or(|of| of == record.key.tenant);
                let record = kept.records.get_mut(&key_id).filter(is_meant).ok_or_else(|| unknown_key(&key_id))?;
                record.key.limits = limits;
                key_id
            }
            KeyCommand::Used(_) => return Ok(Reply::Done),
            KeyCommand::Rotate { .. } => return Err(Kind::BadRequest.problem()),
        };
        let known = kept.records.get(&key_id).ok_or_else(|| unknown_key(&key_id))?;
        Ok(Reply::Key(Box::new(known.key.clone())))
    }
}

fn digest(api_key: &str) -> String {
    Sha256::digest(api_key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record(new: NewKey, now: Timestamp) -> KeyRecord {
    let NewKey { key_id, name, tenant, scopes, expires_at, digest, session_of } = new;
    let key = KeyView {
        key_id,
        name,
        tenant,
        scopes,
        created_at: now,
        expires_at,
        rotated_at: None,
        old_secret_until: None,
        revoked_at: None,
        last_used_at: None,
        limits: KeyLimits::default(),
    };
    KeyRecord { key, digest, old_digest: None, session_of }
}

async fn key(State(keyring): State<Keyring>, Path(key_id): Path<KeyId>) -> Response {
    let mut kept = keyring.kept();
    kept.asked += 1;
    if kept.away {
        return Rejection::from(Kind::Unavailable).into_response();
    }
    match kept.records.get(&key_id) {
        Some(record) => Json(record.clone()).into_response(),
        None => Rejection::from(unknown_key(&key_id)).into_response(),
    }
}
