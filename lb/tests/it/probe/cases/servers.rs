//! HTTP Garden's trophies: what servers were caught at. The numbers are those of its list; ours must not pass such requests on.

use super::Then::{Closes, Refuses};
use super::Verdict::{self, Broken};
use super::{Case, SMUGGLED, case, chunked, get, head, post, refused, seen, smuggled};

pub(super) fn cases() -> Vec<Case> {
    [numbers(), names_and_values(), lines(), versions_and_methods(), codings(), chunks(), several()].concat()
}

/// In place of another's bytes, which are no text.
fn bytes(before: &str, odd: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), odd, after.as_bytes()].concat()
}

fn length(value: &str, body: &str) -> String {
    post(&format!("Content-Length: {value}\r\n"), body)
}

fn numbers() -> Vec<Case> {
    vec![
        case("SERVER-10", length("+1_0", "helloworld"), refused()),
        case("SERVER-16", length("", ""), refused()),
        case("SERVER-23", post("Content-Length: 1\r\nContent-Length: 0\r\n", "b"), refused()),
        case("SERVER-26", length("-48", ""), refused()),
        case("SERVER-29", length("1b", "b"), refused()),
        // Eight to those who read octal; we say it in a way that has no other reading.
        case("SERVER-32", length("010", "helloworld"), seen("POST /").body("helloworld").has("content-length: 10\r\n")),
        case("SERVER-33", post("Content-Length: 0\r\nContent-Length: 1\r\n", "b"), refused()),
        case("SERVER-38", length("", &smuggled("")), refused()),
        case("SERVER-42", post("Content-Length: \r\nContent-Length: 43\r\n", &smuggled("")), refused()),
    ]
}

fn names_and_values() -> Vec<Case> {
    let odd_name: Vec<u8> = (0..=b' ').filter(|byte| !b"\r\n".contains(byte)).chain(*b"\"(),/;<=>?@[/]{}").collect();
    vec![
        case("SERVER-2", get("X-One: 1\0\r2\r\n"), refused()),
        case("SERVER-3", post("Content-Length : 34\r\n", &smuggled("")), refused()),
        case("SERVER-4", "GET / HTTP/1.1\r\n\tContent-Length: 1\r\nHost: a\r\n\r\nb", refused()),
        case("SERVER-8", bytes("GET / HTTP/1.1\r\nHost: a\r\n", b"\xef", "one: 1\r\n\r\n"), refused()),
        case("SERVER-13", get("X-One: 1\rX-Two: 2\r\n"), refused()),
        case("SERVER-14", bytes("GET / HTTP/1.1\r\nHost: a\r\n", &odd_name, ": 1\r\n\r\n"), refused()),
        case("SERVER-18", "GET / HTTP/1.1\r\n: nameless\r\nHost: a\r\n\r\n", refused()),
        case(
            "SERVER-20",
            bytes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length", b"\x85", ": 5\r\n\r\nhello"),
            refused(),
        ),
        case("SERVER-27", get(":\r\nX-One: 1\r\n"), refused()),
        case("SERVER-28", post("Content-Length 5\r\n", "hello"), refused()),
        case("SERVER-34", get("X-One: 1\r2\r\n"), refused()),
        case("SERVER-35", get("X-One: 1\0and more\r\nConnection: close\r\n"), refused()),
        case("SERVER-37", post("Transfer-\r\nEncoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), refused()),
        // Bytes beyond ASCII are part of a value (RFC 9110 §5.5), to be passed on as they are.
        case(
            "SERVER-41",
            bytes("GET / HTTP/1.1\r\nHost: a\r\nX-User: ", b"\x85me\xa0", "\r\n\r\n"),
            seen("GET /").has("x-user: \u{fffd}me\u{fffd}\r\n"),
        ),
        case("SERVER-43", get("X-One: 1\0\r\n"), refused()),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        case("SERVER-9", "GET /\nHTTP/1.1\r\nHost: a\r\n\r\n", refused()),
        // Two LFs end a head; what follows is a request, and has no Host.
        case(
            "SERVER-19",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX-One:\n\nGET {SMUGGLED} HTTP/1.1\r\n\r\n"),
            Verdict::from(seen("GET /").has("x-one: \r\n")).then(Refuses),
        ),
        case(
            "SERVER-30",
            format!("GET / HTTP/1.1\r\nHost: a\r\n\rbGET {SMUGGLED}: HTTP/1.1\r\nHost: a\r\n\r\n"),
            refused(),
        ),
    ]
}

fn versions_and_methods() -> Vec<Case> {
    let versioned = |version: &str| format!("GET / {version}\r\nHost: a\r\n\r\n");
    vec![
        case("SERVER-5", versioned("HTTP/1.32"), refused()),
        case("SERVER-6", head("G=\":<>(e),[T];?\" /", ""), refused()),
        case("SERVER-7", head("GET !", ""), refused()),
        case("SERVER-15", versioned("HTTP/\r\r1.1"), refused()),
        case("SERVER-24", versioned("HTTP/4294967297.257"), refused()),
        case("SERVER-40", "\0 / HTTP/......0001.1000.\r\nHost: a\r\n\r\n", refused()),
    ]
}

fn codings() -> Vec<Case> {
    let coded = |coding: &[u8]| bytes("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ", coding, "\r\n\r\n0\r\n\r\n");
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    vec![
        case("SERVER-11", post(twice, "1\r\nb\r\n0\r\n\r\n"), refused()),
        case("SERVER-12", coded(b"\xa0chunked\xa0"), refused()),
        case("SERVER-21", post("Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), refused()),
        case("SERVER-44", coded(b"unheard-of"), refused()),
        case(
            "SERVER-46",
            bytes(
                "POST / HTTP/1.1\r\nHost: ",
                b"\xffa\xff",
                "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
            ),
            refused(),
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let behind = |chunks: &str| chunked(&format!("{chunks}{}0\r\n\r\n", smuggled("Content-Length: 5\r\n")));
    let long = "b".repeat(0x41);
    vec![
        case("SERVER-1", behind("0_2e\r\n\r\n"), Broken),
        case("SERVER-17", chunked("\r\n\r\n"), Broken),
        case("SERVER-22", behind("0x2e\r\n\r\n"), Broken),
        case("SERVER-25", behind("-0\r\n\r\n"), Broken),
        case("SERVER-31", behind("5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n"), Broken),
        case("SERVER-36", behind(&format!("41;a=b\r\r{long}\r\n0\r\n\r\n")), Broken),
        // A trailer, however it looks.
        case("SERVER-39", chunked(&format!("0\r\nX:POST {SMUGGLED} HTTP/1.1\r\n\r\n")), seen("POST /").lacks(SMUGGLED)),
        case("SERVER-47", chunked(&format!("INVALID\r\n{}", smuggled(""))), Broken),
    ]
}

fn several() -> Vec<Case> {
    let second = smuggled("");
    let announced = head("POST /second", &format!("Content-Length: {}\r\n", second.len()));
    vec![
        case("SERVER-45", get("Connection: close\r\n") + "Invalid\r\n\r\n", Verdict::from(seen("GET /")).then(Closes)),
        case(
            "SERVER-48",
            post("Content-Length: 0\r\nConnection: keep-alive\r\n", "") + &announced,
            Verdict::Passed(vec![seen("POST /"), seen("POST /second").body(second.clone())], super::Then::GoesOn),
        )
        .then(second),
    ]
}
