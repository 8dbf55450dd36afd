//! Heads on their way through: what is refused, what is dropped, what is set (RFC 9110 §7.6, RFC 9112 §3.2).
//!
//! What a client says about itself in forwarding fields is never passed on, and no client can make us drop a field that
//! frames or routes its request.

use std::net::IpAddr;

use chassis::http::REQUEST_ID;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::{Scheme, Uri};
use http::{Method, Version, request};
use protocol::problem::Kind;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields of a request.
const FIELDS_MAX: usize = 100;

/// Longer ids are replaced: they would be copied into every log line.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What backends are told about a client. Made once for each connection.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    address: HeaderValue,
    protocol: HeaderValue,
    forwarded: HeaderValue,
}

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Host,
    Target,
    Method,
    Upgrade,
    TransferCoding,
    Fields,
}

impl Origin {
    /// `protocol` is http or https.
    pub(crate) fn of(address: IpAddr, protocol: &'static str) -> Origin {
        let address = address.to_canonical();
        let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
        let value = |text: String| HeaderValue::try_from(text).expect("an IP address is a field value");
        Origin {
            address: value(address.to_string()),
            protocol: HeaderValue::from_static(protocol),
            forwarded: value(format!("for={node};proto={protocol}")),
        }
    }
}

impl Refusal {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Refusal::Host | Refusal::Target => Kind::BadRequest,
            Refusal::Fields => Kind::HeadersTooLarge,
            Refusal::Method | Refusal::Upgrade | Refusal::TransferCoding => Kind::NotImplemented,
        }
    }

    pub(crate) fn detail(self) -> &'static str {
        match self {
            Refusal::Host => "A request has exactly one Host field, with a host and perhaps a port.",
            Refusal::Target => "The request target is not a path or an http URL.",
            Refusal::Method => "The method is not supported.",
            Refusal::Upgrade => {
                "A WebSocket begins with a GET of HTTP/1.1 that has no body and says `Connection: upgrade` and `Upgrade: websocket`."
            }
            Refusal::TransferCoding => "The only transfer coding supported is chunked.",
            Refusal::Fields => "A request has at most 100 fields.",
        }
    }
}

/// Makes a client's request head into the one for a backend.
///
/// # Errors
/// What is ambiguous or would not arrive as it was meant.
pub(crate) fn admit(head: &mut request::Parts, origin: &Origin, random: impl Fn() -> u128) -> Result<(), Refusal> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    let headers = &mut head.headers;
    // Of HTTP/1.1, the parser takes no more.
    if headers.len() > FIELDS_MAX {
        return Err(Refusal::Fields);
    }
    let is_chunked = is_chunked(headers)?;
    let is_websocket = asks_for_websocket(headers);
    if is_websocket && (head.method != Method::GET || head.version != Version::HTTP_11 || !may_upgrade(headers)) {
        return Err(Refusal::Upgrade);
    }
    if head.uri.authority().is_some() || head.uri.scheme().is_some() {
        let (target, host) = origin_form(&head.uri)?;
        headers.insert(HOST, host);
        head.uri = target;
    } else if head.version < Version::HTTP_11 && !headers.contains_key(HOST) {
        // HTTP/1.0 knows no Host; the backend's version requires one.
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    let host = the_host(headers)?;
    let takes_trailers = lists(headers, TE, "trailers");
    drop_fields(headers, is_not_for_backends);
    if is_chunked {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if takes_trailers {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if is_websocket {
        say_upgrade(headers);
    }
    headers.insert(X_FORWARDED_FOR, origin.address.clone());
    headers.insert(X_FORWARDED_HOST, host);
    headers.insert(X_FORWARDED_PROTO, origin.protocol.clone());
    headers.insert(FORWARDED, origin.forwarded.clone());
    if !headers.get(REQUEST_ID).is_some_and(is_request_id) {
        headers.insert(REQUEST_ID, request_id(random()));
    }
    head.version = Version::HTTP_11;
    // What the parser left for an upgrade that is not made.
    head.extensions.clear();
    Ok(())
}

/// Makes a backend's answer head into the one for the client; framing is decided anew for its connection.
///
/// # Errors
/// When the body has a coding that only the backend's connection knows.
pub(crate) fn pass_on(headers: &mut HeaderMap) -> Result<(), Refusal> {
    if is_chunked(headers)? {
        // The chunks count, whatever else is said (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    drop_fields(headers, is_not_for_clients);
    Ok(())
}

pub(crate) fn request_id(random: u128) -> HeaderValue {
    HeaderValue::try_from(format!("{random:032x}")).expect("hexadecimal digits are a field value")
}

/// Whether the answer may come late although nobody works on it: how long it takes says nothing about the backend.
pub(crate) fn asks_to_wait(headers: &HeaderMap) -> bool {
    let any_starts = |name: HeaderName, start: &[u8]| {
        let mut starts = entries(headers, name).filter_map(|entry| entry.get(..start.len()));
        starts.any(|entry| entry.eq_ignore_ascii_case(start))
    };
    any_starts(PREFER, b"wait=") || any_starts(ACCEPT, b"text/event-stream")
}

fn is_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// After a backend has agreed to speak another protocol: what the client is told. `None` if it is not the one that was asked for.
pub(crate) fn switched(headers: &mut HeaderMap) -> Option<()> {
    let is_websocket = names_websocket_alone(headers);
    pass_on(headers).ok().filter(|()| is_websocket)?;
    headers.remove(CONTENT_LENGTH);
    say_upgrade(headers);
    Some(())
}

fn say_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Nothing else is asked for, and no body comes.
fn may_upgrade(headers: &HeaderMap) -> bool {
    let has_body =
        headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    !has_body && lists(headers, CONNECTION, "upgrade") && names_websocket_alone(headers)
}

fn names_websocket_alone(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A WebSocket cannot go on as plain HTTP. Other upgrades (h2c) may be ignored (RFC 9110 §7.8), and are.
fn asks_for_websocket(headers: &HeaderMap) -> bool {
    lists(headers, UPGRADE, "websocket")
}

fn is_chunked(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Refusal::TransferCoding),
    }
}

/// A target in absolute form as path and host; its Host field does not count (RFC 9112 §3.2.2).
fn origin_form(uri: &Uri) -> Result<(Uri, HeaderValue), Refusal> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(Refusal::Target)?;
    if !uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS) {
        return Err(Refusal::Target);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Target)?;
    let target = uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok((target, host))
}

fn the_host(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.is_empty() && host.as_bytes().iter().copied().all(may_be_in_host) => {
            Ok(host.clone())
        }
        _ => Err(Refusal::Host),
    }
}

fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(&byte)
}

/// Drops the fields that `is_dropped` names and those that `Connection` nominates.
fn drop_fields(headers: &mut HeaderMap, is_dropped: fn(&str) -> bool) {
    // Empty for most heads, and then nothing is allocated.
    let mut dropped: Vec<HeaderName> = headers.keys().filter(|name| is_dropped(name.as_str())).cloned().collect();
    let nominated = entries(headers, CONNECTION).filter(|token| !is_connection_option(token));
    let names = nominated.filter_map(|token| HeaderName::from_bytes(token).ok());
    dropped.extend(names.filter(|name| !is_protected(name)));
    for name in dropped {
        headers.remove(name);
    }
}

fn is_connection_option(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close")
}

/// Nominating these would change where a message ends or goes.
fn is_protected(name: &HeaderName) -> bool {
    matches!(*name, HOST | CONTENT_LENGTH | TRANSFER_ENCODING)
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(name, "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade" | "http2-settings")
}

fn is_not_for_backends(name: &str) -> bool {
    // `Expect` is answered on this side, when the body is asked for.
    matches!(name, "expect" | "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-") || is_hop_by_hop(name)
}

fn is_not_for_clients(name: &str) -> bool {
    name == "transfer-encoding" || is_hop_by_hop(name)
}

/// The entries of a field that is a comma-separated list.
fn entries(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii))
}

/// Whether such a list has the token, apart from its parameters.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let entries = entries(headers, name);
    let mut names = entries.map(|entry| entry.split(|&byte| matches!(byte, b';' | b'/')).next().unwrap_or_default());
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
