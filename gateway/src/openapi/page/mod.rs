//! `GET /docs`: a page that shows the document and sends requests. Its files are in the program and come from nowhere else.

use std::sync::LazyLock;

use axum::response::Response;
use chassis::http::{Path, Rejection};
use http::HeaderMap;
use protocol::problem::Kind;

use super::DESCRIPTION;
use super::headers::IfNoneMatch;
use super::problems::{Any, OfName};
use crate::embedded::{CSS, Embedded, HTML, SCRIPT};

static PAGE: LazyLock<Embedded> = LazyLock::new(|| Embedded::new("docs.html", HTML, include_str!("docs.html")));
/// What the page is made of.
static FILES: LazyLock<[Embedded; 2]> = LazyLock::new(|| {
    [
        Embedded::new("docs.css", CSS, include_str!("docs.css")),
        Embedded::new("docs.js", SCRIPT, include_str!("docs.js")),
    ]
});
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
    PAGE.guarded(&headers, POLICY)
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
    let file = FILES.iter().find(|file| file.name == name).ok_or(Kind::NotFound)?;
    Ok(file.guarded(&headers, POLICY))
}
