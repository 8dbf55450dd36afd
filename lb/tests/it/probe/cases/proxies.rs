//! HTTP Garden's trophies: what proxies were caught at, and what it met by the way. The numbers are those of its list, which has no
//! proxy 8; what it found behind HTTP/2 is asked of HTTP/1.1 here.

use super::Then::{Closes, Refuses};
use super::Verdict::{self, Broken, NotApplicable};
use super::{Case, case, chunked, get, post, refused, seen, smuggled};

pub(super) fn cases() -> Vec<Case> {
    [lengths(), chunks(), codings(), fields(), bonus()].concat()
}

fn length(value: &str, body: &str) -> String {
    post(&format!("Content-Length: {value}\r\n"), body)
}

fn lengths() -> Vec<Case> {
    let two = format!("Content-Length: 0\r\nContent-Length: {}\r\n", smuggled("").len());
    let empty_first = format!("Content-Length: \r\nContent-Length: {}\r\n", smuggled("").len());
    let both = post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    vec![
        case("PROXY-1", length("0x10", "b"), refused()),
        case("PROXY-5", length("", ""), refused()),
        case("PROXY-11", post(&empty_first, &smuggled("")), refused()),
        case(
            "PROXY-21",
            get("Content-Length: 10\r\n") + "helloworld",
            seen("GET /").body("helloworld").has("content-length: 10\r\n"),
        ),
        case("PROXY-22", post(&two, &smuggled("")), refused()),
        case("PROXY-23", both, refused()),
    ]
}

fn chunks() -> Vec<Case> {
    let behind = |chunks: &str| chunked(&format!("{chunks}{}0\r\n\r\n", smuggled("Content-Length: 5\r\n")));
    let inner = format!("0\r\n\r\n{}", smuggled(""));
    let extra_line = chunked(&format!("{:x}\r\n{inner}\r\n\r\n0\r\n\r\n", inner.len()));
    vec![
        case("PROXY-2", chunked("Z\r\nZZ\r\nZZZ\r\n\r\n"), Broken),
        case("PROXY-3", behind("2\r\r;a\r\n02\r\n41\r\n0\r\n\r\n"), Broken),
        case("PROXY-4", chunked("1\r0\n"), Broken),
        case("PROXY-7", chunked("1and-what-nobody-looks-at\r\nb\r\n0\r\n\r\n"), Broken),
        case("PROXY-13", chunked("a\r\nhelloworld\n0\r\n\r\n"), Broken),
        case("PROXY-17", extra_line, Broken),
        case("PROXY-19", chunked("-0x0\r\n\r\n"), Broken),
        case("PROXY-24", chunked("           0\r\n\r\n"), Broken),
    ]
}

fn codings() -> Vec<Case> {
    let and_length = post("Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n");
    let closing = and_length.replace("Host: a", "Host: a\r\nConnection: close");
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    vec![
        case("PROXY-9", post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), refused()),
        case("PROXY-15", closing, refused()),
        case("PROXY-18", and_length, refused()),
        case("PROXY-25", post(twice, "0\r\n\r\n"), refused()),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        case("PROXY-6", [b"GET / HTTP/1.1\r\nHost: a\r\nX-One", &b"\x85"[..], b": 1\r\n\r\n"].concat(), refused()),
        case("PROXY-10", get("X-One: 1\r2\r3\r\n"), refused()),
        case("PROXY-12", "GET / HTTP/1.1\r\nHost: a\0.b\r\n\r\n", refused()),
        case("PROXY-14", get("X-\nOne: 1\r\nConnection: close\r\n"), refused()),
        case(
            "PROXY-16",
            "GET / HTTP/1.1\nHost: a\nConnection: close\n\n",
            Verdict::from(seen("GET /").has("host: a\r\n")).then(Closes),
        ),
        case("PROXY-20", get("a:b\r\nc\0\r\n"), refused()),
    ]
}

/// The two of HTTP/2 are in `http2_abuse.rs`.
fn bonus() -> Vec<Case> {
    vec![
        case("BONUS-1", get(""), NotApplicable("memory of a FastCGI client; any request without a body did it")),
        case("BONUS-2", get(""), NotApplicable("memory of another proxy; any request did it")),
        case("BONUS-3", chunked("0\r\n\r\n\0"), Verdict::from(seen("POST /")).then(Refuses)),
        // What a backend may do meanwhile is among the answers.
        case("BONUS-4", chunked("1\r\nb\r\n0\r\n\r\n"), seen("POST /").body("b")),
        case("BONUS-5", get(""), NotApplicable("memory of another server; any request did it")),
    ]
}
