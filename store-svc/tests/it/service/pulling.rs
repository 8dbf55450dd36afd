//! Workers that wait for jobs to pull.

use std::time::Duration;

use chassis::client::{Call, Error};
use protocol::ids::{ClaimId, SessionId};
use protocol::job::Settled;
use protocol::key::QueueName;
use protocol::lease_api::LEASE_MS_DEFAULT;
use protocol::problem::Kind;
use protocol::store_api::{Command, Pull, Pulled, Release, Reply};
use tokio::time::Instant;

use super::{DEADLINE, Store, create, start};

pub(super) fn asking(tasks: &[&str]) -> Pull {
    Pull {
        session: SessionId::generate(),
        worker: "w".try_into().expect("a name"),
        queues: vec!["default".try_into().expect("a queue")],
        tasks: tasks.iter().map(|task| (*task).to_owned().try_into().expect("a pattern")).collect(),
        limit: 1,
        lease_ms: LEASE_MS_DEFAULT,
        claim_id: ClaimId::generate(),
    }
}

pub(super) async fn pull(store: &Store, asking: &Pull, wait: Duration) -> Pulled {
    let call = Call::post(format!("/pull?wait_ms={}", wait.as_millis()), asking).expect("json");
    store.call(&call.within(wait + DEADLINE)).await.expect("answered").json().expect("what was pulled").body
}

/// Waits until so many workers are there, so that the first pull of each has come and found nothing.
pub(super) async fn workers(store: &Store, count: usize) {
    let there = || async { store.get::<protocol::api::Workers>("/workers").await.workers.len() >= count };
    chassis::testing::wait_until(DEADLINE, "the workers are there", there).await;
}

#[tokio::test]
async fn a_worker_that_waits_gets_the_job_that_comes() {
    let store = start().await;
    let asking = asking(&["a"]);
    let begun = Instant::now();
    let submit = async {
        workers(&store, 1).await;
        store.create(create("other")).await;
        store.create(create("a")).await.job_id
    };
    let (pulled, job_id) = tokio::join!(pull(&store, &asking, Duration::from_secs(20)), submit);
    assert_eq!(pulled.jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [job_id]);
    assert!(Duration::from_millis(pulled.waited_ms) <= begun.elapsed(), "{}", pulled.waited_ms);
    assert!(begun.elapsed() < Duration::from_secs(10), "it was woken, not its time over");
    let none = pull(&store, &asking_anew(&asking), Duration::from_millis(30)).await;
    assert!(none.jobs.is_empty() && none.waited_ms <= 30);
    store.stop().await;
}

/// The next call of the same worker.
fn asking_anew(asking: &Pull) -> Pull {
    Pull { claim_id: ClaimId::generate(), ..asking.clone() }
}

#[tokio::test]
async fn each_job_finds_a_worker_among_many_that_wait() {
    let store = start().await;
    let workers_count = 20;
    let askings: Vec<Pull> = (0..workers_count).map(|_| asking(&["a*"])).collect();
    let all =
        futures_util::future::join_all(askings.iter().map(|asking| pull(&store, asking, Duration::from_secs(20))));
    let submit = async {
        workers(&store, workers_count).await;
        for number in 0..workers_count {
            store.create(create(&format!("a{number}"))).await;
        }
    };
    let (pulled, ()) = tokio::join!(all, submit);
    let mut jobs: Vec<_> = pulled.iter().flat_map(|pulled| &pulled.jobs).map(|job| job.job_id).collect();
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len(), workers_count, "each got one of its own");
    store.stop().await;
}

#[tokio::test]
async fn a_job_that_comes_back_wakes_who_waits() {
    let store = start().await;
    store.create(create("a")).await;
    let first = pull(&store, &asking(&["a"]), Duration::ZERO).await.jobs.pop().expect("a job");
    let waiting = asking(&["a"]);
    let give_back = async {
        workers(&store, 2).await;
        let release = Release { job_id: first.job_id, fence: first.claimed.fence, output: None };
        let Reply::Settled { settled, .. } = store.apply(Command::Release(release)).await else { panic!("no answer") };
        assert_eq!(settled, Settled::Recorded);
    };
    let (second, ()) = tokio::join!(pull(&store, &waiting, Duration::from_secs(20)), give_back);
    assert_eq!(second.jobs[0].job_id, first.job_id);
    assert!(second.jobs[0].claimed.fence > first.claimed.fence);
    store.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_paused_queue_is_woken_when_it_is_resumed() {
    let store = start().await;
    let queue: QueueName = "default".try_into().expect("a queue");
    store.apply(Command::PauseQueue { queue: queue.clone() }).await;
    let mut jobs = [store.create(create("a")).await, store.create(create("a")).await].map(|job| job.job_id);
    jobs.sort_unstable();
    let askings = [asking(&["a"]), asking(&["a"])];
    let none = pull(&store, &askings[0], Duration::ZERO).await;
    assert!(none.jobs.is_empty(), "a paused queue gives nothing");
    let begun = Instant::now();
    let all =
        futures_util::future::join_all(askings.iter().map(|asking| pull(&store, asking, Duration::from_secs(20))));
    let resume = async {
        workers(&store, 2).await;
        store.apply(Command::ResumeQueue { queue }).await;
    };
    let (pulled, _) = tokio::join!(all, resume);
    let mut taken: Vec<_> = pulled.iter().flat_map(|pulled| &pulled.jobs).map(|job| job.job_id).collect();
    taken.sort_unstable();
    assert_eq!(taken, jobs);
    assert!(begun.elapsed() < Duration::from_secs(10), "they were woken, their time was not over");
    store.stop().await;
}

#[tokio::test]
async fn bad_pulls_are_refused_and_a_drain_ends_the_wait() {
    let store = start().await;
    let call = Call::post("/pull?wait_ms=0", &Pull { limit: 0, ..asking(&["a"]) }).expect("json");
    let refused = store.call(&call).await.expect_err("refused");
    assert!(matches!(&refused, Error::Problem { problem, .. } if problem.kind() == Some(Kind::Invalid)), "{refused}");
    let asking = asking(&["a"]);
    let drain = async {
        workers(&store, 1).await;
        store.trigger.drain();
    };
    let (pulled, ()) = tokio::join!(pull(&store, &asking, Duration::from_secs(20)), drain);
    assert!(pulled.jobs.is_empty());
    store.served.await.expect("not panicked").expect("ended in order");
}
