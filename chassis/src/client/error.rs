//! Why a call failed, whether it may have been applied, and what to tell our own client about it.

use std::time::Duration;

use protocol::problem::{Kind, Problem};

use crate::config::Address;
use crate::http::Rejection;

/// A failed call. Cloned where many callers wait for one call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// No connection: nothing was sent.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable { address: Address, reason: String },
    /// The connection ended before the answer: it may have been applied.
    #[error("{address} ended the connection before it answered: {reason}")]
    Broken { address: Address, reason: String },
    /// It may have been applied.
    #[error("{address} did not answer within {deadline:?}")]
    Timeout { address: Address, deadline: Duration },
    /// It was refused, for the stated reason.
    #[error("{address} answered {problem}")]
    Problem { address: Address, problem: Box<Problem> },
    /// An answer that is not understood: a defect, or a part of another version.
    #[error("{address} gave an answer that is not understood: {reason}")]
    Malformed { address: Address, reason: String },
}

impl Error {
    /// False if it certainly changed nothing.
    pub fn may_have_been_applied(&self) -> bool {
        match self {
            Error::Unreachable { .. } => false,
            Error::Broken { .. } | Error::Timeout { .. } | Error::Malformed { .. } => true,
            Error::Problem { problem, .. } => problem.status >= 500 && problem.kind() != Some(Kind::NotSequencer),
        }
    }

    /// Whether the same call may well succeed later: the part is away, slow or overloaded, and did not refuse it.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Broken { .. } | Error::Timeout { .. } => true,
            Error::Problem { problem, .. } => problem.status == 429 || problem.status >= 500,
            Error::Malformed { .. } => false,
        }
    }

    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Error::Problem { problem, .. } => Some(problem),
            Error::Unreachable { .. } | Error::Broken { .. } | Error::Timeout { .. } | Error::Malformed { .. } => None,
        }
    }

    /// The kind of the problem that was answered.
    pub fn kind(&self) -> Option<Kind> {
        self.problem().and_then(Problem::kind)
    }
}

/// A part that is away is our 503; what it refuses is passed on.
impl From<Error> for Rejection {
    fn from(error: Error) -> Rejection {
        match error {
            Error::Problem { problem, .. } => Rejection(problem),
            Error::Malformed { .. } => {
                tracing::error!(%error, "bad gateway");
                Kind::BadGateway.into()
            }
            Error::Unreachable { .. } | Error::Broken { .. } | Error::Timeout { .. } => {
                tracing::warn!(%error, "a part is away");
                Kind::Unavailable.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, may_have_been_applied: bool, is_transient: bool, status: u16) {
        assert_eq!(error.may_have_been_applied(), may_have_been_applied, "{error}");
        assert_eq!(error.is_transient(), is_transient, "{error}");
        assert_eq!(Rejection::from(error).0.status, status);
    }

    #[test]
    fn an_error_says_what_may_have_happened() {
        let address = Address::loopback(1);
        let problem = |kind: Kind| Error::Problem { address: address.clone(), problem: Box::new(kind.problem()) };
        let reason = "refused".to_owned();
        check(Error::Unreachable { address: address.clone(), reason: reason.clone() }, false, true, 503);
        check(Error::Broken { address: address.clone(), reason: reason.clone() }, true, true, 503);
        check(Error::Timeout { address: address.clone(), deadline: Duration::from_secs(1) }, true, true, 503);
        check(Error::Malformed { address: address.clone(), reason }, true, false, 502);
        check(problem(Kind::NotFound), false, false, 404);
        check(problem(Kind::RateLimited), false, true, 429);
        check(problem(Kind::NotSequencer), false, true, 503);
        check(problem(Kind::FenceTimeout), true, true, 503);
        check(problem(Kind::Internal), true, true, 500);
    }
}
