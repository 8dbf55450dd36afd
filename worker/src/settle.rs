//! What the store is told about an attempt that has ended. Pure.

use protocol::api::{ErrorKind, JobError, RESULT_BYTES_MAX};
use protocol::store_api::Outcome;

use crate::context::StopReason;
use crate::handler::{Failure, Output};

/// How an attempt ended here.
#[derive(Debug)]
pub struct Ended {
    /// Why it was asked to stop, if it was.
    pub stopped: Option<StopReason>,
    /// What the handler returned; `None`: it was ended before it returned.
    pub returned: Option<Result<Output, Failure>>,
}

/// What to tell the store.
#[derive(Clone, Debug)]
pub enum Word {
    /// This is how the attempt ended.
    Complete(Outcome),
    /// Take it back; the attempt is not counted.
    Release,
    /// It goes on elsewhere: who has its lease is not this worker any more.
    HandOver,
    /// Nothing: it already belongs to somebody else.
    Nothing,
}

impl Word {
    /// The outcome's name in log and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Complete(Outcome::Succeeded { .. }) => "succeeded",
            Self::Complete(Outcome::Failed { error, .. }) => match error.kind {
                ErrorKind::Failed | ErrorKind::Crashed | ErrorKind::Deadline => "failed",
                ErrorKind::Timeout => "timeout",
                ErrorKind::Panic => "panic",
            },
            Self::Release => "released",
            Self::HandOver => "handed-over",
            Self::Nothing => "lost",
        }
    }
}

/// `timeout_ms` is what the attempt was allowed.
#[must_use]
pub fn settle(ended: Ended, timeout_ms: u64) -> Word {
    let Ended { stopped, returned } = ended;
    match (stopped, returned) {
        // Whatever it did, the job is somebody else's by now or will be.
        (Some(StopReason::LeaseLost), _) => Word::Nothing,
        (Some(StopReason::LeaseUnrenewed), _) => Word::Release,
        // Time is a promise: a result that came during the grace is late all the same.
        (Some(StopReason::Timeout), returned) => {
            let last_words = returned.and_then(Result::err).map(|failure| format!("; {}", failure.message));
            let message = format!("took longer than {timeout_ms} ms{}", last_words.unwrap_or_default());
            failed(Failure { kind: ErrorKind::Timeout, ..Failure::new(message) })
        }
        (_, Some(Ok(result))) => succeeded(result),
        // The store ends a job that was asked to end as `cancelled`, whatever failure its attempt met.
        (Some(StopReason::Cancelled), returned) => {
            let failure = returned.and_then(Result::err).unwrap_or_else(|| Failure::new("ended on request"));
            failed(Failure { may_retry: false, ..failure })
        }
        (Some(StopReason::Draining), _) => Word::Release,
        (None, Some(Err(failure))) => failed(failure),
        (None, None) => Word::Release,
    }
}

/// What to say of a job that somebody else has taken on, whatever this worker was asked meanwhile: a request to end is told to whoever keeps the
/// lease now.
#[must_use]
pub fn handed_over(stopped: Option<StopReason>) -> Word {
    match stopped {
        Some(StopReason::LeaseLost) => Word::Nothing,
        _ => Word::HandOver,
    }
}

fn succeeded(result: Output) -> Word {
    let bytes = result.get().len();
    if bytes > RESULT_BYTES_MAX {
        return failed(Failure::permanent(format!(
            "the result has {bytes} bytes, at most {RESULT_BYTES_MAX} are kept"
        )));
    }
    let result = (result.get() != "null").then_some(result);
    Word::Complete(Outcome::Succeeded { result })
}

pub(crate) fn failed(failure: Failure) -> Word {
    let Failure { kind, message, may_retry, retry_after } = failure;
    let error = JobError { kind, message }.bounded();
    let retry_after_ms = retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Word::Complete(Outcome::Failed { error, may_retry, retry_after_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn describe(word: &Word) -> String {
        match word {
            Word::Complete(Outcome::Succeeded { result }) => {
                format!("succeeded {}", result.as_ref().map_or("-", |result| result.get()))
            }
            Word::Complete(Outcome::Failed { error, may_retry, .. }) => {
                format!("{:?} {} retry={may_retry}", error.kind, error.message)
            }
            Word::Release | Word::HandOver | Word::Nothing => word.name().to_owned(),
        }
    }

    #[test]
    fn each_end_has_one_word() {
        use StopReason::{Cancelled, Draining, LeaseLost, LeaseUnrenewed, Timeout};
        let ok = || Some(RawValue::from_string("1".to_owned()).map_err(Failure::from));
        let bad = || Some(Err(Failure::new("no luck")));
        let check = |stopped, returned, expected: &str| {
            let word = settle(Ended { stopped, returned }, 50);
            assert_eq!(describe(&word), expected, "{stopped:?}");
        };
        check(None, ok(), "succeeded 1");
        check(None, bad(), "Failed no luck retry=true");
        check(Some(Timeout), ok(), "Timeout took longer than 50 ms retry=true");
        check(Some(Timeout), bad(), "Timeout took longer than 50 ms; no luck retry=true");
        check(Some(Timeout), None, "Timeout took longer than 50 ms retry=true");
        check(Some(Cancelled), ok(), "succeeded 1");
        check(Some(Cancelled), bad(), "Failed no luck retry=false");
        check(Some(Cancelled), None, "Failed ended on request retry=false");
        check(Some(Draining), ok(), "succeeded 1");
        check(Some(Draining), bad(), "released");
        check(Some(Draining), None, "released");
        check(Some(LeaseUnrenewed), ok(), "released");
        check(Some(LeaseUnrenewed), None, "released");
        check(Some(LeaseLost), ok(), "lost");
        check(Some(LeaseLost), bad(), "lost");
    }

    #[test]
    fn result_over_the_bound_fails_for_good() {
        let result = serde_json::value::to_raw_value(&"x".repeat(RESULT_BYTES_MAX)).map_err(Failure::from);
        let word = settle(Ended { stopped: None, returned: Some(result) }, 50);
        let expected = "Failed the result has 524290 bytes, at most 524288 are kept retry=false";
        assert_eq!(describe(&word), expected);
    }

    #[test]
    fn null_is_no_result() {
        let returned = Some(serde_json::value::to_raw_value(&()).map_err(Failure::from));
        assert_eq!(describe(&settle(Ended { stopped: None, returned }, 50)), "succeeded -");
    }
}
