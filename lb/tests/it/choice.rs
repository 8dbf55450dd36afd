//! Who is asked besides whose turn it is: the least busy, not the one that answers badly, nobody who has no room.

use std::net::SocketAddr;

use chassis::testing::wait_until;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::backend::{Backend, Deed, ok};
use crate::balancer::{Balancer, SOON};

const GET: &str = "GET /data HTTP/1.1\r\nhost: a\r\n\r\n";
const ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const HEALTHY: &str = "longshore_lb_backend_healthy";
const IN_FLIGHT: &str = "longshore_lb_backend_in_flight";

async fn until_metric(balancer: &Balancer, name: &str, of: SocketAddr, value: u64) {
    wait_until(SOON, &format!("{name} of {of} is {value}"), || async {
        balancer.metric(name, of).await == Some(value)
    })
    .await;
}

/// One that answers when its gate opens.
async fn gated() -> Backend {
    Backend::doing([Deed::Wait, Deed::Say(ok("late")), Deed::Say(ok("later"))]).await
}

#[tokio::test]
async fn whoever_answers_badly_is_left_out_for_a_while() {
    let bad = Backend::doing([Deed::Say(ERROR.into())]).await;
    let good = [Backend::start().await, Backend::start().await];
    let addresses = [bad.address, good[0].address, good[1].address];
    let balancer = Balancer::start(&addresses, &[("EJECT_MS", "2000"), ("BACKEND_SLOW_START_MS", "0")]).await;
    wait_until(SOON, "out", || async {
        join_all((0..6).map(|_| balancer.get("/data"))).await;
        balancer.metric(HEALTHY, bad.address).await == Some(0)
    })
    .await;
    let before = bad.asked().len();
    for answer in join_all((0..9).map(|_| balancer.get("/data"))).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(bad.asked().len(), before);
    assert_eq!(balancer.metric("longshore_lb_backend_ejections_total", bad.address).await, Some(1));
    until_metric(&balancer, HEALTHY, bad.address, 1).await;
}

#[tokio::test]
async fn whoever_could_not_be_reached_is_asked_again_once_it_can() {
    let (gone, good) = (Backend::start().await, [Backend::start().await, Backend::start().await]);
    let addresses = [gone.address, good[0].address, good[1].address];
    // Checks alone would never take it out.
    let settings = [("CHECK_FALL", "1000"), ("EJECT_MS", "3600000"), ("BACKEND_SLOW_START_MS", "0")];
    let balancer = Balancer::start(&addresses, &settings).await;
    gone.stop().await;
    wait_until(SOON, "out", || async {
        join_all((0..6).map(|_| balancer.get("/data"))).await;
        balancer.metric(HEALTHY, gone.address).await == Some(0)
    })
    .await;
    let listener = TcpListener::bind(gone.address).await.unwrap();
    let back = Backend::on(listener, [Deed::Say(ok("back"))]);
    until_metric(&balancer, HEALTHY, back.address, 1).await;
    wait_until(SOON, "asked", || async { balancer.get("/data").await.text() == "back" }).await;
}

#[tokio::test]
async fn requests_go_around_whoever_is_busy() {
    let (busy, free) = (gated().await, Backend::start().await);
    let balancer = Balancer::start(&[busy.address, free.address], &[("PICK", "least-in-flight")]).await;
    // The first ones may go to either.
    let mut waiting = Vec::new();
    while busy.asked().is_empty() {
        let mut client = balancer.client().await;
        client.send(GET).await;
        waiting.push(client);
        wait_until(SOON, "asked", || async { busy.asked().len() + free.asked().len() == waiting.len() }).await;
    }
    until_metric(&balancer, IN_FLIGHT, free.address, 0).await;
    for _ in 0..20 {
        assert_eq!(balancer.get("/data").await.text(), free.address.to_string());
    }
    busy.gate.add_permits(1);
}

#[tokio::test]
async fn requests_go_around_whoever_failed() {
    let failing = Backend::doing([Deed::Say(ERROR.into()), Deed::Say(ok("again"))]).await;
    let good = Backend::start().await;
    let settings = [("PICK", "peak-ewma"), ("EJECT_IN_A_ROW", "0")];
    let balancer = Balancer::start(&[failing.address, good.address], &settings).await;
    wait_until(SOON, "it failed", || async { balancer.get("/data").await.status == 500 }).await;
    for _ in 0..20 {
        assert_eq!(balancer.get("/data").await.text(), good.address.to_string());
    }
}

#[tokio::test]
async fn requests_wait_for_room_and_no_more_than_may() {
    let backend = gated().await;
    let settings = [("BACKEND_IN_FLIGHT_MAX", "1"), ("BACKEND_QUEUE_MAX", "1"), ("BACKEND_QUEUE_MS", "60000")];
    let balancer = Balancer::start(&[backend.address], &settings).await;
    let mut first = balancer.client().await;
    first.send(GET).await;
    until_metric(&balancer, IN_FLIGHT, backend.address, 1).await;
    let mut second = balancer.client().await;
    second.send(GET).await;
    wait_until(SOON, "one waits", || async {
        balancer.get("/metrics").await.text().contains("lb_queued{program=\"lb\"} 1")
    })
    .await;
    let third = balancer.get("/data").await;
    assert_eq!((third.status, third.field("retry-after").is_some()), (503, true), "{}", third.text());
    assert_eq!(backend.asked().len(), 1);
    backend.gate.add_permits(1);
    assert_eq!(first.answer().await.text(), "late");
    assert_eq!(second.answer().await.text(), "later");
}

#[tokio::test]
async fn whoever_waits_for_room_too_long_is_told_so() {
    let backend = gated().await;
    let settings = [("BACKEND_IN_FLIGHT_MAX", "1"), ("BACKEND_QUEUE_MS", "20")];
    let balancer = Balancer::start(&[backend.address], &settings).await;
    let mut first = balancer.client().await;
    first.send(GET).await;
    until_metric(&balancer, IN_FLIGHT, backend.address, 1).await;
    assert_eq!(balancer.get("/data").await.status, 503);
    // Those that wait for something else need no room.
    let mut waiting = balancer.client().await;
    waiting.send("GET /data HTTP/1.1\r\nhost: a\r\nprefer: wait=5\r\n\r\n").await;
    assert_eq!(waiting.answer().await.text(), "late");
    backend.gate.add_permits(1);
    assert_eq!(first.answer().await.text(), "later");
}

#[tokio::test]
async fn repeats_are_bounded() {
    const REQUESTS: usize = 600;
    let backends = [Backend::doing([Deed::Close]).await, Backend::doing([Deed::Close]).await];
    let balancer = Balancer::start(&[backends[0].address, backends[1].address], &[]).await;
    let started = Instant::now();
    for _ in 0..REQUESTS {
        assert_eq!(balancer.get("/data").await.status, 502);
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let repeats = backends.iter().map(|backend| backend.asked().len()).sum::<usize>() - REQUESTS;
    // At first, of the requests, and of the time; that of the start of the balancer included.
    let most = 100 + REQUESTS / 5 + 10 * (seconds + 1);
    assert!((100..=most).contains(&repeats) && most < REQUESTS, "{repeats} of at most {most}");
}

#[tokio::test]
async fn whoever_comes_back_starts_with_a_tenth() {
    let backends = [Backend::start().await, Backend::start().await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let balancer = Balancer::start(&addresses, &[("BACKEND_SLOW_START_MS", "3600000")]).await;
    backends[0].set_ready(false);
    until_metric(&balancer, HEALTHY, addresses[0], 0).await;
    backends[0].set_ready(true);
    until_metric(&balancer, HEALTHY, addresses[0], 1).await;
    wait_until(SOON, "a tenth", || async {
        let before = backends[0].asked().len();
        join_all((0..11).map(|_| balancer.get("/data"))).await;
        backends[0].asked().len() - before == 1
    })
    .await;
}
