//! What a submit says, checked and completed: the bounds of its fields and the fingerprint of what it means. Pure.

use std::collections::BTreeSet;

use protocol::access::KeyId;
use protocol::api::{
    DEFAULT_QUEUE, DELAY_MS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, INVALIDATES_MAX, MAX_ATTEMPTS_DEFAULT, MAX_ATTEMPTS_MAX,
    Priority, START_DEADLINE_MS_MAX, Submit, TIMEOUT_MS_MAX,
};
use protocol::etag::fingerprint;
use protocol::ids::JobId;
use protocol::key::{DataKey, QueueName, UniqueKey};
use protocol::problem::{FieldError, Problem};
use protocol::store_api::Create;
use protocol::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The largest integer up to which all are exact in a double (2^53); canonical JSON (RFC 8785) has doubles only.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// What the rest of a `Create` comes from: who asks, and how.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) job_id: JobId,
    pub(crate) idempotency_key: Option<String>,
    /// The client chose the id.
    pub(crate) is_own_id: bool,
    pub(crate) trace: Option<String>,
    /// The API key that was shown, whose limits the job is held to. Not part of what the submit means.
    pub(crate) key_id: Option<KeyId>,
    pub(crate) wants_bell: bool,
    /// Unix time in ms.
    pub(crate) now_ms: i64,
}

/// The command that records the job.
///
/// # Errors
/// 422 with every field that is out of bounds.
pub(crate) fn to_create(submit: Submit, queues: &[QueueName], origin: Origin) -> Result<Create, Problem> {
    let mut errors = Vec::new();
    let queue = known_queue(submit.queue.as_ref(), queues, &mut errors);
    let max_attempts = submit.max_attempts.unwrap_or(MAX_ATTEMPTS_DEFAULT);
    check_range("/max_attempts", u64::from(max_attempts), 1, u64::from(MAX_ATTEMPTS_MAX), &mut errors);
    if let Some(timeout_ms) = submit.timeout_ms {
        check_range("/timeout_ms", timeout_ms, 1, TIMEOUT_MS_MAX, &mut errors);
    }
    if let Some(start_deadline_ms) = submit.start_deadline_ms {
        check_range("/start_deadline_ms", start_deadline_ms, 1, START_DEADLINE_MS_MAX, &mut errors);
    }
    let run_at = due(submit.delay_ms, submit.run_at, origin.now_ms, &mut errors);
    let delay_ms = submit.delay_ms.filter(|delay_ms| *delay_ms > 0);
    if submit.invalidates.len() > INVALIDATES_MAX {
        let detail = format!("has {} keys, at most {INVALIDATES_MAX} are allowed", submit.invalidates.len());
        errors.push(FieldError::new("/invalidates", detail));
    }
    let payload = parse_payload(submit.payload.as_deref(), &mut errors);
    let (Some(queue), true) = (queue, errors.is_empty()) else {
        return Err(Problem::invalid_fields(errors));
    };
    let fingerprint = if origin.is_own_id || origin.idempotency_key.is_some() {
        let meaning = Meaning {
            task: submit.task.as_str(),
            payload: exact(payload),
            queue: queue.as_str(),
            priority: submit.priority,
            delay_ms: submit.delay_ms.unwrap_or(0),
            run_at: submit.run_at,
            max_attempts,
            timeout_ms: submit.timeout_ms,
            invalidates: &submit.invalidates,
            start_deadline_ms: submit.start_deadline_ms,
            unique_key: submit.unique_key.as_ref(),
        };
        fingerprint(&meaning).map_err(|error| Problem::invalid("/payload", error.to_string()))?
    } else {
        String::new()
    };
    Ok(Create {
        job_id: origin.job_id,
        fingerprint,
        task: submit.task,
        payload: submit.payload,
        queue,
        priority: submit.priority,
        run_at,
        delay_ms,
        max_attempts,
        timeout_ms: submit.timeout_ms,
        start_deadline_ms: submit.start_deadline_ms,
        invalidates: without_repeats(submit.invalidates),
        unique_key: submit.unique_key,
        idempotency_key: origin.idempotency_key,
        trace: origin.trace,
        key_id: origin.key_id,
        wants_bell: origin.wants_bell && run_at.is_none() && delay_ms.is_none(),
    })
}

/// The names that an item of a batch gives its job.
///
/// # Errors
/// 422 if there are two, or the key could not stand in a header.
pub(super) fn take_names(submit: &mut Submit) -> Result<(Option<JobId>, Option<String>), Problem> {
    let (job_id, key) = (submit.job_id.take(), submit.idempotency_key.take());
    let fault = match &key {
        Some(_) if job_id.is_some() => Some("must not be given together with job_id, which names the job already"),
        Some(key) if !is_header_text(key) => Some("must have 1 to 255 printable ASCII characters"),
        _ => None,
    };
    match fault {
        Some(fault) => Err(Problem::invalid("/idempotency_key", fault)),
        None => Ok((job_id, key)),
    }
}

/// A key in a batch and one in a header are the same key.
fn is_header_text(key: &str) -> bool {
    let is_printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(is_printable)
}

/// Only an item of a batch names its job in the body.
///
/// # Errors
/// 422 that says where the name belongs.
pub(super) fn refuse_names(submit: &Submit) -> Result<(), Problem> {
    let elsewhere = [
        ("/job_id", submit.job_id.is_some(), "belongs into the path: PUT /jobs/{id}"),
        ("/idempotency_key", submit.idempotency_key.is_some(), "belongs into the header Idempotency-Key"),
    ];
    let stated = elsewhere.into_iter().filter(|(_, is_stated, _)| *is_stated);
    let errors: Vec<FieldError> = stated.map(|(pointer, _, detail)| FieldError::new(pointer, detail)).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// What makes two submits the same one: the fields with their defaults, as the client meant them.
#[derive(Serialize)]
struct Meaning<'a> {
    task: &'a str,
    payload: Value,
    queue: &'a str,
    priority: Priority,
    delay_ms: u64,
    run_at: Option<Timestamp>,
    max_attempts: u32,
    timeout_ms: Option<u64>,
    invalidates: &'a [DataKey],
    // What came later is left out when it was not said, so that keys given before it came still name their jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_key: Option<&'a UniqueKey>,
}

fn known_queue(stated: Option<&QueueName>, known: &[QueueName], errors: &mut Vec<FieldError>) -> Option<QueueName> {
    let name = stated.map_or(DEFAULT_QUEUE, QueueName::as_str);
    let found = known.iter().find(|queue| queue.as_str() == name).cloned();
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(QueueName::as_str).collect();
        let stated = if stated.is_some() { "" } else { ", which is meant when none is named," };
        let detail = format!("there is no queue `{name}`{stated}; the queues are {}", names.join(", "));
        errors.push(FieldError::new("/queue", detail));
    }
    found
}

/// The stated time, unless it has passed; a delay is left to the store, whose clock counts it.
fn due(
    delay_ms: Option<u64>,
    run_at: Option<Timestamp>,
    now_ms: i64,
    errors: &mut Vec<FieldError>,
) -> Option<Timestamp> {
    let latest_ms = now_ms.saturating_add_unsigned(DELAY_MS_MAX);
    match (delay_ms, run_at) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::new("/run_at", "must not be given together with delay_ms"));
            None
        }
        (Some(delay_ms), None) => {
            check_range("/delay_ms", delay_ms, 0, DELAY_MS_MAX, errors);
            None
        }
        (None, Some(run_at)) => {
            if run_at.unix_ms() > latest_ms {
                errors.push(FieldError::new("/run_at", "must be within 366 days from now"));
            }
            (run_at.unix_ms() > now_ms).then_some(run_at)
        }
        (None, None) => None,
    }
}

fn check_range(pointer: &str, value: u64, min: u64, max: u64, errors: &mut Vec<FieldError>) {
    if !(min..=max).contains(&value) {
        errors.push(FieldError::new(pointer, format!("is {value}, but must be {min} to {max}")));
    }
}

/// The payload as a value: it was JSON when it came, but may be nested too deep for anyone to read.
fn parse_payload(raw: Option<&RawValue>, errors: &mut Vec<FieldError>) -> Value {
    let Some(raw) = raw else { return Value::Null };
    serde_json::from_str(raw.get()).unwrap_or_else(|error| {
        errors.push(FieldError::new("/payload", format!("cannot be read: {error}")));
        Value::Null
    })
}

/// Integers that a double would round become text, so that two ids which differ in their last digit stay two.
fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64()) {
            Some(magnitude) if magnitude > EXACT_INTEGER_MAX => Value::String(format!("integer {number}")),
            _ => Value::Number(number),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(exact).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, exact(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

fn without_repeats(keys: Vec<DataKey>) -> Vec<DataKey> {
    let mut seen = BTreeSet::new();
    keys.into_iter().filter(|key| seen.insert(key.clone())).collect()
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
