//! Why a session could not begin, or ended. The text goes to the log and into `Link::Down`; it never holds the password.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;

#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("no broker at {address}: {source}")]
    Unreachable { address: String, source: std::io::Error },
    #[error("connecting: {0}")]
    Connect(String),
    #[error("{what}: {source}")]
    Refused { what: &'static str, source: lapin::Error },
    #[error("{what}: no answer within {} s", .after.as_secs())]
    Silent { what: &'static str, after: Duration },
    #[error("the connection ended: {0}")]
    Ended(String),
    #[error("no confirm for {} s", .0.as_secs())]
    NoConfirm(Duration),
    #[error("canary: {0}")]
    Canary(&'static str),
    #[error(
        "missing in the broker: {0}; import rabbitmq/definitions.json, or let `longshore up` declare it with a user that may"
    )]
    Missing(String),
}

impl Failure {
    /// The channel was told that the object does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.reply_code() == Some(404)
    }

    /// The user lacks the right.
    pub(super) fn is_access_refused(&self) -> bool {
        self.reply_code() == Some(403)
    }

    /// The object is there, and differs.
    pub(super) fn is_precondition_failed(&self) -> bool {
        self.reply_code() == Some(406)
    }

    fn reply_code(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } => reply_code(source),
            _ => None,
        }
    }

    /// The broker's own words, where it said any.
    pub(super) fn reply_text(&self) -> String {
        match self {
            Self::Refused { source, .. } => match source.kind() {
                lapin::ErrorKind::ProtocolError(error) => error.get_message().to_string(),
                _ => source.to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// The failure that was said last, so that one that lasts is said once.
#[derive(Default)]
pub(super) struct LastSaid(String);

impl LastSaid {
    /// Whether it is not the one that was said last; then it is from now on.
    pub(super) fn is_new(&mut self, reason: &str) -> bool {
        let is_new = self.0 != reason;
        if is_new {
            reason.clone_into(&mut self.0);
        }
        is_new
    }

    /// It works: the next failure is said, whichever it is.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// A deadline on an await of lapin: none of them ends by itself when the broker is silent.
pub(super) async fn within<T>(
    after: Duration,
    what: &'static str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(after, answer).await {
        Ok(answer) => answer.map_err(|source| Failure::Refused { what, source }),
        Err(_) => Err(Failure::Silent { what, after }),
    }
}
