//! Signatures by Standard Webhooks (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md): HMAC-SHA256 over
//! `{id}.{timestamp}.{body}` with a secret that both sides know.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

/// Names one message; the same each time that it is sent.
pub const ID_HEADER: &str = "webhook-id";
/// When it is sent, in Unix seconds: receivers refuse what is too old.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// One signature for each secret, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// Secrets that may sign at once: the present one, and those that it takes the place of.
pub const SECRETS_MAX: usize = 4;

const PREFIX: &str = "whsec_";
/// As the specification has them, in bytes.
const BYTES: RangeInclusive<usize> = 24..=64;

/// What signatures are made with; on the wire and in files `whsec_` and base64. Debug does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$"))]
pub struct Secret(Vec<u8>);

/// The text is no secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be whsec_ and the base64 of 24 to 64 bytes: echo whsec_$(head -c 32 /dev/urandom | base64) makes one")]
pub struct NoSecret;

impl Secret {
    /// Of bytes that nobody can guess.
    #[must_use]
    pub fn of(bytes: [u8; 32]) -> Self {
        Self(bytes.to_vec())
    }

    /// `v1,` and the signature in base64.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in [id.as_bytes(), b".", timestamp_s.to_string().as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// What `webhook-signature` says.
#[must_use]
pub fn signatures<'s>(
    secrets: impl IntoIterator<Item = &'s Secret>,
    id: &str,
    timestamp_s: i64,
    body: &[u8],
) -> String {
    let all: Vec<String> = secrets.into_iter().map(|secret| secret.sign(id, timestamp_s, body)).collect();
    all.join(" ")
}

impl TryFrom<String> for Secret {
    type Error = NoSecret;

    fn try_from(text: String) -> Result<Self, NoSecret> {
        let bytes = text.strip_prefix(PREFIX).and_then(|code| STANDARD.decode(code).ok()).ok_or(NoSecret)?;
        if BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(NoSecret) }
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.to_string()
    }
}

/// The secret itself: for whoever is to know it.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secret(text: &str) -> Result<Secret, NoSecret> {
        Secret::try_from(text.to_owned())
    }

    /// The vector of the reference implementations.
    #[test]
    fn signature_is_that_of_standard_webhooks() {
        let secret = secret(TEXT).expect("a secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = Secret::of([7; 32]);
        let both = signatures([&secret, &other], "a", 1, b"");
        assert_eq!(both, format!("{} {}", secret.sign("a", 1, b""), other.sign("a", 1, b"")));
    }

    #[test]
    fn secrets_survive_their_text_and_others_are_refused() {
        assert_eq!(secret(TEXT).expect("a secret").to_string(), TEXT);
        assert_eq!(secret(&Secret::of([7; 32]).to_string()), Ok(Secret::of([7; 32])));
        assert_eq!(format!("{:?}", secret(TEXT)), "Ok(Secret(…))");
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8G", "whsec_????", &long] {
            assert_eq!(secret(bad), Err(NoSecret), "{bad}");
        }
    }
}
