//! A service behind one or more addresses: sticks to the one that works, moves on when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use protocol::problem::Kind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::transport::Http;
use crate::config::{Address, Addresses};

/// A service to call. Clones share connections and the preferred address.
#[derive(Debug, Clone)]
pub struct Peer {
    http: Http,
    addresses: Arc<[Address]>,
    // Index of the address that answered last. Only a hint, so relaxed.
    preferred: Arc<AtomicUsize>,
}

/// What to do after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    RepeatOnce,
    PassOver,
    GiveUp,
}

impl Peer {
    pub fn new(http: Http, addresses: &Addresses) -> Peer {
        Peer { http, addresses: addresses.as_slice().into(), preferred: Arc::default() }
    }

    /// Sends a call. An address that cannot be reached or is not the sequencer is passed over; a call that may be sent
    /// twice is sent once more when its connection broke.
    ///
    /// # Errors
    /// Of the last attempt. A status of 400 or more is an [`Error::Problem`].
    pub async fn call(&self, call: &Call) -> Result<Answer<Bytes>, Error> {
        let until = Instant::now() + call.deadline;
        let count = self.addresses.len();
        let mut index = self.preferred.load(Ordering::Relaxed) % count;
        let (mut passed_over, mut may_repeat) = (0, call.is_repeatable);
        loop {
            let answer = self.http.send_until(&self.addresses[index], call, until).await;
            let error = match answer.and_then(Answer::or_problem).map_err(not_let_in) {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match after(&error, may_repeat) {
                Next::RepeatOnce => may_repeat = false,
                Next::PassOver if passed_over + 1 < count => {
                    passed_over += 1;
                    index = (index + 1) % count;
                }
                Next::PassOver => return Err(error),
                Next::GiveUp => {
                    // One that hangs or broke is not asked first again, but it was asked now: the call may have been applied.
                    let next = if error.problem().is_some() { index } else { (index + 1) % count };
                    self.preferred.store(next, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }

    /// GET, read as JSON.
    ///
    /// # Errors
    /// See [`Peer::call`]; [`Error::Malformed`] if the answer is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: impl Into<String>) -> Result<Answer<T>, Error> {
        self.call(&Call::get(path)).await?.json()
    }

    /// POST of JSON, sent once, read as JSON.
    ///
    /// # Errors
    /// See [`Peer::call`]; [`Error::Malformed`] if the body has no form in JSON or the answer is not a `T`.
    pub async fn post<B, T>(&self, path: impl Into<String>, body: &B) -> Result<Answer<T>, Error>
    where
        B: Serialize,
        T: DeserializeOwned,
    {
        let call = Call::post(path, body).map_err(|error| self.unsendable(&error))?;
        self.call(&call).await?.json()
    }

    /// The error of a body that has no form in JSON.
    pub fn unsendable(&self, error: &serde_json::Error) -> Error {
        Error::Malformed { address: self.addresses[0].clone(), reason: format!("unsendable body: {error}") }
    }
}

/// Whoever is not let in has reached nobody: what answers is not of this system, and has done nothing.
fn not_let_in(error: Error) -> Error {
    match error {
        Error::Problem { address, problem } if problem.kind() == Some(Kind::Unauthenticated) => {
            Error::Unreachable { address, reason: problem.to_string() }
        }
        other => other,
    }
}

fn after(error: &Error, may_repeat: bool) -> Next {
    match error {
        Error::Unreachable { .. } => Next::PassOver,
        Error::Broken { .. } if may_repeat => Next::RepeatOnce,
        Error::Problem { .. } if error.kind() == Some(Kind::NotSequencer) => Next::PassOver,
        Error::Broken { .. } | Error::Timeout { .. } | Error::Problem { .. } | Error::Malformed { .. } => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_is_sent_again() {
        let address = Address::loopback(1);
        let reason = String::new();
        let unreachable = Error::Unreachable { address: address.clone(), reason: reason.clone() };
        let broken = Error::Broken { address: address.clone(), reason };
        let problem = |kind: Kind| Error::Problem { address: address.clone(), problem: Box::new(kind.problem()) };
        for (error, may_repeat, expected) in [
            (&unreachable, false, Next::PassOver),
            (&broken, true, Next::RepeatOnce),
            (&broken, false, Next::GiveUp),
            (&problem(Kind::NotSequencer), false, Next::PassOver),
            (&problem(Kind::Unavailable), true, Next::GiveUp),
            (&problem(Kind::NotFound), true, Next::GiveUp),
        ] {
            assert_eq!(after(error, may_repeat), expected, "{error}");
        }
    }

    #[test]
    fn who_is_not_let_in_has_changed_nothing() {
        let problem =
            |kind: Kind| Error::Problem { address: Address::loopback(1), problem: Box::new(kind.detail("why")) };
        let stranger = not_let_in(problem(Kind::Unauthenticated));
        assert!(!stranger.may_have_been_applied() && stranger.problem().is_none(), "{stranger:?}");
        assert!(stranger.to_string().contains("why"), "{stranger}");
        assert_eq!(not_let_in(problem(Kind::NotFound)).kind(), Some(Kind::NotFound));
    }
}
