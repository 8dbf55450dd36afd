//! Where jobs of a queue wait: each tenant has a lane, and each of its API keys that has limits one of its own, so that what these hold back is in
//! nobody's way.

/// How many tenants, and lanes of one of them, the number can tell apart.
const APART: i64 = 1 << 32;

/// Whose jobs wait together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The number of the tenant.
    pub tenant: i64,
    /// 0: all that no key with limits has submitted.
    pub key: i64,
}

impl Lane {
    /// Of what no key with limits has submitted.
    #[must_use]
    pub fn of(tenant: i64) -> Self {
        Self { tenant, key: 0 }
    }

    /// As a number, for a column: a tenant's own lane has that of the tenant.
    #[must_use]
    pub fn number(self) -> i64 {
        self.tenant + self.key * APART
    }

    /// The reverse of [`Lane::number`].
    #[must_use]
    pub fn numbered(number: i64) -> Self {
        Self { tenant: number.rem_euclid(APART), key: number.div_euclid(APART) }
    }

    #[must_use]
    pub fn is_of_a_key(self) -> bool {
        self.key != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_its_number() {
        let check = |lane: Lane, number: i64| {
            assert_eq!(lane.number(), number);
            assert_eq!(Lane::numbered(number), lane);
        };
        check(Lane::of(0), 0);
        check(Lane::of(999), 999);
        check(Lane { tenant: 0, key: 1 }, 1 << 32);
        check(Lane { tenant: 999, key: 1_000_000 }, 1_000_000 * (1 << 32) + 999);
        assert!(Lane { tenant: 1, key: 7 } < Lane::of(2), "the lanes of a tenant stand together");
    }
}
