//! What every adapter must do, on the embedded broker and on RabbitMQ.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use chassis::broker::{Event, Message, Program, Verdict};
use chassis::testing::wait_until;
use futures_util::{StreamExt, stream};
use protocol::envelope::{Bell, Covered, Invalidated, KIND_BELL, KIND_CANARY};
use protocol::ids::{Epoch, Seq};
use protocol::topology::{DELIVERY_LIMIT, JOBS_DEAD, REASON_HEADER};
use tokio::time::Instant;

use super::bench::{
    Bench, CACHE_INVALIDATED, JOBS_QUEUE, JOBS_REJECTED, QUEUE, SOON, any_of, bell, bell_for, next, next_of,
    nothing_comes, options, publish_surely, until_depth, until_link,
};

async fn confirmed_publish_is_delivered_as_it_was_sent(bench: Bench) {
    let broker = bench.broker().await;
    let message = bell();
    assert_eq!(broker.publish(message.clone()).await, Verdict::Sent);
    let mut slot = broker.consume(JOBS_QUEUE);
    let delivery = next(&mut slot).await;
    assert_eq!(delivery.body, message.body);
    assert_eq!(delivery.message_id, Some(message.message_id));
    assert_eq!(delivery.kind.as_deref(), Some(KIND_BELL));
    for (name, value) in &message.headers {
        assert_eq!(delivery.header(name), Some(value.as_str()), "{name}");
    }
    assert!(!delivery.redelivered);
    assert!(Bell::decode(&delivery.body).is_ok());
    delivery.ack();
    nothing_comes(&mut slot).await;
    until_depth(&broker, JOBS_QUEUE, 0).await;
}

async fn unroutable_publish_is_told(bench: Bench) {
    let broker = bench.broker().await;
    assert_eq!(broker.publish(bell_for("nowhere")).await, Verdict::Unroutable);
    let optional = Message { mandatory: false, ..bell_for("nowhere") };
    assert_eq!(broker.publish(optional).await, Verdict::Sent);
}

async fn full_queue_rejects(bench: Bench) {
    let broker = bench.broker().await;
    bench.limit(5).await;
    let mut verdicts = Vec::new();
    for _ in 0..20 {
        verdicts.push(broker.publish(bell()).await);
    }
    assert_eq!(verdicts.first(), Some(&Verdict::Sent));
    assert_eq!(verdicts.last(), Some(&Verdict::Rejected));
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Sent | Verdict::Rejected)), "{verdicts:?}");
}

async fn lost_confirm_is_unknown_within_the_deadline(bench: Bench) {
    let mut options = options(Program::Up);
    options.publish_deadline = Duration::from_secs(1);
    let broker = bench.broker_with(options).await;
    bench.lose_answers(true);
    let asked_at = Instant::now();
    assert_eq!(broker.publish(bell()).await, Verdict::Unknown);
    assert!(asked_at.elapsed() < Duration::from_secs(2));
    bench.lose_answers(false);
    bench.cut().await;
    publish_surely(&broker, &bell()).await;
    // Unknown means what it says: here the message did arrive.
    wait_until(SOON, "both are there", async || broker.depth(JOBS_QUEUE).await >= Some(2)).await;
}

async fn two_thousand_publishes_with_five_percent_unroutable_are_told_apart(bench: Bench) {
    let broker = bench.broker().await;
    let verdicts = stream::iter(0..2_000)
        .map(|number| {
            let unroutable = number % 20 == 7;
            let sent = broker.publish(bell_for(if unroutable { "nowhere" } else { QUEUE }));
            async move { (unroutable, sent.await) }
        })
        .buffer_unordered(512);
    let wrong: Vec<_> = verdicts
        .filter(|(unroutable, verdict)| {
            let expected = if *unroutable { Verdict::Unroutable } else { Verdict::Sent };
            std::future::ready(*verdict != expected)
        })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{wrong:?}");
    until_depth(&broker, JOBS_QUEUE, 1_900).await;
}

async fn unacknowledged_delivery_comes_back_after_its_consumer_is_gone(bench: Bench) {
    let broker = bench.broker().await;
    publish_surely(&broker, &bell()).await;
    let mut first = broker.consume(JOBS_QUEUE);
    let held = next(&mut first).await;
    drop(first);
    let mut second = broker.consume(JOBS_QUEUE);
    let again = next(&mut second).await;
    assert!(again.redelivered);
    assert_eq!(again.message_id, held.message_id);
    // Too late: the message belongs to the other consumer.
    held.ack();
    again.ack();
    nothing_comes(&mut second).await;
}

async fn lost_delivery_comes_back_after_a_pause(bench: Bench) {
    let broker = bench.broker().await;
    publish_surely(&broker, &bell()).await;
    let mut slot = broker.consume(JOBS_QUEUE);
    let lost_at = Instant::now();
    drop(next(&mut slot).await);
    let again = next(&mut slot).await;
    assert!(again.redelivered);
    assert!(lost_at.elapsed() >= Duration::from_millis(900));
    again.ack();
}

async fn requeued_delivery_goes_to_another_consumer(bench: Bench) {
    let broker = bench.broker().await;
    let mut first = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    next(&mut first).await.requeue();
    first.pause().await;
    let mut second = broker.consume(JOBS_QUEUE);
    let again = next(&mut second).await;
    assert!(again.redelivered);
    again.ack();
    until_depth(&broker, JOBS_QUEUE, 0).await;
}

async fn bell_past_the_delivery_limit_is_left_to_the_store(bench: Bench) {
    let broker = bench.broker().await;
    let message = bell();
    publish_surely(&broker, &message).await;
    let mut slot = broker.consume(JOBS_QUEUE);
    for _ in 0..=DELIVERY_LIMIT {
        next(&mut slot).await.requeue();
    }
    let mut dead = broker.consume(JOBS_DEAD);
    let delivery = next(&mut dead).await;
    assert_eq!(delivery.body, message.body);
    assert_eq!(delivery.message_id, Some(message.message_id));
    delivery.ack();
    nothing_comes(&mut slot).await;
}

async fn no_message_waits_behind_a_busy_slot(bench: Bench) {
    let broker = bench.broker().await;
    let mut busy = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    let held = next(&mut busy).await;
    let mut free = broker.consume(JOBS_QUEUE);
    for _ in 0..5 {
        publish_surely(&broker, &bell()).await;
    }
    for _ in 0..5 {
        next(&mut free).await.ack();
    }
    nothing_comes(&mut busy).await;
    held.ack();
}

async fn hand_over_leaves_no_stray_delivery(bench: Bench) {
    let broker = bench.broker().await;
    let mut slot = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    let long = next(&mut slot).await;
    let waiting = bell();
    publish_surely(&broker, &waiting).await;
    slot.pause().await;
    long.ack();
    nothing_comes(&mut slot).await;
    until_depth(&broker, JOBS_QUEUE, 1).await;
    slot.resume();
    let delivery = next(&mut slot).await;
    assert_eq!(delivery.message_id, Some(waiting.message_id));
    assert!(!delivery.redelivered);
    delivery.ack();
    until_depth(&broker, JOBS_QUEUE, 0).await;
}

async fn pause_gives_back_what_nobody_fetched(bench: Bench) {
    let broker = bench.broker().await;
    let mut slot = broker.consume(JOBS_QUEUE);
    nothing_comes(&mut slot).await;
    publish_surely(&broker, &bell()).await;
    slot.pause().await;
    nothing_comes(&mut slot).await;
    until_depth(&broker, JOBS_QUEUE, 1).await;
    slot.resume();
    next(&mut slot).await.ack();
}

async fn cancelled_wait_loses_nothing(bench: Bench) {
    let broker = bench.broker().await;
    let mut slot = broker.consume(JOBS_QUEUE);
    let mut seen = HashSet::new();
    for _ in 0..50 {
        publish_surely(&broker, &bell()).await;
        let delivery = loop {
            if let Ok(delivery) = tokio::time::timeout(Duration::from_micros(200), slot.next()).await {
                break delivery;
            }
        };
        assert!(seen.insert(delivery.message_id.clone()));
        delivery.ack();
    }
    until_depth(&broker, JOBS_QUEUE, 0).await;
}

async fn subscription_tells_gaps_and_messages(bench: Bench) {
    let broker = bench.broker().await;
    let mut subscription = broker.subscribe(CACHE_INVALIDATED);
    let mut other = broker.subscribe(CACHE_INVALIDATED);
    assert_eq!(subscription.next().await, Event::Gap);
    assert_eq!(other.next().await, Event::Gap);
    let event = |seq| {
        let covered = Covered { keys: vec!["my_data".to_owned()], ..Covered::default() };
        Message::invalidated(&Invalidated::new(Epoch(1), Seq(seq), covered))
    };
    publish_surely(&broker, &event(1)).await;
    assert_eq!(subscription.next().await, Event::Message(event(1).body));
    assert_eq!(other.next().await, Event::Message(event(1).body));
    bench.cut().await;
    assert_eq!(subscription.next().await, Event::Gap);
    publish_surely(&broker, &event(2)).await;
    assert_eq!(subscription.next().await, Event::Message(event(2).body));
}

async fn parked_message_keeps_body_and_reason(bench: Bench) {
    let broker = bench.broker().await;
    let garbage = Message { body: Bytes::from_static(b"\xff\xfe not a bell"), ..bell() };
    publish_surely(&broker, &garbage).await;
    let mut slot = broker.consume(JOBS_QUEUE);
    let delivery = next(&mut slot).await;
    let reason = Bell::decode(&delivery.body).unwrap_err();
    assert_eq!(broker.park(JOBS_REJECTED, &delivery, &reason.to_string()).await, Verdict::Sent);
    delivery.ack();
    let mut parked = broker.consume(JOBS_REJECTED);
    let delivery = next(&mut parked).await;
    assert_eq!(delivery.body, garbage.body);
    assert_eq!(delivery.message_id, Some(garbage.message_id));
    assert_eq!(delivery.header(REASON_HEADER), Some(reason.to_string().as_str()));
    delivery.ack();
}

async fn depth_counts_what_is_ready(bench: Bench) {
    let broker = bench.broker().await;
    until_depth(&broker, JOBS_REJECTED, 0).await;
    assert_eq!(broker.depth("no.such.queue").await, None);
    for _ in 0..3 {
        publish_surely(&broker, &bell()).await;
    }
    until_depth(&broker, JOBS_QUEUE, 3).await;
    let mut slot = broker.consume(JOBS_QUEUE);
    let held = next(&mut slot).await;
    until_depth(&broker, JOBS_QUEUE, 2).await;
    drop(slot);
    until_depth(&broker, JOBS_QUEUE, 3).await;
    held.ack();
}

async fn canary_is_never_handed_out(bench: Bench) {
    let broker = bench.broker().await;
    let mut slot = broker.consume(JOBS_QUEUE);
    // Another program connects, and proves the queue with a canary of its own.
    let other = bench.broker().await;
    publish_surely(&other, &Message { kind: KIND_CANARY.into(), ..bell() }).await;
    let message = bell();
    publish_surely(&broker, &message).await;
    let delivery = next(&mut slot).await;
    assert_eq!(delivery.message_id, Some(message.message_id));
    delivery.ack();
    nothing_comes(&mut slot).await;
    until_depth(&broker, JOBS_QUEUE, 0).await;
}

async fn acknowledged_is_written_out_before_closing(bench: Bench) {
    let broker = bench.broker().await;
    for _ in 0..20 {
        publish_surely(&broker, &bell()).await;
    }
    let mut slots: Vec<_> = (0..10).map(|_| broker.consume(JOBS_QUEUE)).collect();
    for _ in 0..20 {
        any_of(&mut slots).await.ack();
    }
    broker.close().await;
    let other = bench.broker().await;
    until_depth(&other, JOBS_QUEUE, 0).await;
    let mut slot = other.consume(JOBS_QUEUE);
    nothing_comes(&mut slot).await;
}

async fn work_flows_again_after_a_cut(bench: Bench) {
    let broker = bench.broker().await;
    let mut slots: Vec<_> = (0..4).map(|_| broker.consume(JOBS_QUEUE)).collect();
    for _ in 0..3 {
        let message = bell();
        publish_surely(&broker, &message).await;
        // An acknowledgement may be lost in the cut.
        next_of(&mut slots, &message.message_id).await.ack();
        bench.cut().await;
    }
}

async fn busy_slot_is_not_refilled_after_an_outage(bench: Bench) {
    let broker = bench.broker().await;
    let mut busy = broker.consume(JOBS_QUEUE);
    publish_surely(&broker, &bell()).await;
    let held = next(&mut busy).await;
    bench.cut().await;
    let mut free = broker.consume(JOBS_QUEUE);
    let again = next(&mut free).await;
    assert!(again.redelivered);
    assert_eq!(again.message_id, held.message_id);
    again.ack();
    publish_surely(&broker, &bell()).await;
    next(&mut free).await.ack();
    nothing_comes(&mut busy).await;
    held.ack();
    drop(free);
    publish_surely(&broker, &bell()).await;
    next(&mut busy).await.ack();
}

async fn outage_is_answered_busy_and_survived(mut bench: Bench, gracefully: bool) {
    let broker = bench.broker().await;
    let mut slots = vec![broker.consume(JOBS_QUEUE)];
    let mut subscription = broker.subscribe(CACHE_INVALIDATED);
    assert_eq!(subscription.next().await, Event::Gap);
    publish_surely(&broker, &bell()).await;
    let kept = next(&mut slots[0]).await;
    slots.extend([broker.consume(JOBS_QUEUE), broker.consume(JOBS_QUEUE)]);
    bench.stop(gracefully).await;
    until_link(&broker, |link| matches!(link, chassis::broker::Link::Down { .. })).await;
    let asked_at = Instant::now();
    assert_eq!(broker.publish(bell()).await, Verdict::Busy);
    assert!(asked_at.elapsed() < Duration::from_millis(100));
    assert_eq!(broker.depth(JOBS_QUEUE).await, None);
    bench.start().await;
    let back_at = Instant::now();
    let kept_id = kept.message_id.clone().unwrap();
    // The holder is still busy; another slot gets the message again.
    let again = next_of(&mut slots[1..], &kept_id).await;
    assert!(back_at.elapsed() < Duration::from_secs(5), "{:?}", back_at.elapsed());
    assert!(again.redelivered);
    kept.ack();
    again.ack();
    assert_eq!(subscription.next().await, Event::Gap);
    let message = bell();
    publish_surely(&broker, &message).await;
    next_of(&mut slots, &message.message_id).await.ack();
}

async fn outage_with_a_graceful_stop_is_survived(bench: Bench) {
    outage_is_answered_busy_and_survived(bench, true).await;
}

async fn outage_with_a_kill_is_survived(bench: Bench) {
    outage_is_answered_busy_and_survived(bench, false).await;
}

async fn alarm_answers_busy_at_once_and_deliveries_go_on(bench: Bench) {
    let broker = bench.broker().await;
    for _ in 0..3 {
        publish_surely(&broker, &bell()).await;
    }
    bench.alarm(true).await;
    // RabbitMQ says it only after something was published.
    let asked_at = Instant::now();
    let first = broker.publish(bell()).await;
    assert!(matches!(first, Verdict::Unknown | Verdict::Busy), "{first:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
    until_link(&broker, |link| *link == chassis::broker::Link::Blocked).await;
    let asked_at = Instant::now();
    assert_eq!(broker.publish(bell()).await, Verdict::Busy);
    assert!(asked_at.elapsed() < Duration::from_millis(50));
    let mut slot = broker.consume(JOBS_QUEUE);
    for _ in 0..3 {
        next(&mut slot).await.ack();
    }
    bench.alarm(false).await;
    publish_surely(&broker, &bell()).await;
    until_link(&broker, |link| *link == chassis::broker::Link::Up).await;
    next(&mut slot).await.ack();
}

/// Each check once per adapter.
macro_rules! conformance {
    ($($bench:ident: $($check:ident)+;)+) => {
        mod embedded {
            $($(#[tokio::test] async fn $check() { super::$check(super::Bench::embedded().await).await; })+)+
        }
        mod rabbit {
            $($(#[tokio::test] async fn $check() { super::$check(super::Bench::$bench().await).await; })+)+
        }
    };
}

conformance! {
    rabbit:
        confirmed_publish_is_delivered_as_it_was_sent
        unroutable_publish_is_told
        full_queue_rejects
        lost_confirm_is_unknown_within_the_deadline
        two_thousand_publishes_with_five_percent_unroutable_are_told_apart
        unacknowledged_delivery_comes_back_after_its_consumer_is_gone
        lost_delivery_comes_back_after_a_pause
        requeued_delivery_goes_to_another_consumer
        bell_past_the_delivery_limit_is_left_to_the_store
        no_message_waits_behind_a_busy_slot
        hand_over_leaves_no_stray_delivery
        pause_gives_back_what_nobody_fetched
        cancelled_wait_loses_nothing
        subscription_tells_gaps_and_messages
        parked_message_keeps_body_and_reason
        depth_counts_what_is_ready
        canary_is_never_handed_out
        acknowledged_is_written_out_before_closing
        work_flows_again_after_a_cut
        busy_slot_is_not_refilled_after_an_outage;
    faulty:
        outage_with_a_graceful_stop_is_survived
        outage_with_a_kill_is_survived
        alarm_answers_busy_at_once_and_deliveries_go_on;
}
