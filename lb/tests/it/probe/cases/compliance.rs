//! `Http11Probe`'s suite of compliance.

use super::Then::Closes;
use super::Verdict::{Awaited, NotApplicable};
use super::{Case, Verdict, case, chunked, get, head, post, refused, seen, sized, unsupported};

const WEBSOCKET: &str =
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n";

pub(super) fn cases() -> Vec<Case> {
    [lines(), fields(), targets(), bodies(), methods(), versions(), upgrades(), answers()].concat()
}

/// Where lines end.
fn lines() -> Vec<Case> {
    vec![
        case("COMP-BASELINE", get(""), seen("GET /").has("host: a\r\n")),
        // RFC 9112 §2.2 lets a line end with LF alone; what we send on ends with both.
        case("RFC9112-2.2-BARE-LF-REQUEST-LINE", "GET / HTTP/1.1\nHost: a\r\n\r\n", seen("GET /")),
        case(
            "RFC9112-2.2-BARE-LF-HEADER",
            "GET / HTTP/1.1\r\nHost: a\nX-One: 1\r\n\r\n",
            seen("GET /").has("host: a\r\n").has("x-one: 1\r\n"),
        ),
        case("RFC9112-5.1-OBS-FOLD", get("X-One: 1\r\n and more\r\n"), refused()),
        case("RFC9112-3-MULTI-SP-REQUEST-LINE", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", refused()),
        case("RFC9112-3-CR-ONLY-LINE-ENDING", "GET / HTTP/1.1\rHost: a\r\n\r\n", refused()),
        case("COMP-WHITESPACE-BEFORE-HEADERS", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", refused()),
        case("COMP-LEADING-CRLF", format!("\r\n\r\n{}", get("")), seen("GET /")),
        case("COMP-REQUEST-LINE-TAB", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", refused()),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        case("RFC9110-5.6.2-SP-BEFORE-COLON", get("X-One : 1\r\n"), refused()),
        case("RFC9112-7.1-MISSING-HOST", "GET / HTTP/1.1\r\n\r\n", refused()),
        case("RFC9112-5-EMPTY-HEADER-NAME", get(": nameless\r\n"), refused()),
        case("RFC9112-5-INVALID-HEADER-NAME", get("X[One: 1\r\n"), refused()),
        case("RFC9112-5-HEADER-NO-COLON", get("JustAWord\r\n"), refused()),
        case("RFC9110-5.4-DUPLICATE-HOST", get("Host: b\r\n"), refused()),
        case("COMP-DUPLICATE-HOST-SAME", get("Host: a\r\n"), refused()),
        case("COMP-HOST-WITH-USERINFO", "GET / HTTP/1.1\r\nHost: me@a\r\n\r\n", refused()),
        case("COMP-HOST-WITH-PATH", "GET / HTTP/1.1\r\nHost: a/here\r\n\r\n", refused()),
        case("COMP-HOST-EMPTY-VALUE", "GET / HTTP/1.1\r\nHost: \r\n\r\n", refused()),
        case(
            "COMP-DUPLICATE-CT",
            post("Content-Length: 5\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n", "hello"),
            NotApplicable("what a body means is for who reads it"),
        ),
        case("COMP-CONNECTION-CLOSE", get("Connection: close\r\n"), passed_and_closed("GET /")),
        // RFC 9110 §10.1.1 lets unknown expectations pass; ours to answer is only 100-continue.
        case("COMP-EXPECT-UNKNOWN", get("Expect: 200-ok\r\n"), seen("GET /").lacks("expect")),
    ]
}

fn targets() -> Vec<Case> {
    let long = format!("GET /{}", "x".repeat(7_900));
    vec![
        case("RFC9112-3-MISSING-TARGET", "GET HTTP/1.1\r\nHost: a\r\n\r\n", refused()),
        case("RFC9112-3.2-FRAGMENT-IN-TARGET", head("GET /here#there", ""), refused()),
        case("COMP-ASTERISK-WITH-GET", head("GET *", ""), refused()),
        case("COMP-OPTIONS-STAR", head("OPTIONS *", ""), seen("OPTIONS *")),
        case("COMP-ABSOLUTE-FORM", head("GET http://a/", ""), seen("GET /").has("host: a\r\n")),
        case("COMP-LONG-URL-OK", head(&long, ""), seen(long)),
        case("COMP-SPACE-IN-TARGET", head("GET /he re", ""), refused()),
    ]
}

fn bodies() -> Vec<Case> {
    vec![
        case("RFC9112-6.1-CL-NON-NUMERIC", post("Content-Length: ten\r\n", ""), refused()),
        case("RFC9112-6.1-CL-PLUS-SIGN", post("Content-Length: +5\r\n", "hello"), refused()),
        // The parser asks that chunked be the last coding before anybody asks which others there are.
        case("COMP-UNKNOWN-TE-501", post("Transfer-Encoding: gzip\r\n", ""), Verdict::Refused(&[400, 501])),
        case("COMP-POST-CL-BODY", sized("hello"), seen("POST /").body("hello")),
        case("COMP-POST-CL-ZERO", sized(""), seen("POST /")),
        case("COMP-POST-NO-CL-NO-TE", post("", ""), seen("POST /")),
        case("COMP-POST-CL-UNDERSEND", post("Content-Length: 10\r\n", "hello"), Awaited),
        case("COMP-CHUNKED-BODY", chunked("5\r\nhello\r\n0\r\n\r\n"), seen("POST /").body("hello")),
        case(
            "COMP-CHUNKED-MULTI",
            chunked("5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"),
            seen("POST /").body("hello, world"),
        ),
        case("COMP-CHUNKED-EMPTY", chunked("0\r\n\r\n"), seen("POST /")),
        case("COMP-CHUNKED-NO-FINAL", chunked("5\r\nhello\r\n"), Awaited),
        case("COMP-GET-WITH-CL-BODY", get("Content-Length: 5\r\n") + "hello", seen("GET /").body("hello")),
        case("COMP-CHUNKED-EXTENSION", chunked("5;name=value\r\nhello\r\n0\r\n\r\n"), seen("POST /").body("hello")),
        case(
            "COMP-CHUNKED-TRAILER-VALID",
            chunked("5\r\nhello\r\n0\r\nX-Digest: abc\r\n\r\n"),
            seen("POST /").body("hello"),
        ),
        case(
            "COMP-CHUNKED-HEX-UPPERCASE",
            chunked("C\r\nhello, world\r\n0\r\n\r\n"),
            seen("POST /").body("hello, world"),
        ),
    ]
}

fn methods() -> Vec<Case> {
    vec![
        // A method that we do not know is the origin's to refuse.
        case("COMP-METHOD-CASE", head("get /", ""), seen("get /")),
        case("COMP-UNKNOWN-METHOD", head("FROBNICATE /", ""), seen("FROBNICATE /")),
        case("COMP-METHOD-CONNECT", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", unsupported()),
        case("COMP-METHOD-TRACE", head("TRACE /", ""), unsupported()),
        case("COMP-TRACE-WITH-BODY", head("TRACE /", "Content-Length: 5\r\n") + "hello", unsupported()),
        case("COMP-TRACE-SENSITIVE", head("TRACE /", "Authorization: Bearer hidden\r\n"), unsupported()),
    ]
}

fn versions() -> Vec<Case> {
    let versioned = |version: &str| format!("GET / {version}\r\nHost: a\r\n\r\n");
    vec![
        case("RFC9112-2.3-INVALID-VERSION", versioned("HTTP/9.9"), Verdict::Refused(&[400, 505])),
        case("RFC9112-2.3-HTTP09-REQUEST", "GET /\r\n", refused()),
        case("COMP-VERSION-MISSING-MINOR", versioned("HTTP/1"), refused()),
        case("COMP-VERSION-LEADING-ZEROS", versioned("HTTP/01.01"), refused()),
        case("COMP-VERSION-WHITESPACE", versioned("HTTP/ 1.1"), refused()),
        case("COMP-VERSION-CASE", versioned("http/1.1"), refused()),
        case("COMP-HTTP12-VERSION", versioned("HTTP/1.2"), refused())
            .deviates("taken as HTTP/1.1 (RFC 9110 §2.5, SHOULD): the parser knows 1.0 and 1.1 only"),
        case("COMP-HTTP10-DEFAULT-CLOSE", versioned("HTTP/1.0"), passed_and_closed("GET /")),
        case(
            "COMP-HTTP10-NO-HOST",
            "GET / HTTP/1.0\r\n\r\n",
            Verdict::from(seen("GET /").has("host: localhost\r\n")).then(Closes),
        ),
        // That no 100 comes before the answer is checked for every request of HTTP/1.0.
        case(
            "COMP-NO-1XX-HTTP10",
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            Verdict::from(seen("POST /").body("hello").lacks("expect")).then(Closes),
        ),
    ]
}

fn upgrades() -> Vec<Case> {
    let asking = format!("Connection: upgrade\r\n{WEBSOCKET}");
    let old = format!("GET / HTTP/1.0\r\nHost: a\r\n{asking}\r\n");
    vec![
        case("COMP-UPGRADE-POST", post(&asking, ""), unsupported()),
        case("COMP-UPGRADE-MISSING-CONN", get(WEBSOCKET), unsupported()),
        case(
            "COMP-UPGRADE-UNKNOWN",
            get("Connection: upgrade\r\nUpgrade: semaphore/2\r\n"),
            seen("GET /").lacks("upgrade").lacks("semaphore"),
        ),
        case(
            "COMP-UPGRADE-INVALID-VER",
            get(&asking.replace("Version: 13", "Version: 99")),
            NotApplicable("an origin knows which versions of WebSocket it speaks"),
        ),
        // RFC 9110 §7.8: to be ignored.
        case("COMP-UPGRADE-HTTP10", old, Verdict::from(seen("GET /").lacks("upgrade")).then(Closes)),
    ]
}

/// What the answers of an origin look like.
fn answers() -> Vec<Case> {
    let its_methods = NotApplicable("an origin knows its methods");
    let its_dates =
        NotApplicable("an origin dates its answers; that we date those without is checked for every answer");
    let its_content = NotApplicable("an origin knows its content");
    vec![
        case("COMP-RANGE-POST", post("Content-Length: 5\r\nRange: bytes=0-9\r\n", "hello"), its_content.clone()),
        case("COMP-RANGE-INVALID", get("Range: bytes=first-last\r\n"), its_content.clone()),
        case("COMP-ACCEPT-NONSENSE", get("Accept: application/x-unheard-of\r\n"), its_content.clone()),
        case(
            "COMP-POST-UNSUPPORTED-CT",
            post("Content-Length: 5\r\nContent-Type: application/x-unheard-of\r\n", "hello"),
            its_content.clone(),
        ),
        case("COMP-CONTENT-TYPE", get(""), its_content),
        case("COMP-HEAD-NO-BODY", head("HEAD /", ""), seen("HEAD /")),
        case("COMP-405-ALLOW", head("DELETE /", ""), its_methods.clone()),
        case("COMP-OPTIONS-ALLOW", head("OPTIONS /", ""), its_methods.clone()),
        case("COMP-NO-CL-IN-204", head("OPTIONS /", ""), its_methods),
        case("COMP-DATE-HEADER", get(""), its_dates.clone()),
        case("COMP-DATE-FORMAT", get(""), its_dates),
    ]
}

fn passed_and_closed(line: &str) -> Verdict {
    Verdict::from(seen(line)).then(Closes)
}
