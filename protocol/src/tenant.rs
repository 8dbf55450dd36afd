//! Whose a job is: a tenant's jobs, keys and schedules are as if nobody else's were there.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The header that says for whom a call to the store is made; absent, it is for [`Tenant::default`].
pub const HEADER: &str = "x-longshore-tenant";
/// Longest name of a tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// The tenant of whoever names none.
pub const DEFAULT_NAME: &str = "default";

/// The name of a tenant: 1 to 63 of `a`-`z`, `0`-`9`, `_` and `-`, beginning with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(pattern = r"^[a-z0-9][a-z0-9_-]{0,62}$"))]
pub struct Tenant(String);

/// The text is no name of a tenant.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a tenant is named by 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or a digit")]
pub struct NoTenant;

impl Tenant {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_NAME
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(DEFAULT_NAME.to_owned())
    }
}

impl TryFrom<String> for Tenant {
    type Error = NoTenant;

    fn try_from(text: String) -> Result<Self, NoTenant> {
        let begins = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let goes_on = |byte: u8| begins(byte) || matches!(byte, b'_' | b'-');
        let is_name =
            text.len() <= NAME_BYTES_MAX && text.bytes().next().is_some_and(begins) && text.bytes().all(goes_on);
        if is_name { Ok(Self(text)) } else { Err(NoTenant) }
    }
}

impl std::str::FromStr for Tenant {
    type Err = NoTenant;

    fn from_str(text: &str) -> Result<Self, NoTenant> {
        Self::try_from(text.to_owned())
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_named_by_few_letters() {
        let check = |text: &str, is_name: bool| assert_eq!(text.parse::<Tenant>().is_ok(), is_name, "{text:?}");
        check("default", true);
        check("7", true);
        check("acme-eu_2", true);
        check(&"x".repeat(63), true);
        check("", false);
        check("-acme", false);
        check("_acme", false);
        check("Acme", false);
        check("acme.eu", false);
        check("a b", false);
        check("ä", false);
        check(&"x".repeat(64), false);
    }

    #[test]
    fn the_tenant_of_whoever_names_none_has_a_name() {
        assert_eq!(DEFAULT_NAME.parse::<Tenant>(), Ok(Tenant::default()));
        assert!(Tenant::default().is_default());
    }
}
