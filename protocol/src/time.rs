//! Wall-clock instants as people and clients see them. Nothing that must be ordered or measured uses them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Unix time in ms; on every wire it is RFC 3339 in UTC with three decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = DateTime))]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 instant.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("must be an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// `unix_ms` outside the years −9999 to 9999 is brought to the nearer end.
    #[must_use]
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        let (min, max) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
        Self(unix_ms.clamp(min, max))
    }

    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let instant = jiff::Timestamp::from_millisecond(self.0).expect("kept within jiff's range");
        write!(f, "{instant:.3}")
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self(instant.as_millisecond()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(instant: Timestamp) -> Self {
        instant.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_is_rfc3339_utc_with_milliseconds() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(expected.to_owned()));
        };
        check("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z");
        check("2026-01-31T14:00:00.5+02:00", "2026-01-31T12:00:00.500Z");
        assert_eq!("tomorrow".parse::<Timestamp>(), Err(TimestampError));
    }
}
