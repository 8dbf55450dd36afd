//! The console's files, embedded, so that the pages work offline and are of the same version as the gateway that serves them.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use chassis::http::{Path, Rejection};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::etag::entity_tag;
use protocol::ids::JobId;
use protocol::problem::Kind;

use crate::conditional::is_known;

/// Nothing but our own files is loaded, run or asked; nobody shows the console in a frame, where a click can be stolen.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What `/console/{page}` may say.
const PAGES: [&str; 6] = ["cache", "failed", "jobs", "queues", "submit", "workers"];

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

macro_rules! assets {
    ($($name:literal $media_type:ident),+ $(,)?) => {
        [$(Asset::new($name, $media_type, include_bytes!(concat!("assets/", $name)))),+]
    };
}

static DOCUMENT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("index.html", HTML, include_bytes!("assets/index.html")));

static FILES: LazyLock<[Asset; 16]> = LazyLock::new(|| {
    assets![
        "style.css" CSS,
        "icon.svg" SVG,
        "main.js" SCRIPT,
        "api.js" SCRIPT,
        "dom.js" SCRIPT,
        "format.js" SCRIPT,
        "live.js" SCRIPT,
        "overview.js" SCRIPT,
        "jobs.js" SCRIPT,
        "timeline.js" SCRIPT,
        "job.js" SCRIPT,
        "failed.js" SCRIPT,
        "queues.js" SCRIPT,
        "workers.js" SCRIPT,
        "cache.js" SCRIPT,
        "submit.js" SCRIPT,
    ]
});

impl Asset {
    fn new(name: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let tag = HeaderValue::try_from(entity_tag(bytes)).expect("a tag has digits and letters only");
        Self { name, media_type, bytes, tag }
    }

    /// The file, or 304. It is asked for anew each time: after an upgrade no page runs with the scripts of the version before.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let fixed: [(HeaderName, HeaderValue); 5] = [
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (ETAG, self.tag.clone()),
        ];
        if is_known(self.tag.as_bytes(), headers) {
            return (StatusCode::NOT_MODIFIED, fixed).into_response();
        }
        (fixed, [(CONTENT_TYPE, HeaderValue::from_static(self.media_type))], self.bytes).into_response()
    }
}

/// `GET /console`
pub(super) async fn overview(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers)
}

/// `GET /console/{page}`
pub(super) async fn page(Path(page): Path<String>, headers: HeaderMap) -> Result<Response, Rejection> {
    if PAGES.contains(&page.as_str()) { Ok(DOCUMENT.answer(&headers)) } else { Err(Kind::NotFound.into()) }
}

/// `GET /console/jobs/{id}`: the page of one job, whether there is one or not; the page says so.
pub(super) async fn job(Path(_job_id): Path<JobId>, headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers)
}

/// `GET /console/assets/{file}`
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Rejection> {
    let file = FILES.iter().find(|file| file.name == name).ok_or(Kind::NotFound)?;
    Ok(file.answer(&headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first view loads the document, the style, the icon and the scripts.
    const FIRST_VIEW_BYTES_MAX: usize = 300 << 10;

    #[test]
    fn all_of_it_is_small() {
        let bytes = DOCUMENT.bytes.len() + FILES.iter().map(|file| file.bytes.len()).sum::<usize>();
        assert!(bytes <= FIRST_VIEW_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn no_file_holds_what_the_policy_refuses_or_leaves_this_machine() {
        for file in FILES.iter().chain([&*DOCUMENT]) {
            let text = String::from_utf8_lossy(file.bytes);
            for refused in ["<script>", "<style", " style=\"", "onclick=", "eval(", "https://", "innerHTML"] {
                assert!(!text.contains(refused), "{} has {refused}", file.name);
            }
        }
    }
}
