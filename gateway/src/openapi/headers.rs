//! The headers of requests and answers, each described once.

use serde_json::Value;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Header, Required};

macro_rules! request_headers {
    ($($(#[doc = $doc:literal])+ $type:ident = $name:literal, $pattern:literal, $example:literal;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) enum $type {}

        impl IntoParams for $type {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![request_header($name, concat!($($doc),+), $pattern, $example)]
            }
        }
    )+};
}

request_headers! {
    /// `wait=N`: hold the answer until the job has ended, N seconds at most (more than 30 are 30).
    Prefer = "Prefer", "", "wait=5";
    /// `wait=N`: hold the answer until there is a job to take, N seconds at most (more than 30 are 30).
    PreferJob = "Prefer", "", "wait=20";
    /// Names the request: a repeat under the same key gets what the first one did. A string of RFC 9651, or one bare word.
    IdempotencyKey = "Idempotency-Key",
        r#"^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-+\--:<-\[\]-~]{1,255})$"#, "\"monday\"";
    /// The answer is 304 if this is still its `ETag`.
    IfNoneMatch = "If-None-Match", "", "\"92c06c03ae33c12a42a7c9a8e50f41eb\"";
    /// Write only if the value has this `ETag`, or with `*`, if there is one. Not together with `If-None-Match`.
    OnlyIfMatch = "If-Match", r#"^ *(\*|(W/)?"[!#-+\--~]*")( *, *(\*|(W/)?"[!#-+\--~]*"))*$"#,
        "\"7b21aec0f41d39a60ae4f354b4d61558\"";
    /// Write only if the value has another `ETag`, or with `*`, if there is none. Not together with `If-Match`.
    OnlyIfNoneMatch = "If-None-Match", r#"^ *(\*|(W/)?"[!#-+\--~]*")( *, *(\*|(W/)?"[!#-+\--~]*"))*$"#, "*";
    /// The `id` of the last event that was seen: the stream goes on after it.
    LastEventId = "Last-Event-ID", "", "42-01a20a58-5aed-71dd-9413-992d42aa0679";
    /// The token that a write returned: the answer has that write in it, or a later one.
    Token = "Longshore-Token", "^[0-9]{1,18}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "42-01a20a58-5aed-71dd-9413-992d42aa0679";
    /// `stale-if-error=SECONDS`: rather than none, an answer that was current at most so long ago, where the operator permits it.
    StaleIfError = "Cache-Control", "", "stale-if-error=60";
    /// The tags of the data (RFC 9875), at most 32 strings.
    CacheGroups = "Cache-Groups", r#"^"[ !#-+\--\[\]-~]{1,100}"( *, *"[ !#-+\--\[\]-~]{1,100}"){0,31}$"#, "\"prices\"";
}

fn request_header(name: &str, description: &str, pattern: &str, example: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    // What is ignored when it is malformed has none.
    let schema = if pattern.is_empty() { schema } else { schema.pattern(Some(pattern)) };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description.trim()))
        .schema(Some(schema))
        .example(Some(Value::from(example)))
        .build()
}

/// Headers of answers: the annotations name them, and this says what they mean.
const OF_ANSWERS: &[(&str, Type, &str)] = &[
    ("Age", Type::Integer, "Seconds since the value was read from the store."),
    ("Allow", Type::String, "The methods that the resource supports."),
    ("Cache-Control", Type::String, "`no-cache`: ask again before it is used again."),
    (
        "Cache-Status",
        Type::String,
        "Which cache answered (RFC 9211); the first member is the one closest to the store.",
    ),
    ("Content-Security-Policy", Type::String, "What the page may load: files of this origin, and nothing else."),
    ("ETag", Type::String, "Changes with whatever changes the answer."),
    ("Idempotent-Replayed", Type::Boolean, "`true`: the idempotency key was used before, and this is that job."),
    ("Location", Type::String, "Where to go on."),
    ("Longshore-Token", Type::String, "A read that carries it is answered with this write or a later one."),
    ("Preference-Applied", Type::String, "What of `Prefer` was honoured."),
    ("Retry-After", Type::Integer, "When to come back, in seconds."),
    ("Vary", Type::String, "The request headers that choose between answers."),
    (
        "WWW-Authenticate",
        Type::String,
        "How to say who calls (RFC 6750); not of `foreign-origin`, which no key changes.",
    ),
    ("X-Request-Id", Type::String, "The request's own, or a new one; it is in the logs, too."),
];

/// What every answer carries.
pub(super) const REQUEST_ID: &str = "X-Request-Id";

/// The description of a header of an answer; `None` if nobody wrote one.
pub(super) fn of_answer(name: &str) -> Option<Header> {
    let (_, of_type, description) = OF_ANSWERS.iter().find(|(known, ..)| *known == name)?;
    let mut header = Header::new(ObjectBuilder::new().schema_type(of_type.clone()));
    header.description = Some((*description).to_owned());
    Some(header)
}
