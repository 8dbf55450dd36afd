//! Errors as clients see them: RFC 9457 problems with stable types.
//!
//! The catalogue is closed and public: a client may match on `type`. A 5xx carries fixed text, because what went wrong inside
//! belongs into the log, not into an answer.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Media type of every error body.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What every `type` starts with; the catalogue's name follows.
const TYPE_PREFIX: &str = "urn:longshore:problem:";

/// One error, as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:longshore:problem:<name>`, stable.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub type_uri: Cow<'static, str>,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub title: Cow<'static, str>,
    /// The answer's status.
    pub status: u16,
    /// For people; its words may change.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub detail: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What is wrong where, when the request itself is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Members beyond the standard ones, for example `durable` or `head`.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

/// One fault of a request. The pointer is RFC 6901; of a query parameter it is `/` and the parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    pub pointer: String,
    pub detail: String,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:literal, $title:literal, $detail:literal;)+) => {
        /// The stable problem types.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// All of them, in the order of their statuses.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),+];

            /// The last part of the type URI.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),+ }
            }

            pub const fn status(self) -> u16 {
                match self { $(Kind::$kind => $status),+ }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title),+ }
            }

            /// The text of an answer that says nothing more precise; of a 5xx, always.
            pub const fn default_detail(self) -> &'static str {
                match self { $(Kind::$kind => $detail),+ }
            }

            const fn type_uri(self) -> &'static str {
                match self { $(Kind::$kind => concat!("urn:longshore:problem:", $name)),+ }
            }
        }
    };
}

catalogue! {
    BadJson = "bad-json", 400, "Not JSON", "The body is not well-formed JSON.";
    BadRequest = "bad-request", 400, "Bad request", "The request is malformed.";
    /// The caller showed no key or token, or one that is not good (any more).
    Unauthenticated = "unauthenticated", 401, "Not authenticated", "Send a key that is good: Authorization: Bearer KEY.";
    /// The extension `scope` says which scope the caller's key lacks.
    MissingScope = "missing-scope", 403, "Scope missing", "The key is not good for this.";
    /// A page of another origin made the browser ask.
    ForeignOrigin = "foreign-origin", 403, "Foreign origin", "A page of another origin may change nothing here.";
    /// Unknown id, unknown route, absent key.
    NotFound = "not-found", 404, "Not found", "There is nothing here.";
    NotFinished = "not-finished", 404, "Not finished", "The job has not ended yet, so it has no result.";
    NoResult = "no-result", 404, "No result", "The job ended without a result.";
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed", "This resource does not support the method; see Allow.";
    RequestTimeout = "request-timeout", 408, "Request timeout", "The body did not arrive in time.";
    Conflict = "conflict", 409, "Conflict", "The request does not fit the present state.";
    /// The extensions `job_id` and `links` say which job holds the key.
    UniqueConflict = "unique-conflict", 409, "Unique key held", "Another job with this unique key has not ended.";
    /// The store does not know the worker's session: register and repeat the call.
    UnknownSession = "unknown-session", 409, "Unknown session", "The session is not known; register it and repeat the call.";
    Gone = "gone", 410, "Gone", "It existed and its retention has ended.";
    /// It ended, and its retention has ended or it was purged.
    JobExpired = "job-expired", 410, "Job expired", "The job has ended and is no longer kept.";
    /// The lease ended, or its job did: whatever its holder still says changes nothing.
    LeaseLost = "lease-lost", 410, "Lease lost", "The lease has ended; the job may have another owner or have ended.";
    /// The cursor lies before the log's start; the extension `head` says where to go on after reading afresh.
    LogTrimmed = "log-trimmed", 410, "Log trimmed", "The log no longer reaches back to this cursor.";
    PreconditionFailed = "precondition-failed", 412, "Precondition failed", "The stated precondition does not hold.";
    PayloadTooLarge = "payload-too-large", 413, "Payload too large", "The body is larger than the limit.";
    UriTooLong = "uri-too-long", 414, "URI too long", "The request target is longer than the limit.";
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type", "The body must be application/json.";
    Invalid = "invalid", 422, "Invalid request", "The request is well-formed but not acceptable; see errors.";
    IdempotencyMismatch = "idempotency-mismatch", 422, "Idempotency key reused", "The idempotency key was used with another body.";
    RateLimited = "rate-limited", 429, "Too many requests", "Over the limit; try again later.";
    QueueFull = "queue-full", 429, "Queue full", "The queue has as many open jobs as it may; try again later.";
    /// The limit of the tenant's own jobs, wherever they wait.
    TenantFull = "tenant-full", 429, "Tenant full", "As many jobs of this tenant wait as may; try again later.";
    HeadersTooLarge = "headers-too-large", 431, "Headers too large", "The request head is larger than the limit.";
    Internal = "internal", 500, "Internal error", "Something went wrong on our side.";
    NotImplemented = "not-implemented", 501, "Not implemented", "This is not supported.";
    BadGateway = "bad-gateway", 502, "Bad gateway", "A part behind this one gave no usable answer.";
    /// A required part is away, or too much is asked at once.
    Unavailable = "unavailable", 503, "Unavailable", "The service cannot answer now; try again later.";
    TooManyConnections = "too-many-connections", 503, "Too many connections", "All connections are in use; try again later.";
    /// The write is done, its acknowledgement is not: the extension `durable` is true.
    FenceTimeout = "fence-timeout", 503, "Fence timeout", "Not every cache has acknowledged the invalidation in time.";
    NotSequencer = "not-sequencer", 503, "Not the sequencer", "This cache stands by; another one is the sequencer.";
    GatewayTimeout = "gateway-timeout", 504, "Gateway timeout", "A part behind this one did not answer in time.";
}

impl Kind {
    /// The kind named by a type URI, if it is one of ours.
    pub fn from_type_uri(uri: &str) -> Option<Kind> {
        let name = uri.strip_prefix(TYPE_PREFIX)?;
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The kind that says no more than the status does.
    pub fn from_status(status: u16) -> Kind {
        match status {
            400 => Kind::BadRequest,
            403 => Kind::MissingScope,
            409 => Kind::Conflict,
            410 => Kind::Gone,
            422 => Kind::Invalid,
            404 => Kind::NotFound,
            503 => Kind::Unavailable,
            _ => match Kind::ALL.iter().find(|kind| kind.status() == status) {
                Some(kind) => *kind,
                None if status >= 500 => Kind::Internal,
                None => Kind::BadRequest,
            },
        }
    }

    pub fn problem(self) -> Problem {
        Problem {
            type_uri: Cow::Borrowed(self.type_uri()),
            title: Cow::Borrowed(self.title()),
            status: self.status(),
            detail: Cow::Borrowed(self.default_detail()),
            instance: None,
            errors: Vec::new(),
            extensions: Map::new(),
        }
    }

    /// A problem with its own text. A 5xx keeps the fixed one.
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        let mut problem = self.problem();
        if self.status() < 500 {
            problem.detail = detail.into();
        }
        problem
    }
}

impl Problem {
    /// A 422 for one field.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem::invalid_fields(vec![FieldError::new(pointer, detail)])
    }

    /// A 422 for several fields at once.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Problem {
        Problem { errors, ..Kind::Invalid.problem() }
    }

    /// The catalogue's entry, if the type is one of ours.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_type_uri(&self.type_uri)
    }

    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Problem {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// How long the client should wait before it tries again; becomes `Retry-After` on the way out.
    #[must_use]
    pub fn retry_after_s(self, seconds: u64) -> Problem {
        self.with("retry_after_s", seconds)
    }

    /// What `Retry-After` should say. Every 429 and 503 has one.
    pub fn retry_after(&self) -> Option<u64> {
        let stated = self.extensions.get("retry_after_s").and_then(Value::as_u64);
        stated.or(matches!(self.status, 429 | 503).then_some(1))
    }
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { pointer: pointer.into(), detail: detail.into() }
    }
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Problem {
        kind.problem()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)?;
        for error in &self.errors {
            write!(f, " [{} {}]", error.pointer, error.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_type_and_survives_the_wire() {
        for kind in Kind::ALL {
            let problem = kind.problem().with("durable", true);
            let wire = serde_json::to_string(&problem).unwrap();
            let back: Problem = serde_json::from_str(&wire).unwrap();
            assert_eq!(back, problem);
            assert_eq!(back.kind(), Some(*kind));
            assert_eq!(Kind::from_status(kind.status()).status(), kind.status());
        }
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn server_errors_keep_their_fixed_text() {
        assert_eq!(Kind::Internal.detail("password=secret").detail, Kind::Internal.default_detail());
        assert_eq!(Kind::NotFound.detail("no job 7").detail, "no job 7");
    }

    #[test]
    fn the_wire_form_is_rfc_9457() {
        let problem = Problem::invalid("/task", "missing");
        let expected = serde_json::json!({
            "type": "urn:longshore:problem:invalid",
            "title": "Invalid request",
            "status": 422,
            "detail": "The request is well-formed but not acceptable; see errors.",
            "errors": [{"pointer": "/task", "detail": "missing"}],
        });
        assert_eq!(serde_json::to_value(&problem).unwrap(), expected);
    }

    #[test]
    fn overload_always_says_when_to_come_back() {
        assert_eq!(Kind::Unavailable.problem().retry_after(), Some(1));
        assert_eq!(Kind::RateLimited.problem().retry_after_s(7).retry_after(), Some(7));
        assert_eq!(Kind::NotFound.problem().retry_after(), None);
    }
}
