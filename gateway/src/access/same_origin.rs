//! A page of another origin can make a browser send a request that changes something here, with the browser's cookie, and into a network that only
//! the browser is in. What such a page cannot do is to hide where it is from.

use http::header::{HOST, ORIGIN};
use http::uri::Uri;
use http::{HeaderMap, HeaderName, Method};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The Host of the request as it came to the balancer.
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether a request that changes something comes from a page of another origin. A program sends neither header.
pub(super) fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return false;
    }
    // Browsers send it where the connection is encrypted or local, and no page can set it.
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        return !sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    !origins.all(|origin| is_ours(origin.as_bytes(), headers))
}

fn is_ours(origin: &[u8], headers: &HeaderMap) -> bool {
    let uri = Uri::try_from(origin).ok();
    let Some(authority) = uri.as_ref().and_then(Uri::authority) else { return false };
    let mut hosts = headers.get_all(HOST).iter().chain(headers.get_all(X_FORWARDED_HOST));
    hosts.any(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(method: &Method, lines: &[(HeaderName, &'static str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(is_foreign(method, &headers), expected, "{method} {lines:?}");
    }

    #[test]
    fn what_browsers_say_decides() {
        let site = |value| [(SEC_FETCH_SITE, value)];
        check(&Method::POST, &[], false);
        check(&Method::POST, &site("same-origin"), false);
        check(&Method::POST, &site("none"), false);
        check(&Method::POST, &site("cross-site"), true);
        check(&Method::DELETE, &site("same-site"), true);
        check(&Method::GET, &site("cross-site"), false);
        check(&Method::POST, &[(SEC_FETCH_SITE, "same-origin"), (SEC_FETCH_SITE, "cross-site")], true);
    }

    #[test]
    fn an_origin_is_compared_with_the_host() {
        let of = |origin| [(HOST, "jobs.example:8000"), (ORIGIN, origin)];
        check(&Method::POST, &of("http://jobs.example:8000"), false);
        check(&Method::POST, &of("http://JOBS.example:8000"), false);
        check(&Method::POST, &of("http://jobs.example"), true);
        check(&Method::POST, &of("http://evil.example"), true);
        check(&Method::PUT, &of("null"), true);
        check(
            &Method::POST,
            &[(HOST, "10.0.0.1"), (X_FORWARDED_HOST, "jobs.example"), (ORIGIN, "https://jobs.example")],
            false,
        );
    }
}
