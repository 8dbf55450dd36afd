//! `Http11Probe`'s suite of smuggling: its sequences, in which bytes behind one request could become another.

use super::Then::GoesOn;
use super::Verdict::{Broken, Passed};
use super::{Case, case, chunked, get, head, post, refused, seen, smuggled};

pub(super) fn cases() -> Vec<Case> {
    [two_framings(), smuggled_requests(), unread_bodies()].concat()
}

fn two_framings() -> Vec<Case> {
    let length_first =
        |length: &str, body: &str| post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), body);
    let coding_first =
        |length: &str, body: &str| post(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), body);
    vec![
        case("SMUG-CLTE-CONN-CLOSE", length_first("5", "0\r\n\r\n"), refused()),
        case("SMUG-TECL-CONN-CLOSE", coding_first("5", "0\r\n\r\n"), refused()),
        case("SMUG-CLTE-DESYNC", length_first("6", "0\r\n\r\nX"), refused()),
        case("SMUG-TECL-DESYNC", coding_first("30", "0\r\n\r\nX"), refused()),
    ]
}

/// No chunk, and a request in what remains of the length.
fn poisoned(fields: impl Fn(usize) -> String, method: &str) -> String {
    let body = format!("0\r\n\r\n{}", smuggled("").replace("GET", method));
    post(&fields(body.len()), &body)
}

fn smuggled_requests() -> Vec<Case> {
    let coded = |coding: &'static str| {
        poisoned(move |length| format!("Content-Length: {length}\r\nTransfer-Encoding: {coding}\r\n"), "GET")
    };
    let long = |prefix: &'static str, suffix: &'static str| {
        let fields =
            move |length| format!("Content-Length: {prefix}{length}{suffix}\r\nTransfer-Encoding: chunked\r\n");
        poisoned(fields, "GET")
    };
    let folded = poisoned(|length| format!("Transfer-Encoding:\r\n chunked\r\nContent-Length: {length}\r\n"), "GET");
    let of_head = poisoned(|length| format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), "HEAD");
    let two_codings = coded("chunked\r\nTransfer-Encoding: identity");
    // Its own length covers the last chunk, in case it is read as a request.
    let inner = smuggled("Content-Length: 7\r\n");
    let size = format!("{:x}\r\n", inner.len());
    let in_a_chunk = post(
        &format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", size.len()),
        &format!("{size}{inner}\r\n0\r\n\r\n"),
    );
    let behind = format!("ABCD{}", smuggled(""));
    let two_lengths = post(&format!("Content-Length: 4\r\nContent-Length: {}\r\n", behind.len()), &behind);
    vec![
        case("SMUG-CLTE-SMUGGLED-GET", coded("chunked"), refused()),
        case("SMUG-CLTE-SMUGGLED-GET-CL-PLUS", long("+", ""), refused()),
        case("SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", long("", "x"), refused()),
        case("SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD", folded, refused()),
        case("SMUG-CLTE-SMUGGLED-HEAD", of_head, refused()),
        case("SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE", coded("chunked "), refused()),
        case("SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA", coded(", chunked"), refused()),
        case("SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH", coded("Chunked"), refused()),
        case("SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET", two_codings, refused()),
        case("SMUG-TECL-SMUGGLED-GET", in_a_chunk, refused()),
        case("SMUG-DUPLICATE-CL-SMUGGLED-GET", two_lengths, refused()),
    ]
}

/// A body that a careless reader leaves on the connection.
fn unread_bodies() -> Vec<Case> {
    let next = || head("GET /next", "");
    let beginning = format!("GET {} HTTP/1.1\r\nHost: a\r\n", super::SMUGGLED);
    let with_beginning = get(&format!("Content-Length: {}\r\n", beginning.len())) + &beginning;
    let both = |first: super::Seen, second: &str| Passed(vec![first, seen(second)], GoesOn);
    let expecting = post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello");
    let folded = head("OPTIONS /", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n") + "hello";
    vec![
        case("SMUG-GET-CL-PREFIX-DESYNC", with_beginning, both(seen("GET /").body(beginning), "GET /next"))
            .then(format!("\r\n{}", next())),
        // The X is not of the first request: it begins the second one's method.
        case("SMUG-CL0-BODY-POISON", post("Content-Length: 0\r\n", "X"), both(seen("POST /"), "XGET /next"))
            .then(next()),
        case(
            "SMUG-GET-CL-BODY-DESYNC",
            get("Content-Length: 5\r\n") + "hello",
            both(seen("GET /").body("hello"), "GET /next"),
        )
        .then(next()),
        case(
            "SMUG-OPTIONS-CL-BODY-DESYNC",
            head("OPTIONS /", "Content-Length: 5\r\n") + "hello",
            both(seen("OPTIONS /").body("hello"), "GET /next"),
        )
        .then(next()),
        case("SMUG-EXPECT-100-CL-DESYNC", expecting, both(seen("POST /").body("hello"), "GET /next")).then(next()),
        case("SMUG-OPTIONS-TE-OBS-FOLD", folded, refused()).then(next()),
        case("SMUG-CHUNK-INVALID-SIZE-DESYNC", chunked("+0\r\n\r\nX"), Broken).then(next()),
        case("SMUG-PIPELINE-SAFE", get(""), both(seen("GET /"), "GET /next")).then(next()),
    ]
}
