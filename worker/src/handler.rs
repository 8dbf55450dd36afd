//! What a handler is and how it fails.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use protocol::api::ErrorKind;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::context::JobContext;

/// Why an attempt failed. Any error type turns into one with `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    pub message: String,
    /// Whether another attempt could end differently.
    pub may_retry: bool,
    /// The next attempt should not come earlier than this; the store has a bound.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that may be gone at the next attempt.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, message: message.into(), may_retry: true, retry_after: None }
    }

    /// A failure that every attempt would meet: the job fails at once.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { may_retry: false, ..Self::new(message) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        // `{:#}` keeps the causes: "reading the image: no such file".
        Self::new(format!("{:#}", error.into()))
    }
}

/// The result of a job: JSON as it will be stored.
pub type Output = Box<RawValue>;
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Output, Failure>> + Send>>;

/// Runs one attempt at a job. The future is dropped when the handler should end and did not within its grace, so whatever
/// it does must be safe to end at an `.await`; after a crash it runs again.
pub trait Handler: Send + Sync + 'static {
    fn run(&self, job: JobContext) -> HandlerFuture;
}

/// Closures are handlers: `|job| async move { Ok(value) }`, whatever serializes to JSON.
impl<F, Fut, T> Handler for F
where
    F: Fn(JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Serialize + 'static,
{
    fn run(&self, job: JobContext) -> HandlerFuture {
        let future = self(job);
        Box::pin(async move { output(&future.await?) })
    }
}

/// A value as a job's result.
pub(crate) fn output<T: Serialize>(value: &T) -> Result<Output, Failure> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Failure::permanent(format!("the result cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn any_error_becomes_a_failure_with_its_causes() {
        fn attempt() -> Result<(), Failure> {
            let number: Result<u32, _> = "x".parse::<u32>().context("reading the size");
            number?;
            Ok(())
        }
        let failure = attempt().expect_err("x is no number");
        assert_eq!(failure.message, "reading the size: invalid digit found in string");
        assert!(failure.may_retry);
    }
}
