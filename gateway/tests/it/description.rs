//! The description of the API, and the page that draws it, as a client gets them.

use std::collections::BTreeSet;

use chassis::client::Call;
use http::{HeaderValue, Method};

use crate::gateway::TestGateway;

/// More than a first look may weigh.
const PAGE_BYTES_MAX: usize = 300 << 10;

#[tokio::test]
async fn the_document_is_served_and_kept_by_its_tag() {
    let gateway = TestGateway::start().await;
    let told = gateway.get("/openapi.json").await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("application/json")));
    assert_eq!(told.body["info"]["title"], "Longshore");
    let tag = HeaderValue::from_str(told.header("etag").expect("a tag")).expect("a value");
    let again = gateway.send(Call::get("/openapi.json").header("if-none-match", tag)).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
}

#[tokio::test]
async fn each_route_has_the_methods_that_are_described_and_no_other() {
    let gateway = TestGateway::start().await;
    let document = gateway.get("/openapi.json").await.body;
    let paths = document["paths"].as_object().expect("paths");
    assert!(!paths.is_empty());
    for (path, item) in paths {
        let target = path.replace(['{', '}'], "");
        let refused = gateway.send(Call::new(Method::PATCH, target, true)).await;
        assert_eq!((refused.status, refused.problem()), (405, "method-not-allowed"), "{path}");
        let allowed: BTreeSet<String> =
            refused.header("allow").expect("Allow").split(',').map(str::to_lowercase).collect();
        let described = item.as_object().expect("operations").keys().cloned();
        let of_get = item.get("get").map(|_| "head".to_owned());
        assert_eq!(allowed, described.chain(of_get).collect(), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_whole_without_a_network() {
    let gateway = TestGateway::start().await;
    let page = gateway.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let scripts = page.text.matches("<script").count();
    assert_eq!((scripts, page.text.matches("<script src=\"docs/").count()), (1, 1), "no script within the page");
    assert!(!page.text.contains("style=") && !page.text.contains("<style"), "no style within the page");
    let named = |attribute: &str| {
        let begin = format!(" {attribute}=\"");
        let values = page.text.split(&begin).skip(1).filter_map(|rest| rest.split('"').next());
        values.filter(|value| value.starts_with("docs/")).map(str::to_owned).collect::<Vec<_>>()
    };
    let files = [named("href"), named("src")].concat();
    assert_eq!(files.len(), 2, "{files:?}");
    let mut bytes = page.text.len() + gateway.get("/openapi.json").await.text.len();
    for name in files {
        let file = gateway.get(&format!("/{name}")).await;
        assert_eq!((file.status, file.header("x-content-type-options")), (200, Some("nosniff")), "{name}");
        assert!(!file.text.contains("://"), "{name} names another place");
        bytes += file.text.len();
    }
    assert!(bytes < PAGE_BYTES_MAX, "{bytes}");
    let unknown = gateway.get("/docs/none.js").await;
    assert_eq!((unknown.status, unknown.problem()), (404, "not-found"));
}
