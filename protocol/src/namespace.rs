//! Where the data of a tenant lie: under keys that no client can name. The tenant `default` has the names as they are.
//!
//! A tenant's key, tag or prefix `price` is kept as `\u{1}acme\u{1}price`; a public name has no control characters.

use std::borrow::Cow;

use crate::tenant::Tenant;

/// Begins and ends the tenant in a name.
const MARK: char = '\u{1}';

/// The name as it is kept.
#[must_use]
pub fn within<'n>(tenant: &Tenant, name: &'n str) -> Cow<'n, str> {
    if tenant.is_default() { Cow::Borrowed(name) } else { Cow::Owned(format!("{MARK}{tenant}{MARK}{name}")) }
}

/// The name as its tenant knows it.
#[must_use]
pub fn public(name: &str) -> &str {
    let of_tenant = name.strip_prefix(MARK).and_then(|rest| rest.split_once(MARK));
    match of_tenant {
        Some((tenant, public)) if tenant.parse::<Tenant>().is_ok() => public,
        _ => name,
    }
}

/// Whether it is a name that a client may give, as far as this goes.
#[must_use]
pub fn is_public(name: &str) -> bool {
    !name.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        let check = |tenant: &str, name: &str, kept: &str| {
            let tenant: Tenant = tenant.parse().expect("a tenant");
            let found = within(&tenant, name);
            assert_eq!((&*found, public(&found)), (kept, name));
            assert_eq!(is_public(&found), tenant.is_default());
        };
        check("default", "price", "price");
        check("acme", "price", "\u{1}acme\u{1}price");
        check("acme", "", "\u{1}acme\u{1}");
        assert_eq!(public("\u{1}Acme\u{1}price"), "\u{1}Acme\u{1}price");
        assert_eq!(public("\u{1}acme"), "\u{1}acme");
    }
}
