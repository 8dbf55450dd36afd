//! One call, before it is sent.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, IntoHeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;

/// A call that is not given another deadline has this one.
const DEADLINE: Duration = Duration::from_secs(5);

/// What to send, how long it may take, and whether it may be sent twice.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) deadline: Duration,
    pub(super) is_repeatable: bool,
}

impl Call {
    /// GET of a path with its query. It may be sent twice.
    pub fn get(path: impl Into<String>) -> Call {
        Call::new(Method::GET, path, true)
    }

    /// DELETE of a path. It may be sent twice.
    pub fn delete(path: impl Into<String>) -> Call {
        Call::new(Method::DELETE, path, true)
    }

    /// PUT of a body as JSON. It may be sent twice.
    ///
    /// # Errors
    /// When the body has no form in JSON, which is a defect of its type.
    pub fn put(path: impl Into<String>, body: &impl Serialize) -> serde_json::Result<Call> {
        Ok(Call::new(Method::PUT, path, true).json_bytes(serde_json::to_vec(body)?))
    }

    /// POST of a body as JSON. It is sent once, unless it is [`Call::repeatable`].
    ///
    /// # Errors
    /// When the body has no form in JSON, which is a defect of its type.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> serde_json::Result<Call> {
        Ok(Call::new(Method::POST, path, false).json_bytes(serde_json::to_vec(body)?))
    }

    /// Any method, without a body.
    pub fn new(method: Method, path: impl Into<String>, is_repeatable: bool) -> Call {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Call { method, path: path.into(), headers, body, deadline: DEADLINE, is_repeatable }
    }

    /// What is asked, for people: `GET /jobs?limit=20`.
    pub fn asked(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A body that is JSON already.
    #[must_use]
    pub fn json_bytes(self, body: impl Into<Bytes>) -> Call {
        self.bytes(body, HeaderValue::from_static("application/json"))
    }

    /// A body of any kind.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>, media_type: HeaderValue) -> Call {
        self.body = body.into();
        self.header(CONTENT_TYPE, media_type)
    }

    #[must_use]
    pub fn header(mut self, name: impl IntoHeaderName, value: HeaderValue) -> Call {
        self.headers.insert(name, value);
        self
    }

    /// How long it may take, from connecting to the end of the answer, all attempts together.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Call {
        self.deadline = deadline;
        self
    }

    /// Done twice it does what it does once, so it may be sent again when its fate is unknown.
    #[must_use]
    pub fn repeatable(mut self) -> Call {
        self.is_repeatable = true;
        self
    }
}
