//! What a reader asks for beyond the value: to see its own write, and whether it takes a stale answer rather than none.

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;
use protocol::cache_api::{AtLeast, TOKEN_HEADER};
use protocol::ids::Place;
use protocol::problem::{Kind, Problem};

use crate::conditional::members;

/// The demands of one read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) at_least: AtLeast,
    /// If there is no other answer, one that has been stale for so long at most.
    pub(super) stale_if_error: Option<Duration>,
}

impl Demand {
    /// # Errors
    /// 400 for a token that no write returned.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { at_least: at_least(headers)?, stale_if_error: stale_if_error(headers) })
    }
}

/// The token that is shown.
///
/// # Errors
/// 400 if no write returned it.
pub(super) fn at_least(headers: &HeaderMap) -> Result<AtLeast, Problem> {
    let Some(token) = headers.get(TOKEN_HEADER) else { return Ok(AtLeast(None)) };
    let place: Option<Place> = token.to_str().ok().and_then(|text| text.parse().ok());
    let detail = "Longshore-Token is none that a write has returned.";
    Ok(AtLeast(Some(place.ok_or_else(|| Kind::BadRequest.detail(detail))?)))
}

/// `Cache-Control: stale-if-error=SECONDS` (RFC 5861 §4). What is not understood asks for nothing.
fn stale_if_error(headers: &HeaderMap) -> Option<Duration> {
    let seconds = members(headers, CACHE_CONTROL).find_map(|directive| directive.strip_prefix("stale-if-error="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// For which keys stale answers may be given at all, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StalePolicy {
    by_prefix: Vec<(String, Duration)>,
}

impl StalePolicy {
    /// `PREFIX=SECONDS`, separated by commas; the longest prefix counts, an empty one is every key. Returns the part at fault.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (prefix, seconds) = part.rsplit_once('=')?;
            Some((prefix.trim().to_owned(), Duration::from_secs(seconds.trim().parse().ok()?)))
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let by_prefix = parts.map(|text| part(text).ok_or_else(|| text.to_owned())).collect::<Result<_, _>>()?;
        Ok(Self { by_prefix })
    }

    /// How long an answer may have been stale: no longer than the client and the owner of the data agree to.
    pub(super) fn permits(&self, key: &str, asked: Option<Duration>) -> Option<Duration> {
        let matching = self.by_prefix.iter().filter(|(prefix, _)| key.starts_with(prefix.as_str()));
        let (_, permitted) = matching.max_by_key(|(prefix, _)| prefix.len())?;
        asked.map(|asked| asked.min(*permitted))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a header's value"),
        )])
    }

    #[test]
    fn demands_are_read_from_the_head() {
        let token = "42-00000000-0000-0000-0000-000000000007";
        let demand = Demand::of(&headers("longshore-token", token)).expect("accepted");
        assert_eq!(demand.at_least, AtLeast(token.parse().ok()));
        assert!(Demand::of(&headers("longshore-token", "42")).is_err());
        let check = |value: &str, expected: Option<u64>| {
            let demand = Demand::of(&headers("cache-control", value)).expect("accepted");
            assert_eq!(demand.stale_if_error, expected.map(Duration::from_secs), "{value}");
        };
        check("stale-if-error=60", Some(60));
        check("max-age=0, stale-if-error=5", Some(5));
        check("no-cache", None);
        check("stale-if-error=soon", None);
    }

    #[test]
    fn both_sides_agree_to_a_stale_answer() {
        let policy = StalePolicy::parse("catalog:=300, catalog:hot:=5").expect("accepted");
        let check = |key: &str, asked: Option<u64>, expected: Option<u64>| {
            let permitted = policy.permits(key, asked.map(Duration::from_secs));
            assert_eq!(permitted, expected.map(Duration::from_secs), "{key}");
        };
        check("catalog:a", Some(60), Some(60));
        check("catalog:a", Some(600), Some(300));
        check("catalog:hot:a", Some(60), Some(5));
        check("catalog:a", None, None);
        check("other", Some(60), None);
        let every = StalePolicy::parse("=10").expect("accepted");
        assert_eq!(every.permits("a", Some(Duration::from_secs(60))), Some(Duration::from_secs(10)));
        assert_eq!(StalePolicy::parse("a=1,b"), Err("b".to_owned()));
    }
}
