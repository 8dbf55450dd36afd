//! Who may do what: scopes, API keys as people and gateways see them, and the record of what operators did.

mod audit;
mod keys;

use serde::{Deserialize, Serialize};

pub use audit::{Act, AuditEntry, AuditPage, Audited, OUTCOME_DONE, act_of};
pub use keys::{
    CreateKey, IssuedKey, KEY_PREFIX, KEYS_MAX, KeyCommand, KeyId, KeyIdError, KeyLimits, KeyName, KeyPage, KeyRecord,
    KeyView, NewKey, OVERLAP_MS_DEFAULT, OVERLAP_MS_MAX, RotateKey, key_id_of, unknown_key,
};

/// One thing that a key may be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submit jobs.
    Submit,
    /// Read: jobs, queues, schedules, data.
    Read,
    /// Take jobs as a worker, and say how they ended.
    Work,
    /// Change what is there: cancel, retry, drop, pause, schedules, data, invalidations.
    Operate,
    /// Everything, and keys and the audit log.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 5] = [Self::Submit, Self::Read, Self::Work, Self::Operate, Self::Admin];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Work => "work",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of scopes. On the wire it is a list, in a row words separated by spaces.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = Vec<Scope>))]
pub struct Scopes(u8);

impl Scopes {
    /// Whoever may do everything.
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// `admin` is good for everything.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }

    /// The words of a text; those that name no scope are good for nothing.
    #[must_use]
    pub fn of_words(text: &str) -> Self {
        text.split_ascii_whitespace().filter_map(Scope::named).collect()
    }

    #[must_use]
    pub fn words(self) -> String {
        self.iter().map(Scope::name).collect::<Vec<_>>().join(" ")
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

impl std::fmt::Debug for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_allows_what_it_names_and_admin_everything() {
        let check = |words: &str, allowed: &[Scope]| {
            let scopes = Scopes::of_words(words);
            let found: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| scopes.allow(*scope)).collect();
            assert_eq!(found, allowed, "{words}");
            assert_eq!(Scopes::of_words(&scopes.words()), scopes);
            let wire = serde_json::to_string(&scopes).expect("a list");
            assert_eq!(serde_json::from_str::<Scopes>(&wire).ok(), Some(scopes), "{wire}");
        };
        check("", &[]);
        check("read", &[Scope::Read]);
        check("operate  submit", &[Scope::Submit, Scope::Operate]);
        check("admin", &Scope::ALL);
        check("root Read reader", &[]);
    }
}
