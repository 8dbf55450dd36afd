//! The console's files and what they may do.

use std::sync::LazyLock;

use axum::response::Response;
use chassis::http::{Path, Rejection};
use http::header::REFERRER_POLICY;
use http::{HeaderMap, HeaderValue};
use protocol::ids::JobId;
use protocol::problem::Kind;

use crate::embedded::{CSS, Embedded, HTML, SCRIPT, SVG};

/// Nothing but our own files is loaded, run or asked; nobody shows the console in a frame, where a click can be stolen.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// What `/console/{page}` may say.
const PAGES: [&str; 7] = ["cache", "failed", "jobs", "login", "queues", "submit", "workers"];

macro_rules! assets {
    ($($name:literal $media_type:ident),+ $(,)?) => {
        [$(Embedded::new($name, $media_type, include_str!(concat!("assets/", $name)))),+]
    };
}

static DOCUMENT: LazyLock<Embedded> =
    LazyLock::new(|| Embedded::new("index.html", HTML, include_str!("assets/index.html")));

static FILES: LazyLock<[Embedded; 17]> = LazyLock::new(|| {
    assets![
        "style.css" CSS,
        "icon.svg" SVG,
        "main.js" SCRIPT,
        "api.js" SCRIPT,
        "dom.js" SCRIPT,
        "format.js" SCRIPT,
        "live.js" SCRIPT,
        "login.js" SCRIPT,
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

fn answer(file: &Embedded, headers: &HeaderMap) -> Response {
    let mut response = file.guarded(headers, POLICY);
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// `GET /console`
pub(super) async fn overview(headers: HeaderMap) -> Response {
    answer(&DOCUMENT, &headers)
}

/// `GET /console/{page}`
pub(super) async fn page(Path(page): Path<String>, headers: HeaderMap) -> Result<Response, Rejection> {
    if PAGES.contains(&page.as_str()) { Ok(answer(&DOCUMENT, &headers)) } else { Err(Kind::NotFound.into()) }
}

/// `GET /console/jobs/{id}`: the page of one job, whether there is one or not; the page says so.
pub(super) async fn job(Path(_job_id): Path<JobId>, headers: HeaderMap) -> Response {
    answer(&DOCUMENT, &headers)
}

/// `GET /console/assets/{file}`
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Rejection> {
    let file = FILES.iter().find(|file| file.name == name).ok_or(Kind::NotFound)?;
    Ok(answer(file, &headers))
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
            let text = String::from_utf8_lossy(&file.bytes);
            for refused in ["<script>", "<style", " style=\"", "onclick=", "eval(", "https://", "innerHTML"] {
                assert!(!text.contains(refused), "{} has {refused}", file.name);
            }
        }
    }
}
