//! The messages on the broker: job bells, invalidations handed in, sequenced invalidation events, canaries. Decoding is tolerant of
//! what a newer version adds, strict about what must be there, and says why it refuses.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{Dispatch, Epoch, JobId, Seq};
use crate::key::{KEY_BYTES_MAX, TaskName};
use crate::namespace;
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// The version written; a reader accepts it and the one before (there is none before 1).
pub const VERSION: u32 = 1;
/// AMQP `type` of a bell.
pub const KIND_BELL: &str = "bell";
/// AMQP `type` of a sequenced invalidation.
pub const KIND_INVALIDATED: &str = "invalidated";
/// AMQP `type` of a message that only proves that its queue confirms. Consumers drop it before anyone sees it.
pub const KIND_CANARY: &str = "canary";
/// Headers that make a bell readable in the management UI.
pub const HEADER_TASK: &str = "x-longshore-task";
pub const HEADER_DISPATCH: &str = "x-longshore-dispatch";
/// W3C trace context of the request that caused the message.
pub const HEADER_TRACE: &str = "traceparent";

/// Longest body that is decoded, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Most keys, and most tags, in one invalidation.
pub const NAMES_MAX: usize = 1_000;

/// Why a message is not ours to handle. The text becomes the header `x-longshore-reason` of the parked message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    #[error("too-large: {bytes} bytes, at most {BODY_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("not-json: {0}")]
    NotJson(String),
    #[error("unknown-version: {0}")]
    UnknownVersion(u64),
    #[error("bad-shape: {0}")]
    BadShape(String),
    #[error("empty: names no key, tag, prefix, nor all")]
    Empty,
    #[error("too-many: {count} {what}, at most {NAMES_MAX}")]
    TooMany { what: &'static str, count: usize },
    #[error("bad-name: each key, tag and prefix has 1 to {KEY_BYTES_MAX} bytes")]
    BadName,
}

impl Rejection {
    /// A stable word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::NotJson(_) => "not-json",
            Self::UnknownVersion(_) => "unknown-version",
            Self::BadShape(_) => "bad-shape",
            Self::Empty => "empty",
            Self::TooMany { .. } => "too-many",
            Self::BadName => "bad-name",
        }
    }
}

/// A bell: this job may be claimed under this dispatch number. The payload stays in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bell {
    pub v: u32,
    pub job_id: JobId,
    pub dispatch: Dispatch,
    pub task: TaskName,
    /// When the job was created: RFC 3339, UTC. An unknown job older than retention is dropped, a younger one parked.
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Bell {
    #[must_use]
    pub fn new(
        job_id: JobId,
        dispatch: Dispatch,
        task: TaskName,
        created_at: Timestamp,
        trace: Option<String>,
    ) -> Self {
        Self { v: VERSION, job_id, dispatch, task, created_at, trace }
    }

    /// # Errors
    /// The reason to park the message with.
    pub fn decode(body: &[u8]) -> Result<Self, Rejection> {
        decode_versioned(body)
    }
}

/// What an invalidation covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Covered {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Covered {
    /// Decodes a message of `cache.invalidate`: `{"key"}`, `{"keys"}`, `{"tags"}`, `{"prefix"}`, `{"all":true}`, also combined. It has no
    /// version of its own: anyone may write it by hand; one that says a version says ours.
    ///
    /// # Errors
    /// The reason to park the message with.
    pub fn decode(body: &[u8]) -> Result<Self, Rejection> {
        #[derive(Deserialize)]
        struct Intake {
            key: Option<String>,
            #[serde(flatten)]
            covered: Covered,
        }
        let value = parse(body)?;
        if value.get("v").is_some() {
            check_version(&value)?;
        }
        let Intake { key, mut covered } = shape(value)?;
        covered.keys.extend(key);
        covered.check()?;
        Ok(covered)
    }

    /// Of one key.
    #[must_use]
    pub fn key(key: impl Into<String>) -> Self {
        Self { keys: vec![key.into()], ..Self::default() }
    }

    /// How many names it has: what it costs to keep and to send.
    #[must_use]
    pub fn names(&self) -> usize {
        self.keys.len() + self.tags.len() + 1
    }

    /// Whether something with this key and these tags is covered.
    #[must_use]
    pub fn covers(&self, key: &str, tags: &[String]) -> bool {
        self.all
            || self.keys.iter().any(|covered| covered == key)
            || self.prefix.as_ref().is_some_and(|prefix| key.starts_with(prefix.as_str()))
            || self.tags.iter().any(|covered| tags.contains(covered))
    }

    /// # Errors
    /// Why it is not acceptable: it covers nothing, too much to name, or a name is out of bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        for (what, names) in [("keys", &self.keys), ("tags", &self.tags)] {
            if names.len() > NAMES_MAX {
                return Err(Rejection::TooMany { what, count: names.len() });
            }
        }
        let mut names = self.keys.iter().chain(&self.tags).chain(&self.prefix).peekable();
        if names.peek().is_none() && !self.all {
            return Err(Rejection::Empty);
        }
        if names.any(|name| name.is_empty() || namespace::public(name).len() > KEY_BYTES_MAX) {
            return Err(Rejection::BadName);
        }
        Ok(())
    }

    /// What a client of the tenant means: of everything, all that is the tenant's.
    ///
    /// # Errors
    /// When a name is none that a client may give.
    pub fn within(self, tenant: &Tenant) -> Result<Self, Rejection> {
        let mut names = self.keys.iter().chain(&self.tags).chain(&self.prefix);
        if !names.all(|name| namespace::is_public(name)) {
            return Err(Rejection::BadName);
        }
        if tenant.is_default() {
            return Ok(self);
        }
        let kept = |name: &str| namespace::within(tenant, name).into_owned();
        let all_kept = |names: &[String]| names.iter().map(|name| kept(name)).collect();
        let prefix = if self.all { Some(kept("")) } else { self.prefix.as_deref().map(kept) };
        Ok(Self { keys: all_kept(&self.keys), tags: all_kept(&self.tags), prefix, all: false })
    }
}

/// A sequenced invalidation, as the sequencer announces it on `cache.invalidated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalidated {
    pub v: u32,
    pub epoch: Epoch,
    pub seq: Seq,
    #[serde(flatten)]
    pub covered: Covered,
}

impl Invalidated {
    #[must_use]
    pub fn new(epoch: Epoch, seq: Seq, covered: Covered) -> Self {
        Self { v: VERSION, epoch, seq, covered }
    }

    /// # Errors
    /// Why the event cannot be used.
    pub fn decode(body: &[u8]) -> Result<Self, Rejection> {
        let event: Self = decode_versioned(body)?;
        event.covered.check()?;
        Ok(event)
    }
}

/// The body for the wire.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have string keys and finite numbers, so they always serialize")
}

fn decode_versioned<T: DeserializeOwned>(body: &[u8]) -> Result<T, Rejection> {
    let value = parse(body)?;
    check_version(&value)?;
    shape(value)
}

fn parse(body: &[u8]) -> Result<serde_json::Value, Rejection> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Rejection::TooLarge { bytes: body.len() });
    }
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| Rejection::NotJson(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(Rejection::BadShape("not an object".to_owned())) }
}

fn check_version(value: &serde_json::Value) -> Result<(), Rejection> {
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(v) if v == u64::from(VERSION) => Ok(()),
        Some(v) => Err(Rejection::UnknownVersion(v)),
        None => Err(Rejection::BadShape("`v` is missing or not a number".to_owned())),
    }
}

fn shape<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Rejection> {
    serde_json::from_value(value).map_err(|error| Rejection::BadShape(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "01890000-0000-7000-8000-000000000001";

    #[test]
    fn bell_survives_the_wire() {
        let bell = Bell::new(
            JOB.parse().expect("id"),
            Dispatch(3),
            TaskName::try_from("report_1").expect("name"),
            "2026-01-02T03:04:05.678Z".parse().expect("time"),
            Some("00-aa-bb-01".to_owned()),
        );
        assert_eq!(Bell::decode(&encode(&bell)), Ok(bell));
    }

    #[test]
    fn bells_are_refused_with_the_reason() {
        let check = |body: &str, label: Option<&str>| {
            assert_eq!(Bell::decode(body.as_bytes()).err().map(|reason| reason.label()), label, "{body}");
        };
        let bell = |v: &str, rest: &str| {
            format!(
                r#"{{"v":{v},"job_id":"{JOB}","dispatch":1,"task":"noop","created_at":"2026-01-02T03:04:05Z"{rest}}}"#
            )
        };
        check(&bell("1", ""), None);
        check(&bell("1", r#","later":{"addition":true}"#), None);
        check(&bell("2", ""), Some("unknown-version"));
        check(&bell("\"1\"", ""), Some("bad-shape"));
        check("", Some("not-json"));
        check("garbage", Some("not-json"));
        check("[1]", Some("bad-shape"));
        check("{}", Some("bad-shape"));
        check(&bell("1", "").replace(JOB, "not-a-uuid"), Some("bad-shape"));
        check(&bell("1", "").replace("\"dispatch\":1", "\"dispatch\":-1"), Some("bad-shape"));
        check(&bell("1", "").replace("noop", ""), Some("bad-shape"));
        check(&bell("1", "").replace("2026-01-02T03:04:05Z", "yesterday"), Some("bad-shape"));
        assert_eq!(Bell::decode(&[0xff, 0xfe]).err().map(|reason| reason.label()), Some("not-json"));
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(Bell::decode(&large), Err(Rejection::TooLarge { bytes: large.len() }));
    }

    #[test]
    fn intake_takes_each_form() {
        let check = |body: &str, expected: Result<Covered, &str>| {
            let found = Covered::decode(body.as_bytes()).map_err(|reason| reason.label());
            assert_eq!(found, expected, "{body}");
        };
        let keys =
            |keys: &[&str]| Covered { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Covered::default() };
        check(r#"{"key":"a"}"#, Ok(keys(&["a"])));
        check(r#"{"keys":["a","b"]}"#, Ok(keys(&["a", "b"])));
        check(r#"{"key":"c","keys":["a"]}"#, Ok(keys(&["a", "c"])));
        check(r#"{"tags":["t"]}"#, Ok(Covered { tags: vec!["t".to_owned()], ..Covered::default() }));
        check(r#"{"prefix":"p/"}"#, Ok(Covered { prefix: Some("p/".to_owned()), ..Covered::default() }));
        check(r#"{"all":true}"#, Ok(Covered { all: true, ..Covered::default() }));
        check(r#"{"all":false}"#, Err("empty"));
        check(r#"{"v":1,"key":"a"}"#, Ok(keys(&["a"])));
        check(r#"{"v":9,"key":"a"}"#, Err("unknown-version"));
        check("{}", Err("empty"));
        check(r#"{"key":7}"#, Err("bad-shape"));
        check(r#"{"key":""}"#, Err("bad-name"));
        check(&format!(r#"{{"key":"{}"}}"#, "x".repeat(257)), Err("bad-name"));
        check("my_data", Err("not-json"));
        let many = serde_json::to_string(&keys(&vec!["k"; 1_001])).expect("json");
        check(&many, Err("too-many"));
    }

    #[test]
    fn event_survives_the_wire() {
        let event = Invalidated::new(Epoch(2), Seq(7), Covered { keys: vec!["a".to_owned()], ..Covered::default() });
        assert_eq!(Invalidated::decode(&encode(&event)), Ok(event));
        assert_eq!(Invalidated::decode(b"{\"v\":1,\"epoch\":1}").err().map(|reason| reason.label()), Some("bad-shape"));
    }
}
