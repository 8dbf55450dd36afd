//! What operators see and do.

use std::net::SocketAddr;

use chassis::testing::wait_until;
use futures_util::future::join_all;
use serde_json::Value;

use crate::backend::{Backend, Deed, ok};
use crate::balancer::{Balancer, SOON};
use crate::client::Client;

async fn set(balancer: &Balancer, backend: SocketAddr, weight: u32) {
    let answer = balancer.operate("PUT", &format!("/backends/{backend}"), &format!("{{\"weight\":{weight}}}")).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// The state of each backend, by address.
async fn states(balancer: &Balancer) -> Vec<(String, String)> {
    let view: Value = serde_json::from_str(&balancer.operate("GET", "/backends", "").await.text()).unwrap();
    let text = |backend: &Value, name: &str| backend[name].as_str().unwrap().to_owned();
    view["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| (text(backend, "address"), text(backend, "state")))
        .collect()
}

async fn until_state(balancer: &Balancer, backend: SocketAddr, state: &str) {
    let expected = (backend.to_string(), state.to_owned());
    wait_until(SOON, &format!("{backend} is {state}"), || async { states(balancer).await.contains(&expected) }).await;
}

/// How many of `count` requests a backend answers.
async fn share(balancer: &Balancer, backend: &Backend, count: usize) -> usize {
    let before = backend.asked().len();
    for answer in join_all((0..count).map(|_| balancer.get("/data"))).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    backend.asked().len() - before
}

#[tokio::test]
async fn backends_are_added_weighed_drained_and_removed() {
    let (first, second) = (Backend::start().await, Backend::start().await);
    let balancer = Balancer::start(&[first.address], &[("BACKEND_SLOW_START_MS", "0")]).await;
    set(&balancer, second.address, 3).await;
    until_state(&balancer, second.address, "healthy").await;
    assert_eq!(share(&balancer, &second, 40).await, 30);
    set(&balancer, second.address, 0).await;
    until_state(&balancer, second.address, "draining").await;
    assert_eq!(share(&balancer, &second, 10).await, 0);
    assert_eq!(balancer.operate("DELETE", &format!("/backends/{}", second.address), "").await.status, 204);
    wait_until(SOON, "removed", || async { states(&balancer).await.len() == 1 }).await;
    assert_eq!(share(&balancer, &first, 10).await, 10);
}

#[tokio::test]
async fn requests_that_have_begun_outlive_their_backends_removal() {
    let leaving = Backend::doing([Deed::Wait, Deed::Say(ok("late"))]).await;
    let balancer = Balancer::start(&[leaving.address], &[]).await;
    let mut client = balancer.client().await;
    client.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_until(SOON, "asked", || async { !leaving.asked().is_empty() }).await;
    let staying = Backend::start().await;
    set(&balancer, staying.address, 1).await;
    assert_eq!(balancer.operate("DELETE", &format!("/backends/{}", leaving.address), "").await.status, 204);
    wait_until(SOON, "removed", || async { states(&balancer).await.len() == 1 }).await;
    leaving.gate.add_permits(1);
    assert_eq!(client.answer().await.text(), "late");
    // The same connection goes on with who is there now.
    client.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), staying.address.to_string());
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let check = async |method: &str, path: &str, body: &str, status: u16, says: &str| {
        let answer = balancer.operate(method, path, body).await;
        assert!(answer.status == status && answer.text().contains(says), "{method} {path}: {}", answer.text());
    };
    check("PUT", "/backends/nowhere", "{\"weight\":1}", 422, "host:port").await;
    check("PUT", "/backends/a:1", "{\"weight\":257}", 422, "to 256").await;
    check("PUT", "/backends/a:1", "{}", 422, "weight").await;
    check("DELETE", "/backends/a:1", "", 404, "not-found").await;
    check("DELETE", &format!("/backends/{}", backend.address), "", 409, "last backend").await;
    let mut client = Client::connect(balancer.admin).await;
    client.send("GET /backends HTTP/1.1\r\nhost: rebound.example.com\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
}

#[tokio::test]
async fn a_file_is_read_again_and_a_wrong_one_changes_nothing() {
    let (first, second) = (Backend::start().await, Backend::start().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backends.toml");
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(format!("[[backend]]\naddress = \"{}\"\n", first.address));
    let settings = [("BACKENDS_FILE", path.to_str().unwrap()), ("BACKEND_SLOW_START_MS", "0")];
    let balancer = Balancer::start(&[], &settings).await;
    assert_eq!(share(&balancer, &first, 4).await, 4);
    let one =
        |backend: &Backend, weight: u32| format!("[[backend]]\naddress = \"{}\"\nweight = {weight}\n", backend.address);
    write(one(&first, 1) + &one(&second, 3));
    assert_eq!(balancer.operate("POST", "/reload", "").await.status, 204);
    until_state(&balancer, second.address, "healthy").await;
    assert_eq!(share(&balancer, &second, 40).await, 30);
    write("[[backend]]\n".to_owned());
    let refused = balancer.operate("POST", "/reload", "").await;
    assert!(refused.status == 422 && refused.text().contains("address"), "{}", refused.text());
    assert_eq!(share(&balancer, &second, 40).await, 30);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let page = balancer.operate("GET", "/", "").await;
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("<title>Longshore balancer</title>") && !page.text().contains("://"));
}
