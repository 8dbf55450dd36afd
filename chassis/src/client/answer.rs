//! The answer to a call: status, headers and a body, typed once it is read.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use protocol::ids::{Place, Position};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{INCARNATION_HEADER, POSITION_HEADER};
use serde::de::DeserializeOwned;

use super::error::Error;
use crate::config::Address;

/// An answer below 400; others are an [`Error::Problem`].
#[derive(Debug, Clone)]
pub struct Answer<T> {
    pub address: Address,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: T,
}

impl Answer<Bytes> {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not what was asked for.
    pub fn json<T: DeserializeOwned>(self) -> Result<Answer<T>, Error> {
        match serde_json::from_slice(&self.body) {
            Ok(body) => Ok(Answer { address: self.address, status: self.status, headers: self.headers, body }),
            Err(error) => Err(Error::Malformed { address: self.address, reason: error.to_string() }),
        }
    }

    /// Statuses of 400 and more as the problem that they carry.
    pub(super) fn or_problem(self) -> Result<Answer<Bytes>, Error> {
        if !(self.status.is_client_error() || self.status.is_server_error()) {
            return Ok(self);
        }
        let status = self.status.as_u16();
        let stated = serde_json::from_slice::<Problem>(&self.body).ok();
        let problem = stated.unwrap_or_else(|| Problem { status, ..Kind::from_status(status).problem() });
        Err(Error::Problem { address: self.address, problem: Box::new(problem) })
    }
}

impl<T> Answer<T> {
    /// A header that is a number, such as a log position.
    pub fn number(&self, header: &str) -> Option<u64> {
        self.text(header)?.parse().ok()
    }

    /// Where in the store's history it was read; of an answer of the store.
    pub fn place(&self) -> Option<Place> {
        let incarnation = self.text(INCARNATION_HEADER)?.parse().ok()?;
        Some(Place { incarnation, position: Position(self.number(POSITION_HEADER)?) })
    }

    /// A header that is text.
    pub fn text(&self, header: &str) -> Option<&str> {
        self.headers.get(header)?.to_str().ok()
    }
}
