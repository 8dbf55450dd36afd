//! The connections: HTTP/1.1, kept and reused, one pool per process part.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Scheme, Uri};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use crate::config::Address;
use crate::http::{Context, REQUEST_ID, TRACEPARENT};
use crate::internal::InternalKey;

/// A peer that does not accept within this is away, and the next address is tried.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// Far shorter than a server's idle limit (75 s), so that it is rarely the server that closes a connection we reuse, and what a burst has opened is
/// soon closed: within twice this.
const IDLE_TIME: Duration = Duration::from_secs(5);

const IDLE_CONNECTIONS_PER_ADDRESS: usize = 64;

/// A larger answer is refused as malformed.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Kept connections to any number of addresses. Clones share them.
#[derive(Clone)]
pub struct Http {
    client: legacy::Client<HttpConnector, Full<Bytes>>,
    internal: InternalKey,
}

impl Http {
    pub fn new() -> Http {
        Http::keeping(IDLE_CONNECTIONS_PER_ADDRESS)
    }

    /// For calls to other programs of the system, which ask for the key.
    pub fn between(internal: &InternalKey) -> Http {
        Http { internal: internal.clone(), ..Http::new() }
    }

    /// With so many unused connections kept to each address.
    pub fn keeping(idle_connections: usize) -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIME));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(idle_connections)
            .build(connector);
        Http { client, internal: InternalKey::default() }
    }

    /// Sends one call to one address, once. Any status is an answer.
    ///
    /// # Errors
    /// All but [`Error::Problem`].
    pub async fn send(&self, address: &Address, call: &Call) -> Result<Answer<Bytes>, Error> {
        self.send_until(address, call, Instant::now() + call.deadline).await
    }

    pub(super) async fn send_until(
        &self,
        address: &Address,
        call: &Call,
        until: Instant,
    ) -> Result<Answer<Bytes>, Error> {
        let request = self.request(address, call)?;
        match tokio::time::timeout_at(until, self.exchange(address, request)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { address: address.clone(), deadline: call.deadline }),
        }
    }

    /// Sends one call to one address, once, for an answer that goes on: its head must come within the call's deadline, its body may take
    /// as long as it takes. Any status is an answer.
    ///
    /// # Errors
    /// All but [`Error::Problem`].
    pub async fn open(&self, address: &Address, call: &Call) -> Result<Answer<Pieces>, Error> {
        let request = self.request(address, call)?;
        let response = match tokio::time::timeout(call.deadline, self.begin(address, request)).await {
            Ok(response) => response?,
            Err(_) => return Err(Error::Timeout { address: address.clone(), deadline: call.deadline }),
        };
        let (parts, body) = response.into_parts();
        let body = Pieces { address: address.clone(), body };
        Ok(Answer { address: address.clone(), status: parts.status, headers: parts.headers, body })
    }

    /// The request, in the context of the one that is being answered, if any.
    fn request(&self, address: &Address, call: &Call) -> Result<http::Request<Full<Bytes>>, Error> {
        let malformed = |reason: String| Error::Malformed { address: address.clone(), reason };
        let path = PathAndQuery::try_from(call.path.as_str()).map_err(|error| malformed(error.to_string()))?;
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(address.authority().clone()).path_and_query(path);
        let mut request = http::Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.build().map_err(|error| malformed(error.to_string()))?;
        let headers = request.headers_mut();
        headers.clone_from(&call.headers);
        if let Some(key) = self.internal.shown() {
            headers.insert(AUTHORIZATION, key.clone());
        }
        if let Some(context) = Context::current() {
            headers.insert(REQUEST_ID, context.request_id_header());
            if let Some(trace) = context.trace_header() {
                headers.insert(TRACEPARENT, trace);
            }
        }
        Ok(request)
    }

    async fn exchange(&self, address: &Address, request: http::Request<Full<Bytes>>) -> Result<Answer<Bytes>, Error> {
        let (parts, body) = self.begin(address, request).await?.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        let body = collected(address, body).await?;
        Ok(Answer { address: address.clone(), status, headers, body })
    }

    async fn begin(
        &self,
        address: &Address,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, Error> {
        self.client.request(request).await.map_err(|error| {
            let (address, reason) = (address.clone(), causes(&error));
            if error.is_connect() { Error::Unreachable { address, reason } } else { Error::Broken { address, reason } }
        })
    }
}

/// The body of an answer that goes on, as its pieces come.
#[derive(Debug)]
pub struct Pieces {
    address: Address,
    body: Incoming,
}

impl Pieces {
    /// The next piece; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Broken`] when the connection ended before the answer did.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    return Err(Error::Broken { address: self.address.clone(), reason: error.to_string() });
                }
            }
        }
    }

    /// All of it, within the bound of other answers.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub async fn whole(self) -> Result<Bytes, Error> {
        collected(&self.address, self.body).await
    }
}

async fn collected(address: &Address, body: Incoming) -> Result<Bytes, Error> {
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    body.map(Collected::to_bytes).map_err(|error| Error::Broken { address: address.clone(), reason: error.to_string() })
}

impl Default for Http {
    fn default() -> Http {
        Http::new()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// An error with its causes; hyper's own text is only "client error".
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
