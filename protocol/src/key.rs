//! Checked names: a data key, a queue, a task. A value of these types has passed its rule.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::namespace;
use crate::tenant::Tenant;
use crate::topology::RESERVED_QUEUES;

/// Longest data key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest unique key, in bytes.
pub const UNIQUE_KEY_BYTES_MAX: usize = 255;
/// Longest name of a queue, a task, a schedule or a webhook, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Why a name was refused; the text is made for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    #[error("must not be empty")]
    Empty,
    #[error("is {bytes} bytes long, at most {max} are allowed")]
    TooLong { bytes: usize, max: usize },
    #[error("must not contain control characters")]
    Control,
    #[error("may contain letters, digits, '.', '_', '-' and ':' only")]
    Charset,
    #[error("is reserved")]
    Reserved,
    #[error("must be written type/subtype, with or without parameters")]
    MediaType,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:ident, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(pattern = $pattern))]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The key of a data entry: any text of 1 to 256 bytes without control characters.
    DataKey,
    check_key,
    r"^[^\x00-\x1f\x7f-\x9f]{1,256}$"
);
name_type!(
    /// What data entries are invalidated by together: any text of 1 to 256 bytes without control characters.
    Tag,
    check_key,
    r"^[^\x00-\x1f\x7f-\x9f]{1,256}$"
);
name_type!(
    /// A media type as it stands in `Content-Type` (RFC 9110 §8.3.1): `type/subtype`, perhaps parameters; 1 to 128 bytes of ASCII.
    MediaType,
    check_media_type,
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+ *(;[ -~]*)?$"
);
name_type!(
    /// What a job is unique by while it has not ended: any text of 1 to 255 bytes without control characters.
    UniqueKey,
    check_unique_key,
    r"^[^\x00-\x1f\x7f-\x9f]{1,255}$"
);
name_type!(
    /// A queue: it names the broker queue `jobs.{queue}`, so its letters are few.
    QueueName,
    check_queue,
    r"^[A-Za-z0-9._:-]{1,128}$"
);
name_type!(
    /// A task: what a worker is asked to do.
    TaskName,
    check_name,
    r"^[A-Za-z0-9._:-]{1,128}$"
);
name_type!(
    /// A schedule.
    ScheduleName,
    check_name,
    r"^[A-Za-z0-9._:-]{1,128}$"
);
name_type!(
    /// A webhook.
    WebhookName,
    check_name,
    r"^[A-Za-z0-9._:-]{1,128}$"
);
name_type!(
    /// What a worker that pulls calls itself: any text of 1 to 128 bytes without control characters.
    WorkerName,
    check_worker,
    r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"
);

/// Of a key or a tag, as its tenant knows it or as it is kept.
fn check_key(text: &str) -> Result<(), NameError> {
    check_text(namespace::public(text), KEY_BYTES_MAX)
}

macro_rules! kept_by_tenant {
    ($($name:ident),+) => {
        $(impl $name {
            /// As it is kept for the tenant.
            ///
            /// # Errors
            /// When it is no name that a client may give.
            pub fn within(self, tenant: &Tenant) -> Result<Self, NameError> {
                match namespace::is_public(&self.0) {
                    true if tenant.is_default() => Ok(self),
                    true => Ok(Self(namespace::within(tenant, &self.0).into_owned())),
                    false => Err(NameError::Control),
                }
            }

            /// As its tenant knows it.
            #[must_use]
            pub fn public(&self) -> Self {
                Self(namespace::public(&self.0).to_owned())
            }
        })+
    };
}

kept_by_tenant!(DataKey, Tag);

fn check_unique_key(text: &str) -> Result<(), NameError> {
    check_text(text, UNIQUE_KEY_BYTES_MAX)
}

fn check_text(text: &str, bytes_max: usize) -> Result<(), NameError> {
    check_length(text, bytes_max)?;
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

fn check_name(text: &str) -> Result<(), NameError> {
    check_length(text, NAME_BYTES_MAX)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if text.chars().all(allowed) { Ok(()) } else { Err(NameError::Charset) }
}

fn check_queue(text: &str) -> Result<(), NameError> {
    check_name(text)?;
    if RESERVED_QUEUES.contains(&text) { Err(NameError::Reserved) } else { Ok(()) }
}

fn check_worker(text: &str) -> Result<(), NameError> {
    check_length(text, NAME_BYTES_MAX)?;
    if text.chars().any(char::is_control) { Err(NameError::Control) } else { Ok(()) }
}

fn check_media_type(text: &str) -> Result<(), NameError> {
    check_length(text, NAME_BYTES_MAX)?;
    let is_token = |part: &str| {
        let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        !part.is_empty() && part.chars().all(of_token)
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_visible = text.chars().all(|c| matches!(c, ' '..='~'));
    let named = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if is_visible && named { Ok(()) } else { Err(NameError::MediaType) }
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        bytes if bytes > max => Err(NameError::TooLong { bytes, max }),
        _ => Ok(()),
    }
}

/// What tasks a worker runs: an exact name, or a prefix written `name*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TaskPattern {
    Exact(String),
    Prefix(String),
}

impl TaskPattern {
    #[must_use]
    pub fn matches(&self, task: &str) -> bool {
        match self {
            Self::Exact(name) => name == task,
            Self::Prefix(prefix) => task.starts_with(prefix.as_str()),
        }
    }
}

impl TryFrom<String> for TaskPattern {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::Prefix(String::new())),
            Some(prefix) => check_name(prefix).map(|()| Self::Prefix(prefix.to_owned())),
            None => check_name(&text).map(|()| Self::Exact(text)),
        }
    }
}

impl From<TaskPattern> for String {
    fn from(pattern: TaskPattern) -> Self {
        pattern.to_string()
    }
}

impl std::fmt::Display for TaskPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_names_are_checked() {
        let check = |text: &str, key: Option<NameError>, name: Option<NameError>| {
            assert_eq!(DataKey::try_from(text).err(), key, "key {text:?}");
            assert_eq!(TaskName::try_from(text).err(), name, "name {text:?}");
        };
        check("report_1", None, None);
        check("a key with spaces / ü", None, Some(NameError::Charset));
        check("", Some(NameError::Empty), Some(NameError::Empty));
        check("a\nb", Some(NameError::Control), Some(NameError::Charset));
        let long = "x".repeat(257);
        check(
            &long,
            Some(NameError::TooLong { bytes: 257, max: 256 }),
            Some(NameError::TooLong { bytes: 257, max: 128 }),
        );
    }

    #[test]
    fn media_types_are_checked() {
        let check = |text: &str, accepted: bool| assert_eq!(MediaType::try_from(text).is_ok(), accepted, "{text:?}");
        check("image/png", true);
        check("text/plain; charset=utf-8", true);
        check("application/vnd.api+json", true);
        check("png", false);
        check("image/", false);
        check("a b/c", false);
        check("image/png\r\nx: y", false);
        check(&format!("text/{}", "x".repeat(128)), false);
    }

    #[test]
    fn patterns_match_by_name_or_prefix() {
        let check = |pattern: &str, task: &str, expected: bool| {
            let pattern = TaskPattern::try_from(pattern.to_owned()).expect("valid pattern");
            assert_eq!(pattern.matches(task), expected, "{pattern} against {task}");
        };
        check("report_*", "report_1", true);
        check("report_*", "report_", true);
        check("report_*", "reports", false);
        check("noop", "noop", true);
        check("noop", "noop2", false);
        check("*", "anything", true);
    }
}
