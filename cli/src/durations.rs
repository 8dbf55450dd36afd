//! Durations and instants as people write and read them. Pure.

use protocol::time::Timestamp;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `500ms`, `30s`, `15m`, `2h`, `1d`, in ms.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let value = digits.parse::<u64>().ok();
    let ms = value.zip(factor).and_then(|(value, factor)| value.checked_mul(factor));
    ms.ok_or_else(|| "must be a number with a unit: 500ms, 30s, 15m, 2h, 1d".to_owned())
}

/// `0.4 s`, `12 s`, `5 min`, `3 h`, `2 days`.
pub(crate) fn show_ms(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// The time between two instants; zero if they are the other way round.
pub(crate) fn between_ms(from: Timestamp, to_unix_ms: i64) -> u64 {
    u64::try_from(to_unix_ms.saturating_sub(from.unix_ms())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_ms(text).ok(), expected, "{text}");
        check("500ms", Some(500));
        check("30s", Some(30_000));
        check("15m", Some(900_000));
        check("2h", Some(7_200_000));
        check("1d", Some(86_400_000));
        check("0s", Some(0));
        for bad in ["", "10", "s", "1.5s", "-1s", "1 s", "1w", "99999999999999999999s", "9999999999999999d", "1ss"] {
            check(bad, None);
        }
    }

    #[test]
    fn durations_are_shown_with_two_digits_or_so() {
        let check = |ms: u64, expected: &str| assert_eq!(show_ms(ms), expected);
        check(0, "0.0 s");
        check(449, "0.4 s");
        check(9_999, "9.9 s");
        check(12_345, "12 s");
        check(300_000, "5 min");
        check(10_800_000, "3 h");
        check(200_000_000, "2 days");
    }
}
