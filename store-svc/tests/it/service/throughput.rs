//! Figures, not checks: `cargo test --release -p store-svc --features figures --test it throughput -- --nocapture`.

use std::time::Duration;

use chassis::broker::Port as _;
use futures_util::StreamExt as _;
use futures_util::stream;
use protocol::envelope::Bell;
use protocol::ids::{ClaimId, SessionId};
use protocol::store_api::{Answer, Claim, Command, Complete, Create, Outcome, Reply};
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::time::Instant;

use super::{Store, create, heartbeat, start};

const JOBS: usize = 20_000;
const CALLERS: usize = 16;

async fn batched<T: Clone>(
    store: &Store,
    what: &str,
    batch: usize,
    items: &[T],
    command: impl Fn(&T) -> Command,
) -> Vec<Answer> {
    let begin = Instant::now();
    let batches: Vec<Vec<Command>> = items.chunks(batch).map(|chunk| chunk.iter().map(&command).collect()).collect();
    let answers: Vec<Vec<Answer>> =
        stream::iter(batches).map(|batch| store.apply_all(batch)).buffered(CALLERS).collect().await;
    let rate = items.len() as f64 / begin.elapsed().as_secs_f64();
    println!("{what}: {rate:.0} commands/s, {CALLERS} callers with {batch} each");
    answers.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_per_second() {
    for batch in [1, 16, 64] {
        let store = start().await;
        let payload = to_raw_value(&json!({"text": "x".repeat(200)})).expect("json");
        let creates: Vec<Create> =
            (0..JOBS).map(|_| Create { payload: Some(payload.clone()), ..create("noop") }).collect();
        batched(&store, "create", batch, &creates, |create| Command::Create(Box::new(create.clone()))).await;
        let session = SessionId::generate();
        let mut beat = heartbeat(session, &["noop"]);
        beat.queues.insert("default".try_into().expect("a queue"), 64);
        store.apply(Command::Heartbeat(beat)).await;
        let mut slot = store.broker.consume("jobs.default");
        let begin = Instant::now();
        let mut done = 0;
        while done < JOBS {
            let mut bells = Vec::new();
            while bells.len() < 64 {
                match tokio::time::timeout(Duration::from_millis(if bells.is_empty() { 5_000 } else { 1 }), slot.next())
                    .await
                {
                    Ok(delivery) => {
                        bells.push(Bell::decode(&delivery.body).expect("a bell"));
                        delivery.ack();
                    }
                    Err(_) => break,
                }
            }
            assert!(!bells.is_empty(), "{done} of {JOBS}");
            let claims = bells.iter().map(|bell| {
                Command::Claim(Claim {
                    session,
                    job_id: bell.job_id,
                    dispatch: bell.dispatch,
                    claim_id: ClaimId::generate(),
                    lease_ms: 15_000,
                    or_except: None,
                })
            });
            let answers = store.apply_all(claims.collect()).await;
            let completes = answers.iter().zip(&bells).filter_map(|(answer, bell)| match answer {
                Answer::Ok(reply) => match &**reply {
                    Reply::Claimed(claimed) => Some(Command::Complete(Complete {
                        job_id: bell.job_id,
                        fence: claimed.fence,
                        outcome: Outcome::Succeeded { result: Some(payload.clone()) },
                        output: None,
                        next: None,
                    })),
                    _ => None,
                },
                Answer::Error(_) => None,
            });
            done += store.apply_all(completes.collect()).await.len();
        }
        println!(
            "run: {:.0} jobs/s through ring, claim and complete, one caller",
            JOBS as f64 / begin.elapsed().as_secs_f64()
        );
        store.stop().await;
    }
}

/// What waits must cost nothing: the same steps with nothing in the queue and with a million rows, half of them of a task that nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_beside_a_backlog() {
    const BACKLOG: usize = 1_000_000;
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    latencies(&store, session, "empty").await;
    for task in ["rare", "noop"] {
        let creates: Vec<Create> = (0..BACKLOG / 2).map(|_| create(task)).collect();
        batched(&store, task, 1_000, &creates, |create| Command::Create(Box::new(create.clone()))).await;
    }
    latencies(&store, session, "a million wait").await;
    let begin = Instant::now();
    store.heartbeat(session, &["noop", "other"]).await;
    println!("a task becomes known: {:?}", begin.elapsed());
    latencies(&store, session, "while the queue is looked through").await;
    let begin = Instant::now();
    let page: protocol::api::JobPage = store.get("/jobs?limit=50&task=absent").await;
    println!("a page that finds nothing: {:?}, next {:?}", begin.elapsed(), page.next_cursor);
    store.stop().await;
}

async fn latencies(store: &Store, session: SessionId, when: &str) {
    let (mut creates, mut claims, mut views) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..500 {
        let begin = Instant::now();
        let job = store.create(create("noop")).await.job_id;
        creates.push(begin.elapsed());
        let bell = store.next_bell().await;
        let begin = Instant::now();
        store.claim(session, &bell).await.expect("won");
        claims.push(begin.elapsed());
        let begin = Instant::now();
        store.get::<protocol::api::JobView>(&format!("/jobs/{job}")).await;
        views.push(begin.elapsed());
    }
    for (what, mut took) in [("create", creates), ("claim", claims), ("view", views)] {
        took.sort();
        println!("{when}: {what} p50 {:?} p99 {:?}", took[250], took[495]);
    }
}
