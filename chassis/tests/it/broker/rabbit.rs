//! What only RabbitMQ has: users and rights, a topology that may be missing, frozen and silent peers, operators.

use std::collections::HashSet;
use std::time::Duration;

use chassis::broker::{Broker, ConnectOptions, Event, Link, Message, Program, SlotConsumer, Source, Verdict, connect};
use chassis::testing::wait_until;
use futures_util::future;
use http::Method;
use protocol::envelope::{Covered, Invalidated};
use protocol::ids::{Epoch, Seq};
use protocol::topology;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use super::bench::{
    Bench, CACHE_INVALIDATED, JOBS_QUEUE, JOBS_REJECTED, SOON, any_of, bell, faulty_node, fresh_vhost, next, options,
    publish_surely, shared_node, until_depth, until_link,
};
use super::raw;

fn connected(url: &str, options: ConnectOptions) -> Broker {
    connect(&Source::url(url).unwrap(), options).unwrap()
}

async fn up(url: &str, options: ConnectOptions) -> Broker {
    let broker = connected(url, options);
    until_link(&broker, |link| *link == Link::Up).await;
    broker
}

/// Why the link stays down.
async fn down_reason(url: &str, options: ConnectOptions) -> String {
    let broker = connected(url, options);
    let is_told = |link: &Link| matches!(link, Link::Down { reason } if reason != "connecting");
    until_link(&broker, is_told).await;
    let link = broker.link().borrow().clone();
    assert_eq!(broker.publish(bell()).await, Verdict::Busy);
    match link {
        Link::Down { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_program_does_its_work_with_its_own_user() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let connect = async |program: Program| up(&node.amqp_url_for(program.as_str(), &vhost), options(program)).await;
    let gateway = connect(Program::Gateway).await;
    let worker = connect(Program::Worker).await;
    let store = connect(Program::StoreSvc).await;
    let cache = connect(Program::CacheSvc).await;

    let mut events = gateway.subscribe(CACHE_INVALIDATED);
    assert_eq!(events.next().await, Event::Gap);
    assert_eq!(gateway.publish(bell()).await, Verdict::Sent);
    assert_eq!(store.publish(bell()).await, Verdict::Sent);
    let event = Message::invalidated(&Invalidated::new(Epoch(1), Seq(1), Covered { all: true, ..Covered::default() }));
    assert_eq!(cache.publish(event.clone()).await, Verdict::Sent);
    assert_eq!(events.next().await, Event::Message(event.body));

    let mut slot = worker.consume(JOBS_QUEUE);
    next(&mut slot).await.ack();
    let delivery = next(&mut slot).await;
    assert_eq!(worker.park(JOBS_REJECTED, &delivery, "a test").await, Verdict::Sent);
    delivery.ack();
    until_depth(&store, JOBS_QUEUE, 0).await;

    assert!(node.management().publish(&vhost, topology::CACHE_INVALIDATE, "", r#"{"key":"a"}"#).await.unwrap());
    let mut intake = cache.consume(topology::CACHE_INTAKE);
    let delivery = next(&mut intake).await;
    assert!(Covered::decode(&delivery.body).is_ok());
    assert_eq!(cache.park(topology::CACHE_REJECTED, &delivery, "a test").await, Verdict::Sent);
    delivery.ack();
    let mut dead = store.consume(topology::JOBS_DEAD);
    assert!(timeout(Duration::from_millis(300), dead.next()).await.is_err());
}

#[tokio::test]
async fn operators_see_who_is_connected_consumes_and_publishes() {
    let node = shared_node().await;
    let (vhost, management) = (fresh_vhost(node).await, node.management());
    let named = |program, name: &str| options(program).named(name);
    let gateway = up(&node.amqp_url_for("gateway", &vhost), named(Program::Gateway, "edge:5000")).await;
    assert_eq!(gateway.publish(bell()).await, Verdict::Sent);
    // The canaries of the link may still lie before it.
    let taken = management.take(&vhost, JOBS_QUEUE, 9).await.unwrap();
    let bell =
        taken.iter().map(|message| &message["properties"]).find(|properties| properties["type"] == "bell").unwrap();
    assert_eq!([&bell["app_id"], &bell["content_type"]], ["gateway edge:5000", "application/json"], "{taken:?}");

    let worker = up(&node.amqp_url_for("worker", &vhost), named(Program::Worker, "w1")).await;
    let mut slots = [worker.consume(JOBS_QUEUE), worker.consume(JOBS_QUEUE)];
    let shown = async |path: String, pointer: &str, expected: &[&str]| {
        wait_until(SOON, &format!("{path} shows {expected:?}"), async || {
            let listed = management.request(Method::GET, &path, None).await.unwrap();
            let names = listed.as_array().unwrap().iter().filter_map(|one| one.pointer(pointer)?.as_str());
            let names: HashSet<&str> = names.collect();
            expected.iter().all(|name| names.contains(name))
        })
        .await;
    };
    let consuming = async |slots: u64| {
        wait_until(SOON, &format!("{slots} slots of w1 consume"), async || {
            let listed = management.request(Method::GET, &format!("consumers/{vhost}"), None).await.unwrap();
            let of_w1 = |one: &&Value| one["consumer_tag"].as_str().unwrap_or_default().starts_with("worker w1 #");
            let consumers = listed.as_array().unwrap().iter().filter(of_w1);
            consumers.filter_map(|one| one["prefetch_count"].as_u64()).sum::<u64>() == slots
        })
        .await;
    };
    consuming(2).await;
    slots[0].pause().await;
    consuming(1).await;
    slots[0].resume();
    consuming(2).await;
    let connections = ["gateway edge:5000 publish", "gateway edge:5000 consume", "worker w1 consume"];
    shown(format!("vhosts/{vhost}/connections"), "/client_properties/connection_name", &connections).await;
}

#[tokio::test]
async fn worker_may_not_ring_bells() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let worker = up(&node.amqp_url_for("worker", &vhost), options(Program::Worker)).await;
    assert_ne!(worker.publish(bell()).await, Verdict::Sent);
}

#[tokio::test]
async fn missing_topology_is_named_or_declared() {
    let node = shared_node().await;
    let vhost = "bare";
    node.management().make_bare_vhost(vhost).await.unwrap();
    let url = node.amqp_url_for("up", vhost);
    let reason = down_reason(&url, options(Program::Gateway)).await;
    assert!(reason.contains("missing in the broker: jobs, jobs.work"), "{reason}");
    assert!(reason.contains("definitions.json"), "{reason}");
    let waiting = connected(&url, options(Program::StoreSvc));
    until_link(&waiting, |link| matches!(link, Link::Down { reason } if reason.contains("missing"))).await;
    let begun_at = Instant::now();
    let declaring = up(&url, ConnectOptions { declare_missing: true, ..options(Program::Gateway) }).await;
    assert!(begun_at.elapsed() >= Duration::from_secs(3), "used before it was old enough");
    until_link(&waiting, |link| *link == Link::Up).await;
    assert_eq!(declaring.publish(bell()).await, Verdict::Sent);
    for queue in [topology::CACHE_INTAKE, topology::CACHE_REJECTED, topology::JOBS_DEAD, JOBS_REJECTED] {
        until_depth(&declaring, queue, 0).await;
    }
    assert!(node.management().publish(vhost, topology::CACHE_INVALIDATE, "", r#"{"all":true}"#).await.unwrap());
    let reason = down_reason(&node.amqp_url_for("worker", "elsewhere"), options(Program::Worker)).await;
    assert!(!reason.contains("worker-dev"), "{reason}");
}

#[tokio::test]
async fn wrong_password_is_said_without_saying_it() {
    let node = shared_node().await;
    let url = format!("amqp://up:sesame@{}/{}", node.amqp_address(), topology::VHOST);
    let reason = down_reason(&url, options(Program::Gateway)).await;
    assert!(reason.contains("ACCESS_REFUSED") || reason.to_lowercase().contains("refused"), "{reason}");
    assert!(!reason.contains("sesame"), "{reason}");
}

#[tokio::test]
async fn silent_peer_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let begun_at = Instant::now();
    let reason = down_reason(&format!("amqp://{}", listener.local_addr().unwrap()), options(Program::Gateway)).await;
    assert!(reason.contains("no broker at"), "{reason}");
    assert!(begun_at.elapsed() < Duration::from_secs(4), "{:?}", begun_at.elapsed());
}

#[tokio::test]
async fn broker_that_confirms_nothing_is_given_up() {
    let bench = Bench::rabbit().await;
    let options = ConnectOptions { confirm_deadline: Duration::from_secs(1), ..options(Program::Up) };
    let broker = bench.broker_with(options).await;
    bench.lose_answers(true);
    let asked_at = Instant::now();
    assert_eq!(broker.publish(bell()).await, Verdict::Unknown);
    // The session's end answers it, long before the deadline of the publish.
    assert!(asked_at.elapsed() < Duration::from_secs(3), "{:?}", asked_at.elapsed());
    until_link(&broker, |link| matches!(link, Link::Down { .. })).await;
    bench.lose_answers(false);
    publish_surely(&broker, &bell()).await;
}

#[tokio::test]
async fn frozen_broker_does_not_hold_a_publish() {
    let bench = Bench::faulty().await;
    let broker =
        bench.broker_with(ConnectOptions { publish_deadline: Duration::from_secs(1), ..options(Program::Up) }).await;
    let Bench::Faulty { node, .. } = &bench else { panic!("the faulty node") };
    node.freeze().await.unwrap();
    let asked_at = Instant::now();
    let verdict = broker.publish(bell()).await;
    let waited = asked_at.elapsed();
    let depth = broker.depth(JOBS_QUEUE).await;
    let asked = asked_at.elapsed() - waited;
    let closing_at = Instant::now();
    broker.close().await;
    let closed = closing_at.elapsed();
    node.thaw().unwrap();
    assert_eq!((verdict, depth), (Verdict::Unknown, None));
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert!(asked < Duration::from_secs(6), "{asked:?}");
    assert!(closed < Duration::from_secs(4), "{closed:?}");
    let again = bench.broker().await;
    publish_surely(&again, &bell()).await;
}

#[tokio::test]
async fn delivery_held_past_the_consumer_timeout_is_lost_and_the_slot_goes_on() {
    let bench = Bench::faulty().await;
    let broker = bench.broker().await;
    let mut slot = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    let held = next(&mut slot).await;
    until_depth(&broker, JOBS_QUEUE, 0).await;
    until_depth(&broker, JOBS_QUEUE, 1).await;
    held.ack();
    let again = next(&mut slot).await;
    assert!(again.redelivered);
    again.ack();
    until_depth(&broker, JOBS_QUEUE, 0).await;
}

#[tokio::test]
async fn what_was_sent_survives_a_kill_in_the_middle() {
    const CALLERS: usize = 32;
    const EACH: usize = 100;
    let mut bench = Bench::faulty().await;
    let broker = bench.broker().await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let broker = broker.clone();
        callers.spawn(async move {
            let mut sent = Vec::new();
            while sent.len() < EACH {
                let message = bell();
                let id = message.message_id.clone();
                match broker.publish(message).await {
                    Verdict::Sent => sent.push(id),
                    Verdict::Busy => until_link(&broker, |link| *link == Link::Up).await,
                    Verdict::Unknown => {}
                    other => panic!("{other:?}"),
                }
            }
            sent
        });
    }
    wait_until(SOON, "some are sent", async || broker.depth(JOBS_QUEUE).await > Some(100)).await;
    bench.stop(false).await;
    bench.start().await;
    let sent: HashSet<_> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(sent.len(), CALLERS * EACH);
    let mut slots: Vec<_> = (0..16).map(|_| broker.consume(JOBS_QUEUE)).collect();
    let mut missing = sent;
    while !missing.is_empty() {
        let delivery = any_of(&mut slots).await;
        missing.remove(delivery.message_id.as_deref().unwrap());
        delivery.ack();
    }
}

#[tokio::test]
async fn program_that_starts_during_an_alarm_waits_for_its_end() {
    let bench = Bench::faulty().await;
    bench.alarm(true).await;
    let broker = connect(&bench.source(), options(Program::Up)).unwrap();
    until_link(&broker, |link| *link == Link::Blocked).await;
    assert_eq!(broker.publish(bell()).await, Verdict::Busy);
    bench.alarm(false).await;
    until_link(&broker, |link| *link == Link::Up).await;
    assert_eq!(broker.publish(bell()).await, Verdict::Sent);
}

#[tokio::test]
async fn deleted_queue_and_exchange_are_survived_once_they_are_back() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let api = node.management();
    let broker = up(&node.amqp_url_for("up", &vhost), options(Program::Gateway)).await;
    let mut slot = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    next(&mut slot).await.ack();
    api.delete_queue(&vhost, JOBS_QUEUE).await.unwrap();
    assert_eq!(broker.publish(bell()).await, Verdict::Unroutable);
    api.delete_exchange(&vhost, topology::JOBS).await.unwrap();
    assert_eq!(broker.publish(bell()).await, Verdict::Unknown);
    until_link(&broker, |link| matches!(link, Link::Down { reason } if reason.contains("jobs.work"))).await;
    api.import_topology(&vhost, &["work"]).await.unwrap();
    until_link(&broker, |link| *link == Link::Up).await;
    publish_surely(&broker, &bell()).await;
    next(&mut slot).await.ack();
}

/// RabbitMQ 3.10 begins the consumers of such a queue anew by itself, and drops what it delivers to them.
#[tokio::test]
async fn queue_deleted_and_there_again_at_once_reaches_every_slot_while_some_are_busy() {
    const SLOTS: usize = 4;
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let api = node.management();
    let broker = up(&node.amqp_url_for("up", &vhost), options(Program::Up)).await;
    let mut slots: Vec<_> = (0..SLOTS).map(|_| broker.consume(JOBS_QUEUE)).collect();
    publish_surely(&broker, &bell()).await;
    any_of(&mut slots).await.ack();
    api.delete_queue(&vhost, JOBS_QUEUE).await.unwrap();
    api.import_topology(&vhost, &["work"]).await.unwrap();
    // Its consumer is begun on the queue that is there now.
    slots.push(broker.consume(JOBS_QUEUE));
    // Again and again, as the store rings: what is confirmed around a deletion may go with the old queue, and what was delivered to a deaf
    // consumer stays away until its channel closes.
    let ringing = async {
        let mut again = interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            publish_surely(&broker, &bell()).await;
        }
    };
    let all = timeout(Duration::from_secs(100), future::join_all(slots.iter_mut().map(SlotConsumer::next)));
    let held = tokio::select! {
        held = all => held,
        () = ringing => unreachable!(),
    };
    assert_eq!(held.map(|held| held.len()), Ok(SLOTS + 1));
}

#[tokio::test]
async fn operator_may_close_every_connection() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let broker = up(&node.amqp_url_for("up", &vhost), options(Program::Up)).await;
    let mut slot = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    next(&mut slot).await.ack();
    wait_until(SOON, "both connections are closed", async || {
        node.management().close_connections(&vhost).await.is_ok_and(|closed| closed >= 2)
    })
    .await;
    let message = bell();
    publish_surely(&broker, &message).await;
    super::bench::next_of(std::slice::from_mut(&mut slot), &message.message_id).await.ack();
}

#[tokio::test]
async fn canaries_do_not_pile_up_without_consumers() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let url = node.amqp_url_for("up", &vhost);
    for _ in 0..5 {
        up(&url, options(Program::Gateway)).await.close().await;
    }
    let store = up(&url, options(Program::StoreSvc)).await;
    until_depth(&store, JOBS_QUEUE, 0).await;
    until_depth(&store, topology::JOBS_DEAD, 6).await;
    let mut dead = store.consume(topology::JOBS_DEAD);
    assert!(timeout(Duration::from_millis(300), dead.next()).await.is_err());
    until_depth(&store, topology::JOBS_DEAD, 0).await;
}

#[tokio::test]
async fn message_that_breaks_its_consumers_connection_is_put_aside() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let cache = up(&node.amqp_url_for("cache-svc", &vhost), options(Program::CacheSvc)).await;
    let mut intake = cache.consume(topology::CACHE_INTAKE);
    raw::publish_broken(node.amqp_address(), &vhost, topology::CACHE_INVALIDATE, "").await;
    let api = node.management();
    assert!(api.publish(&vhost, topology::CACHE_INVALIDATE, "", r#"{"key":"after"}"#).await.unwrap());
    let delivery = next(&mut intake).await;
    assert_eq!(delivery.body, r#"{"key":"after"}"#);
    delivery.ack();
    wait_until(SOON, "it is put aside", async || {
        api.queue_depth(&vhost, topology::CACHE_REJECTED).await.is_ok_and(|depth| depth == Some(1))
    })
    .await;
}

#[tokio::test]
async fn node_of_the_faults_is_still_well() {
    let node = faulty_node().await;
    assert!(node.answers().await, "{}", node.log_tail());
}
