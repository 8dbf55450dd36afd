//! What must hold of heads and files whatever the bytes are: checked on the seeds of `lb/fuzz/seeds` and on mutations of them.
//!
//! A head is lines of text: of a request `method target version`, then `name: value`.

use std::net::{IpAddr, Ipv4Addr};
use std::slice;

use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::header::{TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, Version, request};

use crate::core::pick::Policy;
use crate::fields::{self, Origin};
use crate::framing::Framing;
use crate::plan::{BACKENDS_MAX, Plan, WEIGHT_MAX};

/// Whether the request was admitted.
pub fn request_head(input: &[u8]) -> bool {
    let Some(mut head) = request_of(input) else { return false };
    let nominated = nominated(&head.headers);
    let origin = Origin::of(IpAddr::V4(Ipv4Addr::LOCALHOST), "http");
    if fields::admit(&mut head, &origin, || 7).is_err() {
        return false;
    }
    let headers = &head.headers;
    let hosts: Vec<_> = headers.get_all(HOST).iter().collect();
    assert!(hosts.len() == 1 && is_host(hosts[0].as_bytes()), "hosts: {hosts:?}");
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    assert!(codings.is_empty() || codings == ["chunked"], "codings: {codings:?}");
    assert!(codings.is_empty() || !headers.contains_key(CONTENT_LENGTH), "two framings: {headers:?}");
    for name in ["keep-alive", "proxy-connection", "http2-settings", "expect", "x-real-ip"] {
        assert!(!headers.contains_key(name), "{name} survives");
    }
    let options: Vec<_> = headers.get_all(CONNECTION).iter().collect();
    assert!(options.is_empty() || options == ["te"] || options == ["upgrade"], "connection: {options:?}");
    let takes_trailers = headers.get_all(TE).iter().all(|value| value == "trailers") && options == ["te"];
    assert!(!headers.contains_key(TE) || takes_trailers, "te: {headers:?}");
    assert!(headers.get_all(UPGRADE).iter().all(|value| value == "websocket"), "upgrade: {headers:?}");
    let ours = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    for name in headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")) {
        assert!(ours.contains(&name.as_str()), "{name} survives");
    }
    for (name, value) in [(ours[0], "127.0.0.1"), (ours[2], "http"), (FORWARDED.as_str(), "for=127.0.0.1;proto=http")] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
    assert_eq!(headers.get_all(ours[1]).iter().collect::<Vec<_>>(), hosts);
    for name in nominated.iter().filter(|name| !is_set_by_us(name)) {
        assert!(!headers.contains_key(name), "{name} was nominated");
    }
    let target = head.uri.to_string();
    let is_star = target == "*" && head.method == Method::OPTIONS;
    assert!(is_star || target.starts_with('/'), "target: {target}");
    assert_eq!(head.version, Version::HTTP_11);
    let (uri, before) = (head.uri.clone(), head.headers.clone());
    assert_eq!(fields::admit(&mut head, &origin, || 8), Ok(()), "admitted once: {before:?}");
    assert_eq!((head.uri, head.headers), (uri, before), "admitting again changes it");
    true
}

/// Whether all that a connection says was let through. Where it is refused does not depend on how its bytes are cut.
pub fn requests(input: &[u8]) -> bool {
    let whole = Framing::default().pass(input);
    let mut framing = Framing::default();
    let refused = input.iter().position(|byte| framing.pass(slice::from_ref(byte)).is_err());
    assert_eq!(whole.is_ok(), refused.is_none(), "{whole:?} at once, {refused:?} byte by byte");
    if let (Err(passed), Some(at)) = (whole, refused) {
        assert!(at >= passed && !input[passed..at].contains(&b'\n'), "{passed} at once, {at} byte by byte");
    }
    whole.is_ok()
}

/// Whether the answer was passed on.
pub fn answer_head(input: &[u8]) -> bool {
    let Some(headers) = headers_of(input.split(|&byte| byte == b'\n')) else { return false };
    let nominated = nominated(&headers);
    let mut plain = headers.clone();
    let passed = fields::pass_on(&mut plain).is_ok();
    if passed {
        for name in ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "transfer-encoding"] {
            assert!(!plain.contains_key(name), "{name} survives");
        }
        for name in nominated.iter().filter(|name| !matches!(**name, HOST | CONTENT_LENGTH)) {
            assert!(!plain.contains_key(name), "{name} was nominated");
        }
        assert!(!headers.contains_key(TRANSFER_ENCODING) || !plain.contains_key(CONTENT_LENGTH), "two framings");
        let before = plain.clone();
        assert!(fields::pass_on(&mut plain).is_ok() && plain == before, "passing on again changes it");
    }
    let mut switched = headers;
    if fields::switched(&mut switched).is_some() {
        assert!(passed && !switched.contains_key(CONTENT_LENGTH) && !switched.contains_key(TRANSFER_ENCODING));
        assert_eq!(switched.get_all(UPGRADE).iter().collect::<Vec<_>>(), ["websocket"]);
        assert_eq!(switched.get_all(CONNECTION).iter().collect::<Vec<_>>(), ["upgrade"]);
    }
    passed
}

/// Whether the text is a plan.
pub fn backends_file(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(plan) = Plan::of_file(text, Policy::RoundRobin) else { return false };
    assert!((1..=BACKENDS_MAX).contains(&plan.targets.len()));
    assert!(plan.targets.iter().all(|target| target.weight <= WEIGHT_MAX));
    true
}

fn request_of(input: &[u8]) -> Option<request::Parts> {
    let mut lines = input.split(|&byte| byte == b'\n');
    let mut words = lines.next()?.split(|&byte| byte == b' ');
    let mut head = Request::new(()).into_parts().0;
    head.method = Method::from_bytes(words.next()?).ok()?;
    head.uri = words.next()?.try_into().ok()?;
    head.version = match words.next()? {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/2.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    head.headers = headers_of(lines)?;
    Some(head)
}

fn headers_of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
        headers.try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
    }
    Some(headers)
}

/// Read here once more, so that a mistake of the reader in `fields` is not made twice.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| {
        // Options of the connection, not names of fields.
        !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive")
    });
    tokens.filter_map(|token| HeaderName::from_bytes(token).ok()).collect()
}

/// These are there again, as ours, or may not be dropped.
fn is_set_by_us(name: &HeaderName) -> bool {
    let ours = matches!(*name, HOST | CONTENT_LENGTH | TRANSFER_ENCODING | TE | UPGRADE | CONNECTION | FORWARDED);
    ours || name.as_str().starts_with("x-forwarded-") || *name == chassis::http::REQUEST_ID
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\,\"<>".contains(byte))
}

#[cfg(test)]
#[path = "fuzzing_tests.rs"]
mod tests;
