//! Conditional requests (RFC 9110 §13): whether the client has the present representation already.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::etag::entity_tag;

/// Whether `If-None-Match` names the tag; the comparison is the weak one (RFC 9110 §13.1.2).
pub(crate) fn is_known(tag: &[u8], headers: &HeaderMap) -> bool {
    members(headers, IF_NONE_MATCH)
        .any(|stated| stated == "*" || stated.strip_prefix("W/").unwrap_or(stated).as_bytes() == tag)
}

/// 200 with this body, or 304. The tag is a hash of the bytes, so it changes with whatever changes them.
pub(crate) fn with_etag(media_type: &'static str, body: Bytes, headers: &HeaderMap) -> Response {
    let tag = tag_of(&body);
    with_tag(media_type, body, tag, headers)
}

/// The tag of these bytes.
pub(crate) fn tag_of(bytes: &[u8]) -> HeaderValue {
    HeaderValue::try_from(entity_tag(bytes)).expect("a tag has digits and letters only")
}

/// The same with a tag that is known.
pub(crate) fn with_tag(media_type: &'static str, body: Bytes, tag: HeaderValue, headers: &HeaderMap) -> Response {
    let is_known = is_known(tag.as_bytes(), headers);
    let fixed = [(CACHE_CONTROL, HeaderValue::from_static("no-cache")), (ETAG, tag)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, [(CONTENT_TYPE, HeaderValue::from_static(media_type))], body).into_response()
}

/// The members of a field that is a list; a line that is no text has none.
pub(crate) fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// What [`is_known`] looks at, copied: thousands may wait, and a part of the head would keep the whole buffer of its connection alive.
pub(crate) fn kept(headers: HeaderMap) -> HeaderMap {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let copies = values.filter_map(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
    let kept = copies.map(|value| (IF_NONE_MATCH, value)).collect();
    drop(headers);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_recognized() {
        let check = |stated: &str, expected: bool| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(stated).expect("value"))]);
            assert_eq!(is_known(b"\"abc\"", &headers), expected, "{stated}");
        };
        check("\"abc\"", true);
        check("W/\"abc\"", true);
        check("\"x\", \"abc\"", true);
        check("*", true);
        check("\"ab\"", false);
        check("abc", false);
        assert!(!is_known(b"\"abc\"", &HeaderMap::new()));
    }
}
