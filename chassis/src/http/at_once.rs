//! Answers that need no waiting, given before a request is routed: half of what a hit in a cache costs is finding the handler for it.

use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use http_body_util::Full;

/// What can be answered from memory. It is asked before the router, for each request, and must not block.
pub trait AtOnce: Debug + Send + Sync {
    /// The pattern of the route, under which the answer is counted, and the answer; `None`: the router answers.
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<(&'static str, Response<Full<Bytes>>)>;
}
