//! A plain HTTP client for tests: no retries and no cleverness, so that what it reports is what the system answered. Every request has a
//! deadline.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::ledger::job_id;
use crate::wait::eventually;

/// Longer than the longest answer that the API may hold back (`Prefer: wait=30`).
const DEADLINE: Duration = Duration::from_secs(40);

#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    deadline: Duration,
    api_key: Option<String>,
}

/// One whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address, deadline: DEADLINE, api_key: None }
    }

    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Every request shows this key, unless it has an `authorization` of its own.
    pub fn with_key(mut self, api_key: impl Into<String>) -> Self {
        self.api_key = Some(api_key.into());
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// Submits a job until it is accepted, which its key makes safe to repeat; gives its id. An answer that is not [passing](Answer::is_passing)
    /// is an error.
    pub async fn submit_under(&self, key: &str, body: &Value, within: Duration) -> Result<String> {
        let key = format!("\"{key}\"");
        let accepted = eventually(within, "a submit is accepted", async || {
            let headers = [("idempotency-key", key.as_str())];
            let answer = self.send(Method::POST, "/longtask", &headers, Some(body)).await?;
            ensure!(!answer.is_passing(), "{answer}");
            Ok(Some(answer.expect(202)))
        })
        .await??;
        Ok(job_id(&accepted).to_owned())
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, &[], Some(body)).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let shows_own = headers.iter().any(|(name, _)| *name == "authorization");
        if let Some(api_key) = self.api_key.as_ref().filter(|_| !shows_own) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {api_key}"));
        }
        let bytes = match body {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(json)?)
            }
            None => Bytes::new(),
        };
        self.send_raw(request.body(bytes)?).await
    }

    /// Sends the request as it is: for bad media types, bodies that are no JSON, and the like.
    pub async fn send_raw(&self, request: Request<Bytes>) -> Result<Answer> {
        let what = format!("{} {}", request.method(), request.uri());
        let exchange = async {
            let response = self.client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let answer = tokio::time::timeout(self.deadline, exchange).await;
        answer.with_context(|| format!("{what}: no whole answer within {:?}", self.deadline))?.context(what)
    }
}

impl Answer {
    /// What a client must expect while programs come and go: it tries again.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {self}"))
    }

    /// The header's value, or "" when it is absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON if the status is the expected one; else an error that shows the whole answer.
    pub fn expect(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "expected {status}, got {self}");
        if self.body.is_empty() { Ok(Value::Null) } else { self.json() }
    }

    /// The problem+json of an error answer with this status.
    pub fn problem(&self, status: u16) -> Result<Value> {
        let media_type = self.header("content-type");
        ensure!(media_type.starts_with("application/problem+json"), "no problem+json ({media_type:?}): {self}");
        self.expect(status)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}
