//! Whose a job is: a tenant's jobs, keys and schedules are as if nobody else's were there.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::problem::Problem;
use crate::queue::Depth;
use crate::time::Timestamp;

/// The header that says for whom a call to the store is made; absent, it is for [`Tenant::default`].
pub const HEADER: &str = "x-longshore-tenant";
/// Longest name of a tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// The tenant of whoever names none.
pub const DEFAULT_NAME: &str = "default";
/// Tenants that there may be.
pub const TENANTS_MAX: usize = 1_000;
/// The largest share.
pub const SHARE_MAX: u32 = 1_000;
/// The most starts per second that can be asked for.
pub const RATE_MAX: u32 = 100_000;
/// Most jobs that a limit may speak of.
pub const JOBS_MAX: u64 = 1_000_000_000;
/// When to come back to a tenant whose jobs wait in the largest number, in s.
pub const FULL_RETRY_AFTER_S: u64 = 5;

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

/// What operators grant a tenant. A limit that is absent is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TenantLimits))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Where jobs of several tenants wait in one queue, starts are divided in the proportion of these.
    #[serde(default = "one")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000, default = 1))]
    pub share: u32,
    /// Jobs that run at once, in all queues together. 0: nothing is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 1_000_000_000))]
    pub running_max: Option<u64>,
    /// Starts per second, in all queues together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub rate_per_second: Option<u32>,
    /// Jobs that wait, queued or scheduled; a further submit is answered 429 `tenant-full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 1_000_000_000))]
    pub queued_max: Option<u64>,
}

fn one() -> u32 {
    1
}

impl Default for Limits {
    fn default() -> Self {
        Self { share: one(), running_max: None, rate_per_second: None, queued_max: None }
    }
}

impl Limits {
    /// # Errors
    /// 422 for a number out of its range.
    pub fn check(self) -> Result<Self, Problem> {
        if !(1..=SHARE_MAX).contains(&self.share) {
            return Err(Problem::invalid("/share", format!("must be from 1 to {SHARE_MAX}")));
        }
        if self.rate_per_second.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            return Err(Problem::invalid("/rate_per_second", format!("must be from 1 to {RATE_MAX}, or absent")));
        }
        for (pointer, jobs) in [("/running_max", self.running_max), ("/queued_max", self.queued_max)] {
            if jobs.is_some_and(|jobs| jobs > JOBS_MAX) {
                return Err(Problem::invalid(pointer, format!("must be from 0 to {JOBS_MAX}, or absent")));
            }
        }
        Ok(self)
    }

    /// Whether starts depend on what the tenant does elsewhere.
    #[must_use]
    pub fn holds_back(self) -> bool {
        self.running_max.is_some() || self.rate_per_second.is_some()
    }
}

/// A tenant as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantView {
    pub tenant: Tenant,
    pub limits: Limits,
    /// Its jobs that have not ended, in all queues.
    pub depth: Depth,
    pub created_at: Timestamp,
}

/// `GET /tenants`, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tenants {
    pub tenants: Vec<TenantView>,
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
    fn limits_are_checked() {
        let check = |json: &str, refused: Option<&str>| {
            let limits: Limits = serde_json::from_str(json).expect(json);
            let pointer = limits.check().err().map(|problem| problem.errors[0].pointer.clone());
            assert_eq!(pointer.as_deref(), refused, "{json}");
        };
        check("{}", None);
        check(r#"{"share":1000,"running_max":0,"rate_per_second":1,"queued_max":0}"#, None);
        check(r#"{"share":0}"#, Some("/share"));
        check(r#"{"share":1001}"#, Some("/share"));
        check(r#"{"rate_per_second":0}"#, Some("/rate_per_second"));
        check(r#"{"rate_per_second":100001}"#, Some("/rate_per_second"));
        check(r#"{"running_max":1000000000,"queued_max":1000000000}"#, None);
        check(r#"{"running_max":1000000001}"#, Some("/running_max"));
        check(r#"{"queued_max":1000000001}"#, Some("/queued_max"));
    }

    #[test]
    fn the_tenant_of_whoever_names_none_has_a_name() {
        assert_eq!(DEFAULT_NAME.parse::<Tenant>(), Ok(Tenant::default()));
        assert!(Tenant::default().is_default());
    }
}
