//! Who gets a request: round robin over the healthy ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chassis::testing::wait_until;
use futures_util::future::join_all;

use crate::backend::Backend;
use crate::balancer::{Balancer, SOON};

async fn three() -> [Backend; 3] {
    [Backend::start().await, Backend::start().await, Backend::start().await]
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.address).collect()
}

/// How many of `count` requests each backend answers, when they are sent all at once.
async fn shares(balancer: &Balancer, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for answer in join_all((0..count).map(|_| balancer.get("/data"))).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        *shares.entry(answer.text()).or_insert(0) += 1;
    }
    shares
}

#[tokio::test]
async fn shares_of_forty_parallel_requests_differ_by_at_most_one() {
    let backends = three().await;
    let balancer = Balancer::start(&addresses(&backends), &[]).await;
    for _ in 0..5 {
        let shares = shares(&balancer, 40).await;
        let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
        assert!(shares.len() == 3 && most - least <= 1, "{shares:?}");
    }
}

#[tokio::test]
async fn requests_of_one_connection_are_spread_too() {
    let backends = three().await;
    let balancer = Balancer::start(&addresses(&backends), &[]).await;
    let mut client = balancer.client().await;
    for _ in 0..30 {
        client.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
    }
    for backend in &backends {
        assert_eq!(backend.asked().len(), 10);
    }
}

#[tokio::test]
async fn connections_to_backends_are_kept() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("EVENT_LOOPS", "1")]).await;
    for _ in 0..10 {
        assert_eq!(balancer.get("/data").await.status, 200);
    }
    assert!(backend.asked().iter().all(|asked| asked.connection == 0));
}

#[tokio::test]
async fn a_backend_that_declines_gets_nothing_until_it_is_back() {
    let backends = three().await;
    let balancer = Balancer::start(&addresses(&backends), &[]).await;
    backends[1].set_ready(false);
    wait_until(SOON, "out", || async {
        balancer.metric("longshore_lb_backend_healthy", backends[1].address).await == Some(0)
    })
    .await;
    assert!(balancer.get("/ready").await.text().contains("\"degraded\""));
    let before = backends[1].asked().len();
    assert_eq!(shares(&balancer, 10).await.len(), 2);
    assert_eq!(backends[1].asked().len(), before);
    backends[1].set_ready(true);
    wait_until(SOON, "back", || async { shares(&balancer, 3).await.len() == 3 }).await;
}

#[tokio::test]
async fn when_all_look_unhealthy_all_are_used() {
    let backends = three().await;
    backends.iter().for_each(|backend| backend.set_ready(false));
    let balancer = Balancer::start(&addresses(&backends), &[]).await;
    let shares = shares(&balancer, 9).await;
    assert_eq!(shares.values().copied().collect::<Vec<_>>(), [3, 3, 3]);
}
