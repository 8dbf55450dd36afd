//! Who calls, and what they may do. Off, everybody may do everything, for the tenant `default`: then only this machine can call.

pub(crate) mod guard;
mod jwt;
mod keys;
pub(crate) mod manage;
pub(crate) mod needs;
mod same_origin;
pub(crate) mod session;
mod settings;
mod token;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chassis::client::StoreClient;
use chassis::clock;
use chassis::http::Rejection;
use chassis::shutdown::Shutdown;
use chassis::task::Tasks;
use http::HeaderMap;
use protocol::access::{Act, KeyId, Scope, Scopes, key_id_of};
use protocol::envelope::Covered;
use protocol::key::{DataKey, Tag};
use protocol::namespace;
use protocol::problem::{Kind, Problem};
use protocol::tenant::Tenant;

pub(crate) use needs::Need;
pub(crate) use settings::{Settings, WhoMay};

use jwt::Tokens;
use keys::Keys;
pub(crate) use token::COOKIE_NAME as SESSION_COOKIE;
use token::{Digest, digest};

/// Whoever calls the program of the first key.
const ADMIN: &str = "admin";
/// With authentication off.
const ANYONE: &str = "anyone";
/// Who has shown nothing, at a route that is open to all.
const NOBODY: &str = "nobody";

static ANYBODY: LazyLock<Arc<Principal>> = LazyLock::new(|| Arc::new(Principal::of(ANYONE, Scopes::all())));
static STRANGER: LazyLock<Arc<Principal>> = LazyLock::new(|| Arc::new(Principal::of(NOBODY, Scopes::default())));

/// Who somebody has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// For the audit log: the id of a key, `admin`, or `jwt:` and a subject.
    pub(crate) who: String,
    pub(crate) tenant: Tenant,
    pub(crate) scopes: Scopes,
    /// The row that a session of the console is.
    pub(crate) session: Option<KeyId>,
    /// Until when it holds, Unix ms.
    pub(crate) ends_ms: Option<i64>,
}

impl Principal {
    fn of(who: &str, scopes: Scopes) -> Self {
        Self { who: who.to_owned(), tenant: Tenant::default(), scopes, session: None, ends_ms: None }
    }

    /// The API key that was shown, or with which the session of the console was begun; `None`: another proof, or none. No other name has the form of
    /// an id.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.who.parse().ok()
    }

    /// The name of data as it is kept for this tenant.
    pub(crate) fn kept<'n>(&self, name: &'n str) -> Cow<'n, str> {
        namespace::within(&self.tenant, name)
    }
}

/// Who makes a request. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    principal: Arc<Principal>,
    /// The client's address, as the balancer saw it.
    from: Option<Arc<str>>,
    /// What operators do is recorded: somebody is known.
    is_known: bool,
}

impl Caller {
    /// With authentication off.
    pub(crate) fn anyone() -> Self {
        Self { principal: ANYBODY.clone(), from: None, is_known: false }
    }

    fn nobody() -> Self {
        Self { principal: STRANGER.clone(), from: None, is_known: true }
    }

    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    pub(crate) fn tenant(&self) -> &Tenant {
        &self.principal.tenant
    }

    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// What is recorded of an action; `None`: nothing is, because nobody is known.
    pub(crate) fn act(&self, action: &str, target: String, request_id: String) -> Option<Act> {
        let from = self.from.as_deref().map(str::to_owned);
        let (who, tenant) = (self.principal.who.clone(), self.principal.tenant.clone());
        self.is_known.then(|| Act { who, tenant, action: action.to_owned(), target, from, request_id })
    }

    /// A data key as it is kept for the caller.
    ///
    /// # Errors
    /// 422 for one that no client may give.
    pub(crate) fn key(&self, key: DataKey, pointer: &str) -> Result<DataKey, Problem> {
        key.within(self.tenant()).map_err(|error| Problem::invalid(pointer, format!("The key {error}.")))
    }

    /// Data keys as they are kept for the caller.
    ///
    /// # Errors
    /// 422 for one that no client may give.
    pub(crate) fn keys(&self, keys: Vec<DataKey>, pointer: &str) -> Result<Vec<DataKey>, Problem> {
        keys.into_iter().map(|key| self.key(key, pointer)).collect()
    }

    /// Tags as they are kept for the caller.
    ///
    /// # Errors
    /// 422 for one that no client may give.
    pub(crate) fn tags(&self, tags: Vec<Tag>) -> Result<Vec<Tag>, Problem> {
        let kept = |tag: Tag| tag.within(self.tenant());
        let kept: Result<_, _> = tags.into_iter().map(kept).collect();
        kept.map_err(|error| Problem::invalid("/tags", format!("A tag {error}.")))
    }

    /// What the caller means to invalidate.
    ///
    /// # Errors
    /// 422 for a name that no client may give.
    pub(crate) fn covered(&self, covered: Covered) -> Result<Covered, Problem> {
        covered.within(self.tenant()).map_err(|reason| Problem::invalid("", reason.to_string()))
    }
}

/// Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access(Option<Arc<Keeper>>);

/// Knows everybody, or asks.
#[derive(Debug)]
struct Keeper {
    /// Of the key in the file that the operator keeps.
    admin: Option<Digest>,
    tokens: Option<Box<Tokens>>,
    keys: Keys,
}

impl Access {
    /// `deadline` is of a question to the store.
    pub(crate) fn start(
        who: WhoMay,
        store: &StoreClient,
        deadline: Duration,
        tasks: &Tasks,
        shutdown: &Shutdown,
    ) -> Self {
        let WhoMay::Known { admin, tokens } = who else { return Self(None) };
        let keys = Keys::new(store.clone(), deadline);
        tasks.spawn("key use", keys.clone().report_use(shutdown.clone()));
        Self(Some(Arc::new(Keeper { admin, tokens, keys })))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Who calls, where no route has demanded that they say it.
    pub(crate) fn unasked(&self) -> Caller {
        if self.is_on() { Caller::nobody() } else { Caller::anyone() }
    }

    /// Who calls, if that is known without asking anybody and is enough for the scope.
    pub(crate) fn at_once(&self, headers: &HeaderMap, scope: Scope) -> Option<Arc<Principal>> {
        let Some(keeper) = &self.0 else { return Some(ANYBODY.clone()) };
        let token = token::of(headers).ok()??;
        keeper.keys.known(&digest(token)).filter(|known| known.scopes.allow(scope))
    }

    /// Who shows this.
    ///
    /// # Errors
    /// 401 if it is not good, 503 if that cannot be found out.
    pub(crate) async fn identify(&self, token: &str) -> Result<Arc<Principal>, Rejection> {
        match &self.0 {
            Some(keeper) => keeper.identify(token).await,
            None => Ok(ANYBODY.clone()),
        }
    }

    /// Lets this gateway forget what it knows of somebody at once; others do within [`keys::FRESH`].
    pub(crate) fn forget(&self) {
        if let Some(keeper) = &self.0 {
            keeper.keys.forget();
        }
    }
}

impl Keeper {
    async fn identify(&self, token: &str) -> Result<Arc<Principal>, Rejection> {
        let digest = digest(token);
        if let Some(known) = self.keys.known(&digest) {
            return Ok(known);
        }
        if self.admin.as_ref().is_some_and(|admin| token::are_same(admin, &digest)) {
            return Ok(self.keys.keep(digest, Principal::of(ADMIN, Scopes::all())));
        }
        if let Some(key_id) = key_id_of(token) {
            return self.keys.look_up(&key_id, digest).await;
        }
        match &self.tokens {
            Some(tokens) if token.contains('.') => Ok(self.keys.keep(digest, tokens.principal(token)?)),
            _ => Err(unknown().into()),
        }
    }
}

/// The answer to a key that is not good, whatever is wrong with it.
fn unknown() -> Problem {
    Kind::Unauthenticated.detail("The key is unknown, was revoked or has expired.")
}

/// Whether something that ends at that instant, Unix ms, is over.
fn is_over(ends_ms: Option<i64>) -> bool {
    ends_ms.is_some_and(|ends_ms| clock::wall_ms() >= ends_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_of_a_key_names_a_key() {
        let check = |who: &str, is_key: bool| {
            let found = Principal::of(who, Scopes::all()).key_id();
            assert_eq!(found.as_ref().map(KeyId::as_str), is_key.then_some(who));
        };
        check("00000000000000ff", true);
        for other in [ADMIN, ANYONE, NOBODY, "jwt:00000000000000ff", "jwt:0000000000ff", "00000000000000FF"] {
            check(other, false);
        }
    }
}
