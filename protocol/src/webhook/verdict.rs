//! What the answer to something that was sent means: done, again later, or never.

use crate::retry::Backoff;
use crate::time::Timestamp;

/// A receiver may ask for this long a wait at most, in ms.
pub const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// What a status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Done,
    /// It may go better later: 408, 425, 429 and 5xx.
    Again,
    /// The same request will always be answered so. Redirects belong here: they are not followed.
    Never,
    /// 410: nobody wants any of this any more.
    Gone,
}

impl Verdict {
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Done,
            408 | 425 | 429 | 500..=599 => Self::Again,
            410 => Self::Gone,
            _ => Self::Never,
        }
    }
}

/// What `Retry-After` asks for, in seconds or as a date (RFC 9110 §10.2.3), within its bound.
#[must_use]
pub fn retry_after_ms(field: &str, now: Timestamp) -> Option<u64> {
    let wait_ms = match field.trim().parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(field.trim()).ok()?;
            u64::try_from(date.timestamp().as_millisecond() - now.unix_ms()).unwrap_or(0)
        }
    };
    Some(wait_ms.min(RETRY_AFTER_MS_MAX))
}

/// The wait before a delivery is sent again after its n-th attempt: half of min(max, base × 2^(n−1)), and up to as much again ("equal jitter" of the
/// AWS Architecture Blog, "Exponential Backoff And Jitter"), so that a receiver that comes back is not met by all at once, nor by any at once.
#[must_use]
pub fn resend_wait_ms(backoff: Backoff, attempts: u32, random: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(32);
    let half_ms = backoff.base_ms.saturating_mul(1 << doublings).min(backoff.max_ms) / 2;
    half_ms + random % (half_ms + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_a_verdict() {
        let check = |status: u16, expected: Verdict| assert_eq!(Verdict::of(status), expected, "{status}");
        check(200, Verdict::Done);
        check(204, Verdict::Done);
        for again in [408, 425, 429, 500, 503, 599] {
            check(again, Verdict::Again);
        }
        for never in [100, 301, 400, 401, 404, 413, 422, 600] {
            check(never, Verdict::Never);
        }
        check(410, Verdict::Gone);
    }

    #[test]
    fn waits_double_and_are_never_less_than_half() {
        let backoff = Backoff { base_ms: 4_000, max_ms: 60_000 };
        let check = |attempts: u32, half_ms: u64| {
            assert_eq!(resend_wait_ms(backoff, attempts, 0), half_ms, "after {attempts}");
            assert_eq!(resend_wait_ms(backoff, attempts, half_ms), 2 * half_ms, "after {attempts}");
        };
        check(1, 2_000);
        check(2, 4_000);
        check(4, 16_000);
        check(5, 30_000);
        check(1_000, 30_000);
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_within_its_bound() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().expect("a time");
        let check = |field: &str, expected: Option<u64>| assert_eq!(retry_after_ms(field, now), expected, "{field}");
        check("0", Some(0));
        check(" 7 ", Some(7_000));
        check("99999999999", Some(RETRY_AFTER_MS_MAX));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30_000));
        check("Sun, 06 Nov 1994 08:40:00 GMT", Some(0));
        check("Mon, 07 Nov 1994 08:49:37 GMT", Some(RETRY_AFTER_MS_MAX));
        check("soon", None);
        check("-1", None);
    }
}
