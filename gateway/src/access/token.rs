//! What a caller shows: a key or a token in `Authorization`, or the session of the console in a cookie.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use protocol::problem::{Kind, Problem};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The cookie of the console.
pub(crate) const COOKIE_NAME: &str = "longshore-session";

/// SHA-256 of the whole key. A slow hash would protect secrets that people choose; a key has 256 random bits, which nobody can guess through any hash,
/// and it is looked at with each request.
pub(super) type Digest = [u8; 32];

pub(super) fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// Compared in a time that says nothing about where they differ.
pub(super) fn are_same(one: &Digest, other: &Digest) -> bool {
    one.ct_eq(other).into()
}

pub(super) fn hexadecimal(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is shown; `None`: nothing.
///
/// # Errors
/// 401 for something in `Authorization` that is not ours.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut stated = headers.get_all(AUTHORIZATION).iter();
    let malformed = || Kind::Unauthenticated.detail("The header Authorization must be sent once and say: Bearer KEY.");
    match (stated.next(), stated.next()) {
        (None, _) => Ok(of_cookie(headers)),
        (Some(value), None) => value.to_str().ok().and_then(bearer).map(Some).ok_or_else(malformed),
        (Some(_), Some(_)) => Err(malformed()),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn of_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_shown_is_found() {
        let check = |lines: &[(HeaderName, &'static str)], expected: Result<Option<&str>, u16>| {
            let headers = headers(lines);
            assert_eq!(of(&headers).map_err(|problem| problem.status), expected, "{lines:?}");
        };
        check(&[], Ok(None));
        check(&[(AUTHORIZATION, "Bearer k")], Ok(Some("k")));
        check(&[(AUTHORIZATION, "bearer  k")], Ok(Some("k")));
        check(&[(AUTHORIZATION, "Bearer k"), (COOKIE, "longshore-session=s")], Ok(Some("k")));
        check(&[(COOKIE, "a=b; longshore-session=s; c=d")], Ok(Some("s")));
        check(&[(COOKIE, "a=b"), (COOKIE, "longshore-session=s")], Ok(Some("s")));
        check(&[(COOKIE, "xlongshore-session=s")], Ok(None));
        for bad in ["k", "Basic dXNlcjpwYXNz", "Bearer", "Bearer "] {
            check(&[(AUTHORIZATION, bad)], Err(401));
        }
        check(&[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer b")], Err(401));
    }

    #[test]
    fn digests_are_compared_and_shown() {
        let (one, other) = (digest("a"), digest("b"));
        assert!(are_same(&one, &digest("a")) && !are_same(&one, &other));
        assert_eq!(hexadecimal(&digest("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
