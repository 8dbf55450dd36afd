//! Tokens that somebody else signs: JWT (RFC 7519) with HS256 or `EdDSA` (Ed25519), whichever the configured key is for, and nothing else: what a
//! token says about its own algorithm is compared, not followed.

use std::fmt;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult};
use jsonwebtoken::signature::{Error as BadSignature, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Validation, decode};
use protocol::access::Scopes;
use protocol::problem::{Kind, Problem};
use protocol::tenant::Tenant;
use ring::{hmac, signature};
use serde::Deserialize;

use super::Principal;

/// How far the clock of whoever signs may be off, in s.
const LEEWAY_S: u64 = 30;
/// Bytes of a secret for HS256, at least (RFC 7518 §3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// Before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Longest subject, in bytes; more would be copied into each entry of the audit log.
const SUBJECT_BYTES_MAX: usize = 128;

/// Verifies tokens of one signer.
#[derive(Clone)]
pub(crate) struct Tokens {
    key: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("algorithms", &self.validation.algorithms).finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    exp: i64,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    tenant: Tenant,
    /// Words, as RFC 8693 §4.2 has them.
    #[serde(default)]
    scope: String,
}

impl Tokens {
    /// Of a secret that both sides know; `None`: it is too short.
    pub(super) fn hs256(secret: &[u8], audience: &str) -> Option<Self> {
        let key = (secret.len() >= SECRET_BYTES_MIN).then(|| DecodingKey::from_secret(secret).ok())??;
        Some(Self::new(key, Algorithm::HS256, audience))
    }

    /// Of a public key as `openssl pkey -pubout` writes it; `None`: it is none of Ed25519.
    pub(super) fn eddsa(pem: &str, audience: &str) -> Option<Self> {
        use base64::Engine as _;
        let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
        let body: String = body.split_ascii_whitespace().collect();
        let bytes = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
        let raw = bytes.strip_prefix(&ED25519_PREFIX).filter(|raw| raw.len() == 32)?;
        Some(Self::new(DecodingKey::from_ed_der(raw), Algorithm::EdDSA, audience))
    }

    fn new(key: DecodingKey, algorithm: Algorithm, audience: &str) -> Self {
        if CRYPTOGRAPHY.install_default().is_err() {
            tracing::trace!("another gateway of this process has done so");
        }
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        Self { key, validation }
    }

    /// Whom the token proves.
    ///
    /// # Errors
    /// 401 that says what is wrong with it.
    pub(super) fn principal(&self, token: &str) -> Result<Principal, Problem> {
        let claims =
            decode::<Claims>(token, &self.key, &self.validation).map_err(|error| refused(error.kind()))?.claims;
        let subject = claims.sub.unwrap_or_default();
        if subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
            return Err(bad("its subject has more than 128 bytes or control characters"));
        }
        let ends_s = claims.exp.saturating_add_unsigned(LEEWAY_S);
        Ok(Principal {
            who: format!("jwt:{subject}"),
            tenant: claims.tenant,
            scopes: Scopes::of_words(&claims.scope),
            session: None,
            ends_ms: Some(ends_s.saturating_mul(1_000)),
        })
    }
}

fn refused(kind: &ErrorKind) -> Problem {
    bad(match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not yet valid (nbf)",
        ErrorKind::InvalidAudience => "it is for another audience (aud)",
        ErrorKind::MissingRequiredClaim(_) => "it lacks exp or aud",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "it is signed with another algorithm",
        ErrorKind::InvalidSignature => "its signature is not that of the configured key",
        _ => "it is not a token that can be read",
    })
}

fn bad(reason: &str) -> Problem {
    Kind::Unauthenticated.detail(format!("The token is not good: {reason}."))
}

/// The arithmetic is ring's. Nothing is signed here, and no other algorithm is known.
static CRYPTOGRAPHY: CryptoProvider =
    CryptoProvider { signer_factory: no_signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

fn no_signer(_: &Algorithm, _: &EncodingKey) -> JwtResult<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> JwtResult<Box<dyn JwtVerifier>> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => {
            Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.try_get_as_bytes()?))))
        }
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => Ok(Box::new(Ed25519(key.try_get_as_bytes()?.to_vec()))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Hs256(hmac::Key);

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), BadSignature> {
        hmac::verify(&self.0, message, tag).map_err(|_| BadSignature::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct Ed25519(Vec<u8>);

impl Verifier<Vec<u8>> for Ed25519 {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), BadSignature> {
        let key = signature::UnparsedPublicKey::new(&signature::ED25519, &self.0);
        key.verify(message, signed).map_err(|_| BadSignature::new())
    }
}

impl JwtVerifier for Ed25519 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
