//! The coalescer: what is sent together, what is refused, and who is told what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::*;

/// A server that answers a batch only when it gets a permit, and remembers what it was sent.
#[derive(Clone)]
struct Server {
    permits: Arc<Semaphore>,
    batches: Arc<Mutex<Vec<Vec<u32>>>>,
}

impl Server {
    fn new() -> Server {
        Server { permits: Arc::new(Semaphore::new(0)), batches: Arc::default() }
    }

    fn start(&self, tasks: &Tasks, limits: CoalescerLimits) -> Coalescer<u32, u32, &'static str> {
        let server = self.clone();
        Coalescer::start(tasks, "coalescer", limits, move |batch: Vec<u32>| {
            let server = server.clone();
            server.batches.lock().unwrap().push(batch.clone());
            async move {
                server.permits.acquire().await.unwrap().forget();
                if batch.contains(&666) { Err("broken") } else { Ok(batch.iter().map(|item| item * 10).collect()) }
            }
        })
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().unwrap().iter().map(Vec::len).collect()
    }
}

/// Lets every other task of this single-threaded runtime run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

const SMALL: CoalescerLimits = CoalescerLimits { in_flight: 2, patience: Duration::ZERO, batch: 3, waiting: 5 };

#[tokio::test]
async fn what_waits_while_all_slots_are_busy_goes_as_full_batches() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, SMALL);
    let mut calls: Vec<_> = (0..7).map(|item| Box::pin(coalescer.call(item))).collect();
    // One call at a time: the first two find a free slot each, the others wait.
    for call in &mut calls {
        assert!(call.as_mut().now_or_never().is_none());
        settle().await;
    }
    assert_eq!(server.sizes(), [1, 1]);
    server.permits.add_permits(1);
    settle().await;
    assert_eq!(server.sizes(), [1, 1, 3]);
    server.permits.add_permits(10);
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [0, 10, 20, 30, 40, 50, 60]);
    assert_eq!(server.sizes(), [1, 1, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_waits_for_an_answer_but_not_for_ever() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let patience = Duration::from_millis(10);
    let coalescer = server.start(&tasks, CoalescerLimits { patience, ..SMALL });
    let mut calls: Vec<_> = (0..4).map(|item| Box::pin(coalescer.call(item))).collect();
    for call in &mut calls[..3] {
        assert!(call.as_mut().now_or_never().is_none());
        settle().await;
    }
    assert_eq!(server.sizes(), [1]);
    server.permits.add_permits(1);
    settle().await;
    assert_eq!(server.sizes(), [1, 2], "an answer lets all go that wait");
    assert!(calls[3].as_mut().now_or_never().is_none());
    tokio::time::advance(patience / 2).await;
    settle().await;
    assert_eq!(server.sizes(), [1, 2]);
    tokio::time::advance(patience).await;
    settle().await;
    assert_eq!(server.sizes(), [1, 2, 1], "no answer has come");
}

#[tokio::test]
async fn calls_made_together_go_together() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, SMALL);
    server.permits.add_permits(9);
    let answers = join_all((1..=3).map(|item| coalescer.call(item))).await;
    assert_eq!(answers, [Ok(10), Ok(20), Ok(30)]);
    assert_eq!(server.sizes(), [3]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, SMALL);
    let mut calls = Vec::new();
    for item in 0..7 {
        let mut call = Box::pin(coalescer.call(item));
        assert!(call.as_mut().now_or_never().is_none());
        settle().await;
        calls.push(call);
    }
    assert_eq!(coalescer.call(99).await, Err(CallError::Overloaded));
    server.permits.add_permits(10);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn every_caller_of_a_failed_batch_gets_its_error() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, SMALL);
    server.permits.add_permits(9);
    let answers = join_all([1, 666, 3].map(|item| coalescer.call(item))).await;
    assert_eq!(
        answers,
        [Err(CallError::Failed("broken")), Err(CallError::Failed("broken")), Err(CallError::Failed("broken"))]
    );
    assert_eq!(coalescer.call(4).await, Ok(40));
}

/// Answers to batches of payloads may be larger than what is read of an answer.
#[tokio::test]
async fn batches_halve_while_they_fail_and_grow_again_when_they_get_through() {
    let (server, tasks) = (Server::new(), Tasks::new());
    server.permits.add_permits(99);
    let limits = CoalescerLimits { in_flight: 1, batch: 8, waiting: 99, ..SMALL };
    let coalescer = server.start(&tasks, limits);
    let all = |items: [u32; 15]| join_all(items.map(|item| coalescer.call(item)));
    // Of batches of 8, 4 and 2 each fails; that of 1 does not.
    let mut items = [1; 15];
    (items[0], items[8], items[12]) = (666, 666, 666);
    let answers = all(items).await;
    assert_eq!(server.sizes(), [8, 4, 2, 1]);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    all([1; 15]).await.into_iter().for_each(|answer| assert_eq!(answer, Ok(10)));
    assert_eq!(server.sizes()[4..], [2, 4, 8, 1]);
}

#[tokio::test]
async fn a_call_given_up_before_its_batch_goes_is_not_sent() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, CoalescerLimits { in_flight: 1, ..SMALL });
    let mut first = Box::pin(coalescer.call(1));
    assert!(first.as_mut().now_or_never().is_none());
    settle().await;
    assert!(coalescer.call(2).now_or_never().is_none());
    let mut third = Box::pin(coalescer.call(3));
    assert!(third.as_mut().now_or_never().is_none());
    server.permits.add_permits(9);
    assert_eq!((first.await, third.await), (Ok(10), Ok(30)));
    assert_eq!(*server.batches.lock().unwrap(), [vec![1], vec![3]]);
}

#[tokio::test]
async fn the_driver_finishes_what_is_in_flight_and_ends_with_its_last_clone() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, SMALL);
    let call = tokio::time::timeout(Duration::from_secs(5), {
        let coalescer = coalescer.clone();
        async move { coalescer.call(7).await }
    });
    server.permits.add_permits(1);
    assert_eq!(call.await.unwrap(), Ok(70));
    drop(coalescer);
    tasks.join(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn callers_learn_that_the_driver_was_stopped() {
    let (server, tasks) = (Server::new(), Tasks::new());
    let coalescer = server.start(&tasks, SMALL);
    let mut call = Box::pin(coalescer.call(1));
    assert!(call.as_mut().now_or_never().is_none());
    settle().await;
    tasks.stop();
    assert_eq!(call.await, Err(CallError::Dropped));
    assert_eq!(coalescer.call(2).await, Err(CallError::Dropped));
}
