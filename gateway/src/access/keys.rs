//! Keys as a gateway knows them: asked of the store, and remembered for a few seconds, so that a revoked key is soon no good anywhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::client::{Call, Error, StoreClient};
use chassis::clock;
use chassis::http::Rejection;
use chassis::shutdown::Shutdown;
use protocol::access::{KeyCommand, KeyId, KeyRecord};
use protocol::problem::Kind;
use protocol::store_api::Command;
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use quick_cache::sync::Cache;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::token::{Digest, hexadecimal};
use super::{Principal, is_over, unknown};
use crate::store::{Repeat, apply_all};

/// For so long a key is good without the store being asked again: the bound within which a revoked one is refused everywhere.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// While the store does not answer, what it said last holds so long.
const GRACE: Duration = Duration::from_secs(60);
/// Keys and tokens that are remembered.
const KNOWN_MAX: usize = 10_000;
/// Questions to the store at once: whoever shows keys that nobody has must not take the place of all other reads.
const QUESTIONS_MAX: usize = 64;
/// How often the store is told which keys were used.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: StoreClient,
    deadline: Duration,
    /// By the digest of what was shown: the time that a look-up takes says nothing about any secret.
    known: Cache<Digest, Arc<Known>>,
    questions: Semaphore,
    /// When each was used last, Unix ms, since the last report. Held for one step, never across an await.
    used: Mutex<HashMap<KeyId, i64>>,
}

#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    /// When it was found good, by the clock of durations.
    at_ms: u64,
}

impl Known {
    fn is_within(&self, bound: Duration) -> bool {
        let age_ms = clock::now_ms().saturating_sub(self.at_ms);
        u128::from(age_ms) < bound.as_millis() && !is_over(self.principal.ends_ms)
    }
}

impl Keys {
    pub(super) fn new(store: StoreClient, deadline: Duration) -> Self {
        let (known, questions) = (Cache::new(KNOWN_MAX), Semaphore::new(QUESTIONS_MAX));
        Self(Arc::new(Inner { store, deadline, known, questions, used: Mutex::default() }))
    }

    /// Whom this proves, as far as that is known.
    pub(super) fn known(&self, digest: &Digest) -> Option<Arc<Principal>> {
        let known = self.0.known.get(digest)?;
        known.is_within(FRESH).then(|| Arc::clone(&known.principal))
    }

    /// Remembers whom it proves.
    pub(super) fn keep(&self, digest: Digest, principal: Principal) -> Arc<Principal> {
        let principal = Arc::new(principal);
        self.0.known.insert(digest, Arc::new(Known { principal: Arc::clone(&principal), at_ms: clock::now_ms() }));
        principal
    }

    pub(super) fn forget(&self) {
        self.0.known.clear();
    }

    /// Asks the store whether the secret is that of the key.
    ///
    /// # Errors
    /// 401 if it is not, 503 if the store does not answer and nothing is remembered.
    pub(super) async fn look_up(&self, key_id: &KeyId, digest: Digest) -> Result<Arc<Principal>, Rejection> {
        let record = match self.ask(key_id).await {
            Ok(record) => record,
            Err(error) if error.kind() == Some(Kind::NotFound) => {
                self.0.known.remove(&digest);
                return Err(unknown().into());
            }
            Err(error) => {
                let remembered = self.0.known.peek(&digest).filter(|known| known.is_within(GRACE));
                return remembered.map(|known| Arc::clone(&known.principal)).ok_or_else(|| error.into());
            }
        };
        let Some(principal) = proved(record, &digest, clock::wall_ms()) else {
            self.0.known.remove(&digest);
            return Err(unknown().into());
        };
        self.used().insert(key_id.clone(), clock::wall_ms());
        Ok(self.keep(digest, principal))
    }

    async fn ask(&self, key_id: &KeyId) -> Result<KeyRecord, Error> {
        let peer = self.0.store.peer();
        let call = Call::get(format!("/keys/{key_id}")).within(self.0.deadline);
        let _turn = self.0.questions.acquire().await;
        peer.call(&call).await?.json().map(|answer| answer.body)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, HashMap<KeyId, i64>> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the store from time to time which keys were used, until the shutdown drains. A hint that is lost is lost.
    pub(super) async fn report_use(self, shutdown: Shutdown) {
        let mut every = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = shutdown.draining() => return,
            }
            let used = std::mem::take(&mut *self.used());
            if used.is_empty() {
                continue;
            }
            let used = used.into_iter().map(|(key_id, at)| (key_id, Timestamp::from_unix_ms(at))).collect();
            let command = vec![Command::Key(KeyCommand::Used(used))];
            let system = Tenant::default();
            let told = apply_all(&self.0.store, command, self.0.deadline, Repeat::WhenUnsure, &system).await;
            if let Err(error) = told {
                tracing::debug!(%error, "the store was not told which keys were used");
            }
        }
    }
}

/// Whom the secret with this digest proves, if it is that of the key.
fn proved(record: KeyRecord, shown: &Digest, now_ms: i64) -> Option<Principal> {
    let KeyRecord { key, digest: present, old_digest, session_of } = record;
    let shown = hexadecimal(shown);
    let is_of = |kept: &str| bool::from(shown.as_bytes().ct_eq(kept.as_bytes()));
    let old_until = key.old_secret_until.map(Timestamp::unix_ms).filter(|until| now_ms < *until);
    let is_old = old_until.is_some() && old_digest.as_deref().is_some_and(is_of);
    let until = match is_of(&present) {
        true => key.expires_at.map(Timestamp::unix_ms),
        false if is_old => [old_until, key.expires_at.map(Timestamp::unix_ms)].into_iter().flatten().min(),
        false => return None,
    };
    if !key.is_good(now_ms) {
        return None;
    }
    let session = session_of.as_ref().map(|_| key.key_id.clone());
    let who = session_of.unwrap_or_else(|| key.key_id.to_string());
    Some(Principal { who, tenant: key.tenant, scopes: key.scopes, session, ends_ms: until })
}

#[cfg(test)]
mod tests {
    use protocol::access::Scope;
    use serde_json::json;

    use super::super::token::digest;
    use super::*;

    #[test]
    fn a_key_is_good_until_it_ends_and_its_old_secret_until_then() {
        let (new, old) = (hexadecimal(&digest("new")), hexadecimal(&digest("old")));
        let record = |expires: Option<&str>, revoked: Option<&str>| -> KeyRecord {
            let mut key = json!({
                "key_id": "00000000000000ff", "name": "n", "tenant": "acme", "scopes": ["read"],
                "created_at": "1970-01-01T00:00:00Z", "old_secret_until": "1970-01-01T00:00:10Z",
            });
            for (name, at) in [("expires_at", expires), ("revoked_at", revoked)] {
                if let Some(at) = at {
                    key[name] = json!(at);
                }
            }
            let record = json!({"key": key, "digest": new, "old_digest": old}).to_string();
            serde_json::from_str(&record).expect("a record")
        };
        let check = |record: KeyRecord, shown: &str, now_ms: i64, ends_ms: Option<Option<i64>>| {
            let found = proved(record, &digest(shown), now_ms).map(|principal| principal.ends_ms);
            assert_eq!(found, ends_ms, "{shown} at {now_ms}");
        };
        check(record(None, None), "new", 0, Some(None));
        check(record(None, None), "old", 9_999, Some(Some(10_000)));
        check(record(None, None), "old", 10_000, None);
        check(record(None, None), "other", 0, None);
        check(record(Some("1970-01-01T00:00:05Z"), None), "new", 4_999, Some(Some(5_000)));
        check(record(Some("1970-01-01T00:00:05Z"), None), "old", 4_999, Some(Some(5_000)));
        check(record(Some("1970-01-01T00:00:05Z"), None), "new", 5_000, None);
        check(record(None, Some("1970-01-01T00:00:00Z")), "new", 0, None);
        let principal = proved(record(None, None), &digest("new"), 0).expect("good");
        assert_eq!((principal.who.as_str(), principal.tenant.as_str()), ("00000000000000ff", "acme"));
        assert!(principal.scopes.allow(Scope::Read) && !principal.scopes.allow(Scope::Submit));
    }
}
