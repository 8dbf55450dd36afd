//! Every refusal is a problem, whoever refuses: our extractors, the framework, or a panic.

use chassis::http::Limits;

use crate::support::{Server, Wire, post_json};

#[tokio::test]
async fn good_requests_are_answered_on_a_kept_connection() {
    let server = Server::start(Limits::default()).await;
    let mut wire = Wire::connect(server.address).await;
    for count in 0..3 {
        let reply = wire.ask(&post_json("/items", &format!(r#"{{"name":"a","count":{count}}}"#))).await;
        assert_eq!((reply.status, &reply.json()["count"]), (200, &count.into()));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn bodies_that_are_refused_say_why_and_where() {
    let server = Server::start(Limits::default()).await;
    for (body, status, name, pointer) in [
        ("{", 400, "bad-json", None),
        ("", 400, "bad-json", None),
        (r#"{"name":5,"#, 400, "bad-json", None),
        (r#"{"name":"a"}"#, 422, "invalid", Some("/count")),
        (r#"{"name":5,"count":1}"#, 422, "invalid", Some("/name")),
        (r#"{"name":"a","count":256}"#, 422, "invalid", Some("/count")),
        (r#"{"name":"a","count":1,"more":1}"#, 422, "invalid", Some("/more")),
        (r#"["a",1]"#, 422, "invalid", Some("")),
    ] {
        let reply = server.post_json("/items", body).await;
        reply.is_problem(status, name);
        assert_eq!(reply.json()["errors"][0]["pointer"].as_str(), pointer, "{body}");
    }
}

#[tokio::test]
async fn a_body_of_another_media_type_is_415() {
    let server = Server::start(Limits::default()).await;
    for content_type in ["content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n", ""] {
        let request = format!("POST /items HTTP/1.1\r\nhost: x\r\n{content_type}content-length: 2\r\n\r\n{{}}");
        server.ask(&request).await.is_problem(415, "unsupported-media-type");
    }
}

#[tokio::test]
async fn unknown_routes_bad_ids_and_wrong_methods_are_problems() {
    let server = Server::start(Limits::default()).await;
    for path in ["/nothing", "/", "/items/7/more", "/items/seven", "/items/-1", "/items/%ff"] {
        server.get(path).await.is_problem(404, "not-found");
    }
    assert_eq!(server.get("/items/7").await.body, "7");
    let reply = server.ask("PATCH /items HTTP/1.1\r\nhost: x\r\n\r\n").await;
    reply.is_problem(405, "method-not-allowed");
    let mut allowed: Vec<_> = reply.header("allow").unwrap().split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let reply = server.ask("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    reply.is_problem(405, "method-not-allowed");
    let reply = server.ask("BREW /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await;
    reply.is_problem(404, "not-found");
}

#[tokio::test]
async fn a_bad_query_parameter_is_named() {
    let server = Server::start(Limits::default()).await;
    assert_eq!(server.get("/items?limit=5").await.body, "5");
    for (query, pointer) in [("limit=many", "/limit"), ("limit=1&limit=2", "/limit"), ("lmit=1", "/lmit")] {
        let reply = server.get(&format!("/items?{query}")).await;
        reply.is_problem(422, "invalid");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn the_inside_of_an_error_stays_inside() {
    let server = Server::start(Limits::default()).await;
    let mut wire = Wire::connect(server.address).await;
    for path in ["/broken", "/panic", "/broken"] {
        let reply = wire.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        reply.is_problem(500, "internal");
        assert!(!reply.body.contains("secret"), "{reply:?}");
        assert!(reply.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused_without_harm() {
    let server = Server::start(Limits::default()).await;
    for garbage in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
    {
        let mut wire = Wire::connect(server.address).await;
        wire.send(garbage).await;
        let reply = wire.reply().await;
        assert!((400..506).contains(&reply.status), "{garbage:?}: {reply:?}");
        wire.closed().await;
    }
    assert_eq!(server.get("/live").await.status, 200);
}
