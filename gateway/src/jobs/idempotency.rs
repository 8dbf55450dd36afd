//! The `Idempotency-Key` header: which job a repeated submit means. Pure.
//!
//! draft-ietf-httpapi-idempotency-key-header-07: a structured-field string (RFC 9651 §3.3.3), `"k"`. A bare word is taken too, because most
//! clients send one.

use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::api::IDEMPOTENCY_KEY_BYTES_MAX;
use protocol::problem::{Kind, Problem};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The stated key, without its quotes.
///
/// # Errors
/// 400 if it is not one string of 1 to 255 characters.
pub(crate) fn key_from_headers(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut stated = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (stated.next(), stated.next());
    match (first, second) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value).map(Some),
        (Some(_), Some(_)) => Err(malformed("was sent more than once")),
    }
}

/// Whether the request names a key, well-formed or not.
pub(super) fn is_stated(headers: &HeaderMap) -> bool {
    headers.contains_key(IDEMPOTENCY_KEY)
}

fn parse(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().map_err(|_| malformed("is not printable ASCII"))?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest).ok_or_else(|| malformed("is not one quoted string"))?,
        None if is_bare(text) => text.to_owned(),
        None => return Err(malformed("is neither a quoted string nor one word")),
    };
    match key.len() {
        0 => Err(malformed("is empty")),
        bytes if bytes > IDEMPOTENCY_KEY_BYTES_MAX => Err(malformed("is longer than 255 bytes")),
        _ => Ok(key),
    }
}

/// The text up to the closing quote, which must be the end.
fn unquote(text: &str) -> Option<String> {
    let mut key = String::with_capacity(text.len());
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(key),
            '\\' => match characters.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                _ => return None,
            },
            character => key.push(character),
        }
    }
}

fn is_bare(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';'))
}

fn malformed(what: &str) -> Problem {
    Kind::BadRequest
        .detail(format!("The header Idempotency-Key {what}; it must be a string such as \"k\", of 1 to 255 bytes."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_lines(lines: &[&[u8]]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(line).expect("header value"));
        }
        key_from_headers(&headers).map_err(|problem| problem.status)
    }

    #[test]
    fn keys_are_strings_or_bare_words() {
        let check = |line: &str, expected: Result<&str, u16>| {
            let expected = expected.map(|key| Some(key.to_owned()));
            assert_eq!(parse_lines(&[line.as_bytes()]), expected, "{line}");
        };
        check("\"k\"", Ok("k"));
        check("k", Ok("k"));
        check("  \"a b, c; d\" ", Ok("a b, c; d"));
        check(r#""say \"hi\" \\""#, Ok(r#"say "hi" \"#));
        check("8e03978e-40d5-43dd-bc93-6894a57f9324", Ok("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        for bad in ["", "\"\"", "\"k", "k\"", "\"k\" x", "\"k\", \"l\"", "a b", "a,b", "\"\\n\"", "\"k\";p=1"] {
            check(bad, Err(400));
        }
        check(&"x".repeat(255), Ok(&"x".repeat(255)));
        check(&"x".repeat(256), Err(400));
    }

    #[test]
    fn a_key_is_stated_once_or_not_at_all() {
        assert_eq!(parse_lines(&[]), Ok(None));
        assert_eq!(parse_lines(&[b"a", b"a"]), Err(400));
        assert_eq!(parse_lines(&["ü".as_bytes()]), Err(400));
    }
}
