//! One signed POST on a connection of its own: the name is resolved once, each of its addresses is looked at, and the connection goes to one of these
//! (a name that is resolved twice may mean another address the second time).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use protocol::time::Timestamp;
use protocol::webhook::{ID_HEADER, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, retry_after_ms, signatures};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Reach, Target, Trust};
use crate::client::causes;
use crate::clock::wall_ms;

/// To resolve a name; to reach one of its addresses.
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// So many addresses of a name are tried.
const ADDRESSES_MAX: usize = 4;
/// The head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub struct Post<'p> {
    pub target: &'p Target,
    pub reach: &'p Reach,
    pub trust: &'p Trust,
    /// Each signs (Standard Webhooks).
    pub secrets: &'p [Secret],
    /// What the receiver is to know a repetition by.
    pub id: &'p str,
    /// Besides those that every request has.
    pub headers: HeaderMap,
    /// JSON.
    pub body: Bytes,
    /// A longer answer is refused.
    pub answer_bytes_max: usize,
}

/// Any answer, also a redirect.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// For how long it asks not to be asked again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let field = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        retry_after_ms(field, Timestamp::from_unix_ms(wall_ms()))
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Failed {
    #[error("{host} has the address {address}, which is not public; it is reached only if its network is allowed")]
    Refused { host: String, address: IpAddr },
    #[error("{host} cannot be resolved: {reason}")]
    Unresolved { host: String, reason: String },
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} cannot be trusted: {reason}")]
    Untrusted { host: String, reason: String },
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Sends it once. Dropping the future closes the connection.
///
/// # Errors
/// Why there is no answer.
pub async fn post(asked: Post<'_>) -> Result<Answer, Failed> {
    let target = asked.target;
    let stream = connect(target, asked.reach).await?;
    if !target.is_secured() {
        return exchange(stream, asked).await;
    }
    let host = target.host().to_owned();
    let untrusted = |reason: String| Failed::Untrusted { host: host.clone(), reason };
    let name = ServerName::try_from(host.clone()).map_err(|error| untrusted(error.to_string()))?;
    let handshake = asked.trust.connector().connect(name, stream);
    match tokio::time::timeout(STEP_DEADLINE, handshake).await {
        Ok(Ok(stream)) => exchange(stream, asked).await,
        Ok(Err(error)) => Err(untrusted(error.to_string())),
        Err(_) => Err(Failed::Unreachable { host, reason: "it does not finish its TLS handshake".to_owned() }),
    }
}

async fn connect(target: &Target, reach: &Reach) -> Result<TcpStream, Failed> {
    let host = || target.host().to_owned();
    let addresses = resolve(target).await.map_err(|reason| Failed::Unresolved { host: host(), reason })?;
    if let Some(refused) = addresses.iter().map(SocketAddr::ip).find(|address| !reach.admits(*address)) {
        return Err(Failed::Refused { host: host(), address: refused });
    }
    let mut reason = "it has no address".to_owned();
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        match tokio::time::timeout(STEP_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "nodelay");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason = "it does not accept connections".to_owned(),
        }
    }
    Err(Failed::Unreachable { host: host(), reason })
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, String> {
    if let Some(address) = target.literal() {
        return Ok(vec![SocketAddr::new(address, target.port())]);
    }
    let found = tokio::net::lookup_host((target.host(), target.port()));
    let found = tokio::time::timeout(STEP_DEADLINE, found).await.map_err(|_| "nobody answers".to_owned())?;
    found.map(Iterator::collect).map_err(|error: io::Error| error.to_string())
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Send + Unpin, asked: Post<'_>) -> Result<Answer, Failed> {
    let broken = |error: hyper::Error| Failed::Broken(causes(&error));
    let answer_bytes_max = asked.answer_bytes_max;
    let request = request(asked)?;
    let builder = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).to_owned();
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = bounded(body, answer_bytes_max).await?;
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // What has come before its end is still there.
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of a request ended");
            }
            answer.await
        }
    }
}

fn request(asked: Post<'_>) -> Result<Request<Full<Bytes>>, Failed> {
    let Post { target, secrets, id, headers, body, .. } = asked;
    let sent_s = wall_ms().div_euclid(1_000);
    let signature = signatures(secrets, id, sent_s, &body);
    let odd = |_| Failed::Broken("what it says is no text of a header".to_owned());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path().clone().into();
    *request.headers_mut() = headers;
    let fixed = [
        (HOST, HeaderValue::from_str(target.authority().as_str()).map_err(odd)?),
        (CONNECTION, HeaderValue::from_static("close")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION")))),
        (HeaderName::from_static(ID_HEADER), HeaderValue::from_str(id).map_err(odd)?),
        (HeaderName::from_static(TIMESTAMP_HEADER), sent_s.into()),
        (HeaderName::from_static(SIGNATURE_HEADER), HeaderValue::from_str(&signature).map_err(odd)?),
    ];
    for (name, value) in fixed {
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

async fn bounded(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Failed> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::Broken(causes(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(Failed::TooLarge(bytes_max));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
