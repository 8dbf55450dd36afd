//! `Http11Probe`'s suite of smuggling: its single requests.

use super::Verdict::Broken;
use super::{Case, case, chunked, get, head, post, refused, seen, sized};

pub(super) fn cases() -> Vec<Case> {
    [lengths(), codings(), chunk_sizes(), chunk_ends(), trailers(), others()].concat()
}

fn length(value: &str, body: &str) -> String {
    post(&format!("Content-Length: {value}\r\n"), body)
}

/// A coding and the length of what follows.
fn coding(value: &str) -> String {
    post(&format!("Transfer-Encoding:{value}\r\nContent-Length: 5\r\n"), "hello")
}

fn lengths() -> Vec<Case> {
    let five = || seen("POST /").body("hello").has("content-length: 5\r\n");
    vec![
        case("SMUG-DUPLICATE-CL", post("Content-Length: 5\r\nContent-Length: 10\r\n", "helloworld"), refused()),
        // Digits are decimal, zeros in front or not (RFC 9110 §8.6); ours have none.
        case("SMUG-CL-LEADING-ZEROS", length("005", "hello"), five()),
        case("SMUG-CL-DOUBLE-ZERO", length("00", ""), seen("POST /").has("content-length: 0\r\n")),
        case(
            "SMUG-CL-LEADING-ZEROS-OCTAL",
            length("0200", &"b".repeat(200)),
            seen("POST /").body("b".repeat(200)).has("content-length: 200\r\n"),
        ),
        case("SMUG-CL-TRAILING-SPACE", length("5 ", "hello"), five()),
        case("SMUG-CL-EXTRA-LEADING-SP", length(" 5", "hello"), five()),
        case("SMUG-CL-NEGATIVE", length("-1", ""), refused()),
        case("SMUG-CL-NEGATIVE-ZERO", length("-0", ""), refused()),
        case("SMUG-CL-COMMA-DIFFERENT", length("5, 10", "hello"), refused()),
        // RFC 9110 §8.6 allows either.
        case("SMUG-CL-COMMA-SAME", length("5, 5", "hello"), refused()),
        case("SMUG-CL-COMMA-TRIPLE", length("5, 5, 5", "hello"), refused()),
        case("SMUG-CL-OCTAL", length("0o5", "hello"), refused()),
        case("SMUG-CL-HEX-PREFIX", length("0x5", "hello"), refused()),
        case("SMUG-CL-INTERNAL-SPACE", length("1 0", "helloworld"), refused()),
        case("SMUG-CL-UNDERSCORE", length("1_0", "helloworld"), refused()),
    ]
}

fn codings() -> Vec<Case> {
    const BODY: &str = "c\r\nhello, world\r\n0\r\n\r\n";
    let both = post(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", BODY.len()), BODY);
    let and_length = |coding: &str| post(&format!("Transfer-Encoding: {coding}\r\nContent-Length: 5\r\n"), "hello");
    vec![
        case("SMUG-CL-TE-BOTH", both, refused()),
        case("SMUG-TE-XCHUNKED", and_length("xchunked"), refused()),
        case("SMUG-TE-TRAILING-SPACE", and_length("chunked "), refused()),
        case("SMUG-TE-CASE-MISMATCH", and_length("Chunked"), refused()),
        case("SMUG-TE-TAB-BEFORE-VALUE", coding("\tchunked"), refused()),
        case(
            "SMUG-TE-SP-BEFORE-COLON",
            post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "hello"),
            refused(),
        ),
        case("SMUG-TE-DOUBLE-CHUNKED", and_length("chunked, chunked"), refused()),
        case("SMUG-TE-NOT-FINAL-CHUNKED", post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), refused()),
        case("SMUG-TE-HTTP10", and_length("chunked").replace("HTTP/1.1", "HTTP/1.0"), refused()),
        case("SMUG-TE-EMPTY-VALUE", and_length(""), refused()),
        case("SMUG-TE-LEADING-COMMA", and_length(", chunked"), refused()),
        case("SMUG-TE-TRAILING-COMMA", and_length("chunked,"), refused()),
        case("SMUG-TE-DUPLICATE-HEADERS", and_length("chunked\r\nTransfer-Encoding: identity"), refused()),
        case("SMUG-TE-VTAB", and_length("\x0bchunked"), refused()),
        case("SMUG-TE-FORMFEED", and_length("\x0cchunked"), refused()),
        case("SMUG-TE-NULL", and_length("chunked\0"), refused()),
        case("SMUG-TE-IDENTITY", and_length("identity"), refused()),
        case("SMUG-TE-OBS-FOLD", coding("\r\n chunked"), refused()),
        // Behind what makes one name of both, this would be the framing.
        case("SMUG-TRANSFER_ENCODING", post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"), refused()),
        case("SMUG-CHUNKED-WITH-PARAMS", and_length("chunked;q=1"), refused()),
        case("SMUG-CLTE-PIPELINE", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), refused()),
        case(
            "SMUG-TECL-PIPELINE",
            post("Transfer-Encoding: chunked\r\nContent-Length: 30\r\n", "0\r\n\r\n"),
            refused(),
        ),
    ]
}

fn chunk_sizes() -> Vec<Case> {
    let sized = |size: &str| chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
    vec![
        case("SMUG-CHUNK-UNDERSCORE", chunked("1_0\r\nhello, worldwide\r\n0\r\n\r\n"), Broken),
        case("SMUG-CHUNK-HEX-PREFIX", sized("0x5"), Broken),
        case("SMUG-CHUNK-SIZE-PLUS", sized("+5"), Broken),
        case("SMUG-CHUNK-NEGATIVE", sized("-1"), Broken),
        case("SMUG-CHUNK-LEADING-SP", sized(" 5"), Broken),
        case("SMUG-CHUNK-SIZE-TRAILING-OWS", sized("5 "), Broken),
        case("SMUG-CHUNK-BARE-SEMICOLON", sized("5;"), Broken),
        case("SMUG-CHUNK-EXT-INVALID-TOKEN", sized("5;na[me=1"), Broken),
        case("SMUG-CHUNK-EXT-CTRL", sized("5;\0name"), Broken),
        case("SMUG-CHUNK-EXT-CR", sized("5;a\rb"), Broken),
        case("SMUG-CHUNK-EXT-LF", chunked("5;\nhello\r\n0\r\n\r\n"), Broken),
        case("SMUG-CHUNK-BARE-CR-TERM", chunked("5\rhello\r\n0\r\n\r\n"), Broken),
    ]
}

fn chunk_ends() -> Vec<Case> {
    vec![
        case("SMUG-CHUNK-MISSING-TRAILING-CRLF", chunked("5\r\nhello0\r\n\r\n"), Broken),
        case("SMUG-CHUNK-SPILL", chunked("5\r\nhello!!\r\n0\r\n\r\n"), Broken),
        case("SMUG-CHUNK-LF-TERM", chunked("5\r\nhello\n0\r\n\r\n"), Broken),
        case("SMUG-CHUNK-LF-TRAILER", chunked("5\r\nhello\r\n0\r\n\n"), Broken),
    ]
}

/// What a trailer must not say is dropped with all trailers that nobody announced.
fn trailers() -> Vec<Case> {
    let trailed = |trailer: &str| chunked(&format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"));
    let untouched = || seen("POST /").body("hello");
    vec![
        case("SMUG-TRAILER-CL", trailed("Content-Length: 50"), untouched().lacks("content-length")),
        case("SMUG-TRAILER-TE", trailed("Transfer-Encoding: gzip"), untouched().lacks("gzip")),
        case("SMUG-TRAILER-HOST", trailed("Host: b"), untouched().has("host: a\r\n").lacks("host: b")),
        case("SMUG-TRAILER-AUTH", trailed("Authorization: Bearer b"), untouched().lacks("authorization")),
        case("SMUG-TRAILER-CONTENT-TYPE", trailed("Content-Type: text/b"), untouched().lacks("content-type")),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case("SMUG-BARE-CR-HEADER-VALUE", post("Content-Length: 5\r\nX-One: 1\r2\r\n", "hello"), refused()),
        case(
            "SMUG-EXPECT-100-CL",
            sized("hello").replace("Host: a", "Host: a\r\nExpect: 100-continue"),
            seen("POST /").body("hello").lacks("expect"),
        ),
        case("SMUG-HEAD-CL-BODY", head("HEAD /", "Content-Length: 5\r\n") + "hello", seen("HEAD /").body("hello")),
        case(
            "SMUG-OPTIONS-CL-BODY",
            head("OPTIONS /", "Content-Length: 5\r\n") + "hello",
            seen("OPTIONS /").body("hello"),
        ),
        // RFC 9112 §3.2 wants them equal.
        case("SMUG-ABSOLUTE-URI-HOST-MISMATCH", head("GET http://b/", ""), refused()),
        case("SMUG-MULTIPLE-HOST-COMMA", get("").replace("Host: a", "Host: a, b"), refused()),
    ]
}
