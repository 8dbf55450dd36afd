//! Times, bounds, and the end.

use std::time::Duration;

use chassis::testing::wait_until;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::backend::{Backend, Deed, ok};
use crate::balancer::{Balancer, SOON};
use crate::client::Client;

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_answered_408() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_HEAD_MS", "300")]).await;
    let mut slow = balancer.client().await;
    let mut silent = balancer.client().await;
    slow.send("GET / HTTP/1.1\r\nhost: a\r\nx-slow").await;
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    assert_eq!(slow.rest().await, b"");
    // Who has said nothing is not told anything.
    assert_eq!(silent.rest().await, b"");
}

#[tokio::test]
async fn trickling_does_not_win_time() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_HEAD_MS", "300")]).await;
    let mut slow = balancer.client().await;
    slow.send("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    let slow = tokio::sync::Mutex::new(slow);
    wait_until(SOON, "closed although bytes come", || async { !slow.lock().await.try_send("a").await }).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_IDLE_MS", "300")]).await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.rest().await, b"");
}

/// After a second without a request a connection rests, which nobody notices.
#[tokio::test]
async fn a_connection_that_has_rested_goes_on_as_before() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_IDLE_MS", "3000")]).await;
    let mut client = balancer.client().await;
    let large = format!("GET / HTTP/1.1\r\nx-large: {}\r\nho", "x".repeat(5_000));
    for part in ["", "GET / HTTP/1.1\r\nho", &large] {
        // A part of the next head may be there already.
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n\r\n{part}")).await;
        assert_eq!(client.answer().await.status, 200);
        let mut ticks = tokio::time::interval(Duration::from_millis(1_500));
        ticks.tick().await;
        ticks.tick().await;
        client.send(["st: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"][usize::from(part.is_empty())]).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(client.rest().await, b"", "closed in time, too");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_makes_a_504() {
    let backend = Backend::doing([Deed::Ignore]).await;
    let balancer = Balancer::start(&[backend.address], &[("BACKEND_ANSWER_MS", "300")]).await;
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx"] {
        let answer = balancer.ask(request).await;
        assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("gateway-timeout")));
    }
    wait_until(SOON, "given up", || async { backend.ended() == 2 }).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_408() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_STALL_MS", "300")]).await;
    let mut client = balancer.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.problem().as_deref()), (408, Some("request-timeout")));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn connections_over_the_bound_are_told_so() {
    let backend = Backend::start().await;
    let balancer = Balancer::begin(&[backend.address], &[("CLIENT_CONNECTIONS_MAX", "2")], SOON).await;
    // One of the two waits until it is ready: another connection that asks would count until its end was seen.
    let mut kept = vec![balancer.client().await, balancer.client().await];
    let ready = async |client: &mut Client| {
        client.send("GET /ready HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.answer().await.status == 200
    };
    timeout(SOON, async { while !ready(&mut kept[0]).await {} }).await.expect("ready");
    for client in &mut kept {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
    }
    let answer = balancer.get("/data").await;
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("too-many-connections")));
    assert_eq!((answer.field("retry-after"), answer.field("connection")), (Some("1"), Some("close")));
    drop(kept);
    wait_until(SOON, "room again", || async { balancer.get("/data").await.status == 200 }).await;
}

#[tokio::test]
async fn one_address_has_its_share_of_the_connections() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_CONNECTIONS_PER_ADDRESS_MAX", "2")]).await;
    let greedy = TcpSocket::new_v4().unwrap();
    greedy.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(greedy.connect(balancer.address).await.unwrap());
    // The one that asked whether the balancer is ready may still count, so the first to be told so need not be the third.
    let mut kept = Vec::new();
    let refused = loop {
        let mut client = balancer.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = client.answer().await;
        if answer.status != 200 {
            break answer;
        }
        kept.push(client);
        assert!(kept.len() <= 2, "three are served");
    };
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("from this address"), "{}", refused.text());
    other.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(other.answer().await.status, 200);
    drop(kept);
    wait_until(SOON, "room again", || async { balancer.get("/data").await.status == 200 }).await;
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    let backend = Backend::start().await;
    let settings = [("RATE_LIMIT_PER_S", "1"), ("RATE_LIMIT_BURST", "3"), ("RATE_LIMIT_KEY", "field:x-api-key")];
    let balancer = Balancer::start(&[backend.address], &settings).await;
    let ask = async |key: &str| balancer.ask(&format!("GET /data HTTP/1.1\r\nhost: a\r\n{key}\r\n\r\n")).await;
    for key in ["x-api-key: one", "x-api-key: two", "x-other: 1"] {
        let mut answered = 0;
        let refused = loop {
            let answer = ask(key).await;
            if answer.status != 200 {
                break answer;
            }
            answered += 1;
        };
        assert!(answered >= 3, "{key}");
        assert_eq!((refused.status, refused.problem().as_deref()), (429, Some("rate-limited")));
        assert_eq!(refused.field("retry-after"), Some("1"));
    }
    // What it answers itself is not counted.
    assert_eq!(balancer.get("/live").await.status, 200);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_as_one_that_stops() {
    let backend = Backend::start().await;
    let settings = [("CLIENT_STALL_MS", "1000"), ("CLIENT_BYTES_PER_S_MIN", "1000000")];
    let balancer = Balancer::start(&[backend.address], &settings).await;
    let (read, mut write) = TcpStream::connect(balancer.address).await.unwrap().into_split();
    write.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
    let trickling = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while write.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    let mut client = Client::over(tokio::io::join(read, tokio::io::sink()));
    tokio::select! {
        answer = client.answer() => assert_eq!(answer.status, 408),
        () = trickling => panic!("it is told why"),
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_the_connection() {
    // More than all buffers on the way hold.
    let large = ok(&"x".repeat(32 << 20));
    let backend = Backend::doing([Deed::Say(large)]).await;
    let balancer = Balancer::start(&[backend.address], &[("CLIENT_STALL_MS", "300")]).await;
    let mut client = balancer.client().await;
    client.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_until(SOON, "given up", || async { backend.ended() == 1 }).await;
    assert!(client.rest().await.len() < 32 << 20);
}

#[tokio::test]
async fn it_answers_for_itself_on_three_paths() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    assert_eq!(balancer.get("/live").await.text(), "{\"status\":\"live\"}");
    let ready = balancer.get("/ready").await;
    assert_eq!((ready.status, ready.field("content-type")), (200, Some("application/json")));
    assert!(
        ready.text().contains(concat!(
            "\"program\":\"lb\",\"version\":\"",
            env!("CARGO_PKG_VERSION"),
            "\",\"status\":\"ready\""
        )),
        "{}",
        ready.text()
    );
    assert!(balancer.get("/metrics?x").await.text().contains("longshore_lb_connections"));
    let refused = balancer.ask("POST /live HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")));
    assert_eq!(backend.asked(), []);
}

#[tokio::test]
async fn a_drain_finishes_what_was_begun() {
    let backend = Backend::doing([Deed::Say(ok("early")), Deed::Wait, Deed::Say(ok("late"))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut idle = balancer.client().await;
    idle.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.text(), "early");
    let mut busy = balancer.client().await;
    busy.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_until(SOON, "asked", || async { backend.asked().len() == 2 }).await;
    balancer.trigger.drain();
    assert_eq!(idle.rest().await, b"");
    wait_until(SOON, "refusing", || async { TcpStream::connect(balancer.address).await.is_err() }).await;
    backend.gate.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("late", Some("close")));
    balancer.tasks.join(SOON).await.unwrap();
}

#[tokio::test]
async fn with_a_notice_it_serves_on_and_says_that_it_drains() {
    let backend = Backend::start().await;
    let balancer = Balancer::start(&[backend.address], &[("DRAIN_NOTICE_MS", "3600000")]).await;
    balancer.trigger.drain();
    wait_until(SOON, "draining", || async { balancer.get("/ready").await.status == 503 }).await;
    assert_eq!(balancer.get("/data").await.status, 200);
    balancer.trigger.end();
    balancer.tasks.join(SOON).await.unwrap();
}

#[tokio::test]
async fn at_the_deadline_what_still_runs_is_cut() {
    let backend = Backend::doing([Deed::Ignore]).await;
    let balancer = Balancer::start_draining_in(&[backend.address], &[], Duration::from_millis(200)).await;
    let mut busy = Client::connect(balancer.address).await;
    busy.send("GET /data HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_until(SOON, "asked", || async { backend.asked().len() == 1 }).await;
    balancer.trigger.drain();
    assert_eq!(busy.rest().await, b"");
    balancer.tasks.join(SOON).await.unwrap();
}
