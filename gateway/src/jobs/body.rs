//! What a submit says, checked and completed: the bounds of its fields and the fingerprint of what it means. Pure.

use std::collections::BTreeSet;

use protocol::api::{
    DEFAULT_QUEUE, DELAY_MS_MAX, INVALIDATES_MAX, MAX_ATTEMPTS_DEFAULT, MAX_ATTEMPTS_MAX, Priority, Submit,
    TIMEOUT_MS_MAX,
};
use protocol::etag::fingerprint;
use protocol::ids::JobId;
use protocol::key::{DataKey, QueueName};
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
pub(super) struct Origin {
    pub(super) job_id: JobId,
    pub(super) idempotency_key: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) wants_bell: bool,
    /// Unix time in ms.
    pub(super) now_ms: i64,
}

/// The command that records the job.
///
/// # Errors
/// 422 with every field that is out of bounds.
pub(super) fn to_create(submit: Submit, queues: &[QueueName], origin: Origin) -> Result<Create, Problem> {
    let mut errors = Vec::new();
    let queue = known_queue(submit.queue.as_ref(), queues, &mut errors);
    let max_attempts = submit.max_attempts.unwrap_or(MAX_ATTEMPTS_DEFAULT);
    check_range("/max_attempts", u64::from(max_attempts), 1, u64::from(MAX_ATTEMPTS_MAX), &mut errors);
    if let Some(timeout_ms) = submit.timeout_ms {
        check_range("/timeout_ms", timeout_ms, 1, TIMEOUT_MS_MAX, &mut errors);
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
    };
    let fingerprint = fingerprint(&meaning).map_err(|error| Problem::invalid("/payload", error.to_string()))?;
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
        invalidates: without_repeats(submit.invalidates),
        idempotency_key: origin.idempotency_key,
        trace: origin.trace,
        wants_bell: origin.wants_bell && run_at.is_none() && delay_ms.is_none(),
    })
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
