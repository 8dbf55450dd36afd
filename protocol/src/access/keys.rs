//! API keys. A key is `lsk_ID_SECRET`; what is kept of the secret is its SHA-256.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Scopes;
use crate::problem::{Kind, Problem};
use crate::tenant::{Limits, Tenant};
use crate::time::Timestamp;

/// What every key begins with, so that people and programs that look for lost secrets know one.
pub const KEY_PREFIX: &str = "lsk_";
/// Keys of one system that have neither ended nor been revoked, sessions of the console among them.
pub const KEYS_MAX: u32 = 10_000;
/// How long the old secret stays good beside a new one unless it is said, and at most, in ms.
pub const OVERLAP_MS_DEFAULT: u64 = 24 * 3_600 * 1_000;
pub const OVERLAP_MS_MAX: u64 = 90 * 24 * 3_600 * 1_000;
/// Digits of an id, hexadecimal.
const ID_DIGITS: usize = 16;
/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Names a key; it is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(pattern = r"^[0-9a-f]{16}$"))]
pub struct KeyId(String);

/// The text is no id of a key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("an id of a key has 16 hexadecimal digits")]
pub struct KeyIdError;

impl KeyId {
    /// Of random bits.
    #[must_use]
    pub fn of(bits: u64) -> Self {
        Self(format!("{bits:016x}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == ID_DIGITS && text.bytes().all(is_digit) { Ok(Self(text)) } else { Err(KeyIdError) }
    }
}

impl std::str::FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which key a text claims to be; `None`: it has not the form of a key.
#[must_use]
pub fn key_id_of(text: &str) -> Option<KeyId> {
    let (id, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('_')?;
    if secret.is_empty() { None } else { id.parse().ok() }
}

/// What a key is called by people: any text of 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"))]
pub struct KeyName(String);

impl KeyName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if is_name { Ok(Self(text)) } else { Err("must have 1 to 128 bytes and no control characters") }
    }
}

impl std::str::FromStr for KeyName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

/// `POST /keys`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What people call it: whose it is, what for.
    pub name: KeyName,
    pub scopes: Scopes,
    /// Whose jobs and data it is for; the caller's own tenant unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// From when on it is not good any more; never, unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// `POST /keys/{id}/rotate`
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old secret stays good beside the new one; a day unless it is said, at most 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_ms: Option<u64>,
}

/// `PUT /keys/{id}/limits`: what the jobs that are submitted with a key may have, within what its tenant may. A limit that is absent is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyLimits {
    /// Jobs that run at once, in all queues together. 0: nothing is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 1_000_000_000))]
    pub running_max: Option<u64>,
    /// Starts per second, in all queues together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub rate_per_second: Option<u32>,
}

impl KeyLimits {
    /// # Errors
    /// 422 for a number out of its range.
    pub fn check(self) -> Result<Self, Problem> {
        Limits::from(self).check().map(|_| self)
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl From<KeyLimits> for Limits {
    fn from(KeyLimits { running_max, rate_per_second }: KeyLimits) -> Self {
        Self { running_max, rate_per_second, ..Self::default() }
    }
}

/// A key as it is shown: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyView {
    pub key_id: KeyId,
    pub name: KeyName,
    pub tenant: Tenant,
    pub scopes: Scopes,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
    /// Until then the secret that it had before is good, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// About, and only as far as it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "KeyLimits::is_none")]
    pub limits: KeyLimits,
}

impl KeyView {
    /// Whether it is good for anything at that instant, Unix ms.
    #[must_use]
    pub fn is_good(&self, now_ms: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now_ms < end.unix_ms())
    }
}

/// `GET /keys`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyPage {
    pub keys: Vec<KeyView>,
    /// `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
}

/// A key with its secret, which is shown this once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedKey {
    /// The whole key: what goes behind `Authorization: Bearer`.
    pub api_key: String,
    pub key: KeyView,
}

/// `GET /keys/{id}` at the store: what a gateway compares a secret with. Digests are SHA-256 of the whole key, in hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    pub key: KeyView,
    pub digest: String,
    /// Of the secret that it had before, good until [`KeyView::old_secret_until`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_digest: Option<String>,
    /// It is a session of the console, begun by this caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_of: Option<String>,
}

/// What is done to keys. Each may be repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyCommand {
    Create(NewKey),
    /// The present secret becomes the old one.
    Rotate {
        key_id: KeyId,
        /// Only a key of this tenant.
        of: Option<Tenant>,
        digest: String,
        overlap_ms: u64,
    },
    /// It, and the sessions that were begun with it.
    Revoke {
        key_id: KeyId,
        of: Option<Tenant>,
    },
    /// What the jobs submitted with it may have from now on.
    Limit {
        key_id: KeyId,
        of: Option<Tenant>,
        limits: KeyLimits,
    },
    /// When keys were used last: hints.
    Used(Vec<(KeyId, Timestamp)>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewKey {
    pub key_id: KeyId,
    pub name: KeyName,
    pub tenant: Tenant,
    pub scopes: Scopes,
    pub expires_at: Option<Timestamp>,
    pub digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_of: Option<String>,
}

/// The answer about a key that is not there, or is another tenant's.
#[must_use]
pub fn unknown_key(key_id: &KeyId) -> Problem {
    Kind::NotFound.detail(format!("There is no key {key_id}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_which_it_is() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(key_id_of(text).as_ref().map(KeyId::as_str), expected, "{text}");
        };
        check("lsk_00000000000000ff_c2VjcmV0", Some("00000000000000ff"));
        check("lsk_00000000000000ff_a_b-c", Some("00000000000000ff"));
        for other in ["", "lsk_", "lsk_00000000000000ff", "lsk_00000000000000ff_", "lsk_ff_x", "lsk_00000000000000FF_x"]
        {
            check(other, None);
        }
        assert_eq!(KeyId::of(255).as_str(), "00000000000000ff");
    }
}
