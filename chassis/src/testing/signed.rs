//! Checks signatures of Standard Webhooks by the definitions themselves (HMAC of RFC 2104, base64 of RFC 4648), not by the code that makes them.

use http::HeaderMap;
use sha2::{Digest, Sha256};

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BLOCK: usize = 64;

/// Whether exactly these secrets (`whsec_…`) have signed this, in this order, within five minutes of now (Unix seconds).
///
/// # Errors
/// What is wrong.
pub fn signed_by(secrets: &[&str], headers: &HeaderMap, body: &[u8], now_s: i64) -> Result<(), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(format!("no {name}"));
    let (id, sent_s, told) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let age_s = now_s - sent_s.parse::<i64>().map_err(|_| format!("the timestamp {sent_s}"))?;
    if age_s.abs() > 300 {
        return Err(format!("it is {age_s} s old"));
    }
    let message = [id.as_bytes(), b".", sent_s.as_bytes(), b".", body].concat();
    let sign = |secret: &&str| hmac(&base64(secret.trim_start_matches("whsec_")), &message);
    let expected: Vec<Vec<u8>> = secrets.iter().map(sign).collect();
    let found: Option<Vec<Vec<u8>>> = told.split(' ').map(|one| one.strip_prefix("v1,").map(base64)).collect();
    if found == Some(expected) { Ok(()) } else { Err(format!("the signature {told}")) }
}

fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let hash = |pad: u8, message: &[u8]| {
        let key = secret.iter().copied().chain(std::iter::repeat(0)).take(BLOCK);
        let padded: Vec<u8> = key.map(|byte| byte ^ pad).chain(message.iter().copied()).collect();
        Sha256::digest(padded).to_vec()
    };
    hash(0x5c, &hash(0x36, message))
}

/// What is no letter counts as none, and spoils the rest.
fn base64(text: &str) -> Vec<u8> {
    let values = text.trim_end_matches('=').chars().filter_map(|letter| LETTERS.find(letter));
    let bits: Vec<usize> = values.flat_map(|value| (0..6).rev().map(move |bit| value >> bit & 1)).collect();
    let byte = |bits: &[usize]| bits.iter().fold(0_u8, |sum, bit| sum << 1 | u8::from(*bit == 1));
    bits.chunks_exact(8).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the reference implementations.
    #[test]
    fn the_reference_is_accepted_and_others_are_not() {
        let headers = |signature: &'static str| {
            let fields = [
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ];
            let field = |(name, value): (&'static str, &'static str)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            };
            fields.into_iter().map(field).collect::<HeaderMap>()
        };
        const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        const BODY: &[u8] = br#"{"test": 2432232314}"#;
        let right = headers("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let now_s = 1_614_265_400;
        assert_eq!(signed_by(&[SECRET], &right, BODY, now_s), Ok(()));
        assert!(signed_by(&[SECRET], &right, b"{}", now_s).is_err());
        assert!(signed_by(&[SECRET], &right, BODY, now_s + 400).is_err());
        assert!(signed_by(&[SECRET, SECRET], &right, BODY, now_s).is_err());
        let wrong = headers("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=");
        assert!(signed_by(&[SECRET], &wrong, BODY, now_s).is_err());
    }
}
