//! Heads in, heads out.

use http::Request;

use super::*;

const OURS: &str = "forwarded: for=192.0.2.7;proto=http, x-forwarded-for: 192.0.2.7, x-forwarded-host: a, \
                    x-forwarded-proto: http, x-request-id: 0000000000000000000000000000002a";

fn head(line: &str, fields: &[(&str, &str)]) -> request::Parts {
    let (method, target) = line.split_once(' ').unwrap();
    let (target, version) = match target.split_once(' ') {
        Some((target, _)) => (target, Version::HTTP_10),
        None => (target, Version::HTTP_11),
    };
    let mut head = Request::builder().method(method).uri(target).version(version).body(()).unwrap().into_parts().0;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        head.headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    head
}

/// The fields in alphabetical order, as theirs does not matter.
fn shown(headers: &HeaderMap) -> String {
    let mut fields: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    fields.sort_unstable();
    fields.join(", ")
}

fn admitted(line: &str, fields: &[(&str, &str)]) -> Result<request::Parts, Refusal> {
    let mut head = head(line, fields);
    admit(&mut head, &Origin::of([192, 0, 2, 7].into(), "http"), || 42).map(|()| head)
}

/// What remains of the client's fields, besides those that we set.
fn check(line: &str, fields: &[(&str, &str)], target: &str, remaining: &str) {
    let mut head = admitted(line, fields).unwrap();
    assert_eq!((head.uri.to_string().as_str(), head.version), (target, Version::HTTP_11), "{line} {fields:?}");
    for name in [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, FORWARDED, REQUEST_ID] {
        assert_eq!(head.headers.get_all(&name).iter().count(), 1, "{name}");
        head.headers.remove(name);
    }
    let mut expected: Vec<_> = remaining.split(", ").collect();
    expected.sort_unstable();
    assert_eq!(shown(&head.headers), expected.join(", "), "{line} {fields:?}");
}

fn check_refused(line: &str, fields: &[(&str, &str)], refusal: Refusal) {
    assert_eq!(admitted(line, fields).err(), Some(refusal), "{line} {fields:?}");
}

#[test]
fn a_plain_request_passes_with_the_forwarding_fields() {
    let head = admitted("GET /data?x=1", &[("host", "a"), ("accept", "*/*")]).unwrap();
    assert_eq!(
        shown(&head.headers),
        format!("accept: */*, {}", OURS.replace("x-forwarded-for", "host: a, x-forwarded-for"))
    );
    check("GET /data?x=1", &[("host", "a"), ("accept", "*/*")], "/data?x=1", "host: a, accept: */*");
    check("OPTIONS *", &[("host", "a")], "*", "host: a");
}

#[test]
fn hop_by_hop_and_nominated_fields_are_dropped() {
    check("GET /", &[("host", "a"), ("connection", "keep-alive"), ("keep-alive", "timeout=5")], "/", "host: a");
    check(
        "GET /",
        &[("host", "a"), ("connection", "close, X-Secret"), ("x-secret", "1"), ("x-other", "2")],
        "/",
        "host: a, x-other: 2",
    );
    check(
        "GET /",
        &[("host", "a"), ("connection", "x-a"), ("connection", ",x-b ,"), ("x-a", "1"), ("x-b", "2")],
        "/",
        "host: a",
    );
    check(
        "GET /",
        &[("host", "a"), ("proxy-connection", "keep-alive"), ("te", "gzip"), ("expect", "100-continue")],
        "/",
        "host: a",
    );
    check("GET /", &[("host", "a"), ("te", "gzip;q=1, trailers")], "/", "host: a, te: trailers, connection: te");
    check(
        "GET /",
        &[("host", "a"), ("upgrade", "h2c"), ("http2-settings", "AAM"), ("connection", "upgrade, http2-settings")],
        "/",
        "host: a",
    );
}

#[test]
fn framing_and_host_cannot_be_nominated_away() {
    let nominated = [("host", "a"), ("connection", "host, content-length"), ("content-length", "3")];
    check("POST /", &nominated, "/", "host: a, content-length: 3");
    let chunked = [("host", "a"), ("connection", "transfer-encoding"), ("transfer-encoding", "Chunked")];
    check("POST /", &chunked, "/", "host: a, transfer-encoding: chunked");
}

#[test]
fn what_a_client_says_about_forwarding_is_replaced() {
    let spoofed = [
        ("host", "a"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "10.0.0.1"),
        ("x_real_ip", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x-forwarded-host", "evil"),
        ("connection", "x-forwarded-for"),
    ];
    let mut head = admitted("GET /", &spoofed).unwrap();
    head.headers.remove(HOST);
    assert_eq!(shown(&head.headers), OURS);
    let origin = Origin::of("2001:db8::1".parse().unwrap(), "http");
    assert_eq!(
        (origin.address, origin.forwarded),
        ("2001:db8::1".parse().unwrap(), "for=\"[2001:db8::1]\";proto=http".parse().unwrap())
    );
    assert_eq!(Origin::of("::ffff:192.0.2.7".parse().unwrap(), "http").address, "192.0.2.7");
}

#[test]
fn ids_are_kept_if_usable_and_the_trace_always() {
    let kept = admitted("GET /", &[("host", "a"), ("x-request-id", "abc"), ("traceparent", "00-1-2-01")]).unwrap();
    assert_eq!(
        (&kept.headers["x-request-id"], &kept.headers["traceparent"]),
        (&"abc".parse().unwrap(), &"00-1-2-01".parse().unwrap())
    );
    for bad in ["", "with space", &"x".repeat(129)] {
        let replaced = admitted("GET /", &[("host", "a"), ("x-request-id", bad)]).unwrap();
        assert_eq!(replaced.headers["x-request-id"], "0000000000000000000000000000002a", "{bad}");
    }
}

#[test]
fn absolute_targets_become_paths_and_name_the_host() {
    check("GET http://b:80/x?y", &[("host", "b:80")], "/x?y", "host: b:80");
    check("GET http://b:80/", &[("host", "B")], "/", "host: b:80");
    check("GET http://b 1.0", &[], "/", "host: b");
    check("GET http://b#x", &[("host", "b")], "/", "host: b");
    check("GET http://b?y", &[("host", "b")], "/?y", "host: b");
    check_refused("GET http://b/", &[], Refusal::Host);
    check_refused("GET http://b/", &[("host", "a")], Refusal::Host);
    check_refused("GET http://b/", &[("host", "b"), ("host", "b")], Refusal::Host);
    check_refused("GET http://b/ 1.0", &[("host", "a")], Refusal::Host);
    check_refused("GET http://user@b/", &[("host", "b")], Refusal::Target);
    check_refused("GET *", &[("host", "a")], Refusal::Target);
    check_refused("GET ftp://b/", &[("host", "b")], Refusal::Target);
}

#[test]
fn one_plain_host_is_required() {
    check_refused("GET /", &[], Refusal::Host);
    check_refused("GET /", &[("host", "a"), ("host", "a")], Refusal::Host);
    for bad in [
        "", "a b", "a,b", "a/b", "user@a", "a#", "a?", ":80", "a:b", "a:1:2", "a:65536", "a:-1", "[::1", "[]",
        "[::1]x", "a[1]",
    ] {
        check_refused("GET /", &[("host", bad)], Refusal::Host);
    }
    for good in ["a", "a.b-c_d", "a:", "a:8000", "192.0.2.7:80", "[::1]", "[2001:db8::1]:80", "%41"] {
        check("GET /", &[("host", good)], "/", &format!("host: {good}"));
    }
    check("GET / 1.0", &[], "/", "host: localhost");
    check("GET / 1.0", &[("host", "a")], "/", "host: a");
}

#[test]
fn a_websocket_is_asked_for_in_our_own_words() {
    check(
        "GET /",
        &[("host", "a"), ("connection", "Upgrade, x-mine"), ("upgrade", "WebSocket"), ("x-mine", "1")],
        "/",
        "host: a, connection: upgrade, upgrade: websocket",
    );
}

#[test]
fn what_would_not_arrive_as_meant_is_refused() {
    check_refused("TRACE /", &[("host", "a")], Refusal::Method);
    check_refused("GET /", &[("host", "a"), ("upgrade", "h2c, WebSocket/13")], Refusal::Upgrade);
    check_refused("POST /", &[("host", "a"), ("transfer-encoding", "gzip, chunked")], Refusal::TransferCoding);
}

#[test]
fn what_may_end_here_or_there_is_refused() {
    for coding in ["gzip", "chunked, chunked", "identity", "xchunked", "", ",chunked", "chunked,", "chunked;q=1"] {
        check_refused("POST /", &[("host", "a"), ("transfer-encoding", coding)], Refusal::Framing);
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("content_length", "3"),
        ("transfer_encoding", "chunked"),
    ] {
        let fields = [("host", "a"), ("transfer-encoding", "chunked"), (name, value)];
        check_refused("POST /", &fields, Refusal::Framing);
    }
    check_refused("POST /", &[("host", "a"), ("content-length", "3"), ("content-length", "4")], Refusal::Framing);
    for length in ["", "+3", "0x3", "3, 3", "0999999999999999999999"] {
        check_refused("POST /", &[("host", "a"), ("content-length", length)], Refusal::Framing);
    }
}

#[test]
fn a_length_has_one_reading() {
    for (said, passed) in [("0", "0"), ("10", "10"), ("00", "0"), ("010", "10")] {
        let expected = format!("host: a, content-length: {passed}");
        check("POST /", &[("host", "a"), ("content-length", said)], "/", &expected);
        check("POST /", &[("host", "a"), ("content-length", said), ("content-length", passed)], "/", &expected);
    }
}

#[test]
fn an_old_client_cannot_ask_for_another_protocol() {
    check("GET / 1.0", &[("host", "a"), ("connection", "upgrade"), ("upgrade", "websocket")], "/", "host: a");
}

#[test]
fn answers_lose_what_concerns_the_other_connection() {
    let mut headers = head(
        "GET /",
        &[
            ("connection", "close, x-hop"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("etag", "\"1\""),
            ("content-length", "5"),
            ("x-forwarded-for", "kept"),
        ],
    )
    .headers;
    assert_eq!(pass_on(&mut headers), Ok(()));
    assert_eq!(shown(&headers), "etag: \"1\", x-forwarded-for: kept");
    let mut coded = head("GET /", &[("transfer-encoding", "gzip, chunked")]).headers;
    assert_eq!(pass_on(&mut coded), Err(Refusal::TransferCoding));
}

#[test]
fn who_asks_to_wait_is_known() {
    let check = |name: &'static str, value: &'static str, expected: bool| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(asks_to_wait(&headers), expected, "{name}: {value}");
    };
    check("prefer", "wait=5", true);
    check("prefer", "respond-async, Wait=30", true);
    check("prefer", "handling=lenient", false);
    check("accept", "text/event-stream", true);
    check("accept", "application/json, text/event-stream;q=0.5", true);
    check("accept", "*/*", false);
}
