//! Entity tags and fingerprints: hashes of bytes, so that a change that did not go through us still changes them.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A strong entity tag (RFC 9110 §8.8.3) of a representation, with its quotes.
#[must_use]
pub fn entity_tag(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut tag = String::with_capacity(34);
    tag.push('"');
    push_hex(&mut tag, hash.get(..16).unwrap_or_default());
    tag.push('"');
    tag
}

/// SHA-256 in hex of the canonical JSON (RFC 8785) of a value: equal for requests that mean the same.
///
/// # Errors
/// When the value is not representable as JSON (a map key that is not a string, a number out of range).
pub fn fingerprint(value: &impl Serialize) -> serde_json::Result<String> {
    let canonical = serde_json_canonicalizer::to_vec(value)?;
    let mut hex = String::with_capacity(64);
    push_hex(&mut hex, &Sha256::digest(&canonical));
    Ok(hex)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_of_the_meaning_not_of_the_text() {
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("valid JSON");
        let check = |left: &str, right: &str, equal: bool| {
            let of = |text: &str| fingerprint(&parse(text)).expect("canonical");
            assert_eq!(of(left) == of(right), equal, "{left} and {right}");
        };
        check(r#"{"a":1,"b":[1.0]}"#, r#"{ "b":[1], "a":1 }"#, true);
        check(r#"{"a":1}"#, r#"{"a":2}"#, false);
    }

    #[test]
    fn entity_tag_is_quoted_and_follows_the_bytes() {
        assert_eq!(entity_tag(b"a"), entity_tag(b"a"));
        assert_ne!(entity_tag(b"a"), entity_tag(b"b"));
        assert_eq!(entity_tag(b"a").len(), 34);
    }
}
