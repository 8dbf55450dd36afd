//! `GET /docs`: a page that shows the document and sends requests. Its files are in the program and come from nowhere else.

use axum::response::Response;
use bytes::Bytes;
use chassis::http::{Path, Rejection};
use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use protocol::problem::Kind;

use super::DESCRIPTION;
use super::headers::IfNoneMatch;
use super::problems::{Any, OfName};
use crate::conditional::with_etag;

const PAGE: &str = include_str!("docs.html");
/// What the page is made of, by name: its type and its text.
const FILES: [(&str, &str, &str); 2] = [
    ("docs.css", "text/css; charset=utf-8", include_str!("docs.css")),
    ("docs.js", "text/javascript; charset=utf-8", include_str!("docs.js")),
];
/// Nothing but these files and requests to this origin; no script or style within the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// `GET /docs`
#[utoipa::path(
    get, path = "/docs", tag = DESCRIPTION, operation_id = "getDocs",
    summary = "This document as a page, from which requests can be sent",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html; charset=utf-8",
            headers(("ETag"), ("Cache-Control"), ("Content-Security-Policy"))),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"), ("Content-Security-Policy"))),
        Any,
    ),
)]
pub(crate) async fn page(headers: HeaderMap) -> Response {
    guarded(with_etag("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()), &headers))
}

/// `GET /docs/{file}`
#[utoipa::path(
    get, path = "/docs/{file}", tag = DESCRIPTION, operation_id = "getDocsFile",
    summary = "What the page is made of",
    params(("file" = String, Path, description = "`docs.css` or `docs.js`.", example = "docs.css"), IfNoneMatch),
    responses(
        (status = 200, description = "The file.",
            content((String = "text/css; charset=utf-8"), (String = "text/javascript; charset=utf-8")),
            headers(("ETag"), ("Cache-Control"), ("Content-Security-Policy"))),
        (status = 304, description = "It is what the client has.", headers(("ETag"), ("Cache-Control"), ("Content-Security-Policy"))),
        Any, OfName,
    ),
)]
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Rejection> {
    let (_, media_type, text) = FILES.into_iter().find(|(known, ..)| *known == name).ok_or(Kind::NotFound)?;
    Ok(guarded(with_etag(media_type, Bytes::from_static(text.as_bytes()), &headers)))
}

fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
