//! How fast the AMQP adapter is on this machine: a measurement, not a test. To be run alone, and with optimization:
//! `cargo test --release -p chassis --features figures --test it rate -- --nocapture`.

use std::time::Duration;

use chassis::broker::{Broker, Program, Verdict};
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bench::{Bench, JOBS_QUEUE, bell, options, until_depth};

const MESSAGES: usize = 20_000;
const SLOTS: usize = 64;

async fn publish(broker: &Broker, callers: usize) -> (f64, Duration, Duration) {
    let begun_at = Instant::now();
    let mut waits: Vec<_> = stream::iter(0..MESSAGES)
        .map(|_| {
            let broker = broker.clone();
            async move {
                let asked_at = Instant::now();
                assert_eq!(broker.publish(bell()).await, Verdict::Sent);
                asked_at.elapsed()
            }
        })
        .buffer_unordered(callers)
        .collect()
        .await;
    let rate = MESSAGES as f64 / begun_at.elapsed().as_secs_f64();
    waits.sort();
    (rate, waits[MESSAGES / 2], waits[MESSAGES * 99 / 100])
}

async fn consume(broker: &Broker) -> f64 {
    let begun_at = Instant::now();
    let mut slots = JoinSet::new();
    for _ in 0..SLOTS {
        let mut slot = broker.consume(JOBS_QUEUE);
        slots.spawn(async move {
            while let Ok(delivery) = tokio::time::timeout(Duration::from_secs(1), slot.next()).await {
                delivery.ack();
            }
        });
    }
    until_depth(broker, JOBS_QUEUE, 0).await;
    MESSAGES as f64 / begun_at.elapsed().as_secs_f64()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_of_publishing_and_consuming() {
    let bench = Bench::faulty().await;
    for window in [64, 256] {
        let mut options = options(Program::Up);
        options.window = window;
        let before = resident_mib();
        let broker = bench.broker_with(options).await;
        println!("one broker: {} MiB more", resident_mib() - before);
        for callers in [window, 512] {
            let messages_in_queue = broker.depth(JOBS_QUEUE).await;
            let (rate, p50, p99) = publish(&broker, callers).await;
            println!(
                "window {window}, {callers} callers: {rate:.0}/s, p50 {p50:?}, p99 {p99:?} (before: {messages_in_queue:?})"
            );
            println!("{SLOTS} slots: {:.0}/s", consume(&broker).await);
        }
        println!("after: {} MiB", resident_mib());
        broker.close().await;
    }
}
