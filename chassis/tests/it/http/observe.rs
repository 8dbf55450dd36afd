//! Ids, traces and metrics of requests.

use chassis::http::Limits;

use crate::support::Server;

#[tokio::test]
async fn a_request_id_is_taken_or_made_and_comes_back() {
    let server = Server::start(Limits::default()).await;
    let reply = server.ask("GET /context HTTP/1.1\r\nhost: x\r\nx-request-id: mine-7\r\n\r\n").await;
    assert_eq!((reply.header("x-request-id"), &reply.json()[0]), (Some("mine-7"), &"mine-7".into()));
    let (one, other) = (server.get("/context").await, server.get("/nothing").await);
    assert_eq!(one.header("x-request-id"), one.json()[0].as_str());
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
    assert_eq!(other.header("x-request-id").unwrap().len(), 32);
}

#[tokio::test]
async fn a_trace_goes_on_under_its_id() {
    let server = Server::start(Limits::default()).await;
    let line = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let reply = server.ask(&format!("GET /context HTTP/1.1\r\nhost: x\r\ntraceparent: {line}\r\n\r\n")).await;
    let trace = reply.json()[1].as_str().unwrap().to_owned();
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01") && trace != line);
    let made = server.ask("GET /context HTTP/1.1\r\nhost: x\r\ntraceparent: nonsense\r\n\r\n").await;
    assert_eq!(made.json()[1].as_str().unwrap().len(), line.len());
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let server = Server::start(Limits::default()).await;
    for _ in 0..3 {
        server.get("/items/41").await;
    }
    server.get("/items/bad").await;
    server.get("/no/such/route/1").await;
    server.ask("BREW /items HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let metrics = server.get("/metrics").await.body;
    // Other tests of this process count too, so only what nobody else asks for is exact.
    for (route, method, status) in [
        ("/items/{id}", "GET", "200"),
        ("/items/{id}", "GET", "404"),
        ("none", "GET", "404"),
        ("/items", "other", "405"),
    ] {
        let labels = format!(r#"program="tested",route="{route}",method="{method}",status="{status}""#);
        assert!(metrics.contains(&format!("longshore_http_requests_total{{{labels}}}")), "{labels}: {metrics}");
        assert!(metrics.contains(&format!("longshore_http_request_duration_seconds_bucket{{{labels},le=\"0.001\"}}")));
    }
    assert!(!metrics.contains("/items/41") && !metrics.contains("such"), "{metrics}");
}
