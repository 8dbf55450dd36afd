//! Files that are part of the program, so that pages work offline and are of the same version as the gateway that serves them.

use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};

use crate::conditional::{tag_of, with_tag};

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";

/// A file with its tag, which is made once.
pub(crate) struct Embedded {
    pub(crate) name: &'static str,
    media_type: &'static str,
    pub(crate) bytes: Bytes,
    tag: HeaderValue,
}

impl Embedded {
    pub(crate) fn new(name: &'static str, media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let tag = tag_of(&bytes);
        Self { name, media_type, bytes, tag }
    }

    /// The file, or 304. It is asked for anew each time: after an upgrade no page runs with the scripts of the version before.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        with_tag(self.media_type, self.bytes.clone(), self.tag.clone(), headers)
    }

    /// The same for a browser, which is told what it may load and run.
    pub(crate) fn guarded(&self, headers: &HeaderMap, policy: &'static str) -> Response {
        let mut response = self.answer(headers);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}
