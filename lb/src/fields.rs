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
    Framing,
    Method,
    Upgrade,
    TransferCoding,
    Fields,
    Value,
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
            Refusal::Host | Refusal::Target | Refusal::Framing | Refusal::Value => Kind::BadRequest,
            Refusal::Fields => Kind::HeadersTooLarge,
            Refusal::Method | Refusal::Upgrade | Refusal::TransferCoding => Kind::NotImplemented,
        }
    }

    pub(crate) fn detail(self) -> &'static str {
        match self {
            Refusal::Host => {
                "A request has exactly one Host field, with a host and perhaps a port, and its target names no other."
            }
            Refusal::Target => "The request target is not a path or an http URL.",
            Refusal::Framing => "It is ambiguous where the request ends.",
            Refusal::Method => "The method is not supported.",
            Refusal::Upgrade => {
                "A WebSocket begins with a GET of HTTP/1.1 that has no body and says `Connection: upgrade` and `Upgrade: websocket`."
            }
            Refusal::TransferCoding => "The only transfer coding supported is chunked.",
            Refusal::Fields => "A request has at most 100 fields.",
            Refusal::Value => "The value of a field neither begins nor ends with white space.",
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
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(Refusal::Target);
    }
    let headers = &mut head.headers;
    // Of HTTP/1.1, the parser takes no more.
    if headers.len() > FIELDS_MAX {
        return Err(Refusal::Fields);
    }
    // Of HTTP/1.1, the parser drops it (RFC 9113 §8.2.1).
    if head.version == Version::HTTP_2 && headers.values().any(is_padded) {
        return Err(Refusal::Value);
    }
    let is_chunked = frames(headers)?;
    // HTTP/1.0 upgrades to nothing (RFC 9110 §7.8).
    let is_websocket = head.version != Version::HTTP_10 && asks_for_websocket(headers);
    if is_websocket && (head.method != Method::GET || head.version != Version::HTTP_11 || !may_upgrade(headers)) {
        return Err(Refusal::Upgrade);
    }
    if head.uri.authority().is_some() || head.uri.scheme().is_some() {
        let (target, host) = origin_form(&head.uri)?;
        name_host(headers, head.version, host)?;
        head.uri = target;
    } else if head.version < Version::HTTP_11 && !headers.contains_key(HOST) {
        // HTTP/1.0 knows no Host; the backend's version requires one.
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    let host = the_host(headers)?;
    let takes_trailers = !is_websocket && lists(headers, TE, "trailers");
    drop_fields(headers, is_not_for_backends);
    if is_chunked {
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
    plain_length(headers)?;
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

fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// Whether chunks say where the request ends.
fn frames(headers: &mut HeaderMap) -> Result<bool, Refusal> {
    // Behind what makes one name of both, these would be framing.
    if headers.keys().any(|name| matches!(name.as_str(), "transfer_encoding" | "content_length")) {
        return Err(Refusal::Framing);
    }
    let is_chunked = is_chunked(headers)?;
    match plain_length(headers)? {
        true if is_chunked => Err(Refusal::Framing),
        _ => Ok(is_chunked),
    }
}

/// Writes the length so that it has one reading, and says whether there is one. Some take zeros in front for octal.
fn plain_length(headers: &mut HeaderMap) -> Result<bool, Refusal> {
    let mut said = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let Some(first) = said.next() else { return Ok(false) };
    let length = decimal(first).ok_or(Refusal::Framing)?;
    let mut is_plain = first.len() == 1 || !first.starts_with(b"0");
    for other in said {
        if decimal(other) != Some(length) {
            return Err(Refusal::Framing);
        }
        is_plain = false;
    }
    if !is_plain {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(true)
}

/// Digits and nothing else (RFC 9110 §8.6).
fn decimal(length: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether chunked is the coding. It is the last one and stands there once (RFC 9112 §6.1); an empty one has been read as another.
fn is_chunked(headers: &HeaderMap) -> Result<bool, Refusal> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(false);
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings: Vec<_> = entries(headers, TRANSFER_ENCODING).collect();
    match codings.split_last() {
        Some((last, [])) if is_chunked(last) => Ok(true),
        Some((last, others))
            if is_chunked(last) && others.iter().all(|coding| !coding.is_empty() && !is_chunked(coding)) =>
        {
            Err(Refusal::TransferCoding)
        }
        _ => Err(Refusal::Framing),
    }
}

/// A target in absolute form as path and host.
fn origin_form(uri: &Uri) -> Result<(Uri, HeaderValue), Refusal> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(Refusal::Target)?;
    if !uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS) {
        return Err(Refusal::Target);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Target)?;
    // What is left of a target that had only a fragment says "/", but is empty.
    let target = uri.path_and_query().filter(|target| *target != "/").cloned();
    let target = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok((target, host))
}

/// The host of a target in absolute form counts (RFC 9112 §3.2.2), and whoever says two hosts is refused: who routes by the other one
/// would be led astray.
fn name_host(headers: &mut HeaderMap, version: Version, host: HeaderValue) -> Result<(), Refusal> {
    let named =
        |value: &HeaderValue| value.as_bytes().strip_suffix(b":80").unwrap_or(value.as_bytes()).to_ascii_lowercase();
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version != Version::HTTP_11 => {}
        (Some(said), None) if named(said) == named(&host) => {}
        _ => return Err(Refusal::Host),
    }
    headers.insert(HOST, host);
    Ok(())
}

fn the_host(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(host.clone()),
        _ => Err(Refusal::Host),
    }
}

/// A name or an address, and perhaps a port (RFC 9110 §7.2).
fn is_host(host: &[u8]) -> bool {
    let name_end = match host.strip_prefix(b"[") {
        Some(rest) => rest.iter().position(|&byte| byte == b']').map_or(0, |end| end + 2),
        None => host.iter().position(|&byte| byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(name_end);
    let is_name = match name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(address) => !address.is_empty() && address.iter().all(|&byte| byte == b':' || may_be_in_host(byte)),
        None => !name.is_empty() && name.iter().copied().all(may_be_in_host),
    };
    is_name && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// Empty means the default one (RFC 3986 §3.2.3).
fn is_port(port: &[u8]) -> bool {
    let is_number = port.iter().all(u8::is_ascii_digit);
    is_number && (port.is_empty() || std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()))
}

fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte)
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
    // `Expect` is answered on this side, when the body is asked for. Behind what makes one name of both, the ones with underscores would
    // be taken for ours.
    matches!(name, "expect" | "forwarded" | "x-real-ip" | "x_real_ip")
        || name.starts_with("x-forwarded-")
        || name.starts_with("x_forwarded_")
        || is_hop_by_hop(name)
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
