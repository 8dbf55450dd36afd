//! The whole worker against a scripted store and the embedded broker: what it says, repeats and gives back when the store misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chassis::broker::{self, Broker, ConnectOptions, EmbeddedBroker, Message, Verdict};
use chassis::config::Source;
use chassis::shutdown::{Shutdown, Trigger};
use chassis::task::Tasks;
use chassis::testing::wait_until;
use protocol::envelope::Bell;
use protocol::ids::{Dispatch, Fence, JobId};
use protocol::job::State;
use protocol::key::{QueueName, TaskName};
use protocol::store_api::News;
use protocol::time::Timestamp;
use protocol::topology::{self, Topology};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use worker::{Config, Failure, JobContext, Registry, TaskSettings, run_with};

use crate::scripted::ScriptedStore;

const SOON: Duration = Duration::from_secs(10);
/// Short, so that the tests need not wait; the clock of leases cannot be paused.
const LEASE_MS: u64 = 3_000;

struct Bench {
    store: ScriptedStore,
    embedded: EmbeddedBroker,
    broker: Broker,
    /// Lets handlers of the task `wait` end.
    gate: Arc<Semaphore>,
    /// Handlers of the task `wait` that began.
    began: Arc<AtomicUsize>,
    /// Handlers of the task `wait` that were told to stop.
    stopped: Arc<AtomicUsize>,
}

struct RunningWorker {
    trigger: Trigger,
    tasks: Tasks,
}

impl RunningWorker {
    async fn drain(self) {
        self.trigger.drain();
        self.tasks.join(SOON).await.expect("the worker ends");
    }
}

impl Bench {
    async fn start() -> Self {
        let queue = QueueName::try_from("default").expect("a name");
        let embedded = EmbeddedBroker::new(&Topology::new(std::slice::from_ref(&queue)));
        let source = broker::Source::Embedded(embedded.clone());
        let broker =
            broker::connect(&source, ConnectOptions::new(broker::Program::Up, vec![queue])).expect("connected");
        Self {
            store: ScriptedStore::start().await,
            embedded,
            broker,
            gate: Arc::new(Semaphore::new(0)),
            began: Arc::default(),
            stopped: Arc::default(),
        }
    }

    fn registry(&self) -> Registry {
        let settings = TaskSettings { lease_ms: LEASE_MS, grace_ms: 200, ..TaskSettings::default() };
        let (gate, began, stopped) = (Arc::clone(&self.gate), Arc::clone(&self.began), Arc::clone(&self.stopped));
        let wait = move |job: JobContext| {
            let (gate, began, stopped) = (Arc::clone(&gate), Arc::clone(&began), Arc::clone(&stopped));
            async move {
                began.fetch_add(1, Ordering::Relaxed);
                tokio::select! {
                    permit = gate.acquire() => permit.map_err(Failure::from)?.forget(),
                    _ = job.cancelled() => {
                        stopped.fetch_add(1, Ordering::Relaxed);
                        return Err(Failure::new("told to stop"));
                    }
                }
                Ok(job.attempt())
            }
        };
        let echo = |job: JobContext| async move { job.payload::<serde_json::Value>() };
        let progress = |job: JobContext| async move {
            job.progress(0.5, "half");
            job.cancelled().await;
            Err::<(), _>(Failure::new("told to stop"))
        };
        let registry = Registry::new().handler_with("wait", settings, wait);
        let registry = registry.and_then(|registry| registry.handler_with("echo", settings, echo));
        registry.and_then(|registry| registry.handler_with("progress", settings, progress)).expect("valid names")
    }

    fn worker(&self, slots: &str, variables: &[(&str, &str)]) -> RunningWorker {
        let (trigger, shutdown) = Trigger::new(Duration::from_secs(3));
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let own = [
            ("LONGSHORE_STORE_URL".to_owned(), self.store.address.to_string()),
            ("LONGSHORE_SLOTS".to_owned(), slots.to_owned()),
        ];
        let source = Source::from_pairs(own.into_iter().chain(variables));
        let broker = broker::Source::Embedded(self.embedded.clone());
        let config = Config::load_with_broker(&source, broker).expect("accepted");
        let (tasks, registry) = (Tasks::new(), self.registry());
        tasks.spawn("worker", async move { run(config, registry, shutdown).await });
        RunningWorker { trigger, tasks }
    }

    async fn ring(&self, job_id: JobId, dispatch: Dispatch) {
        let task = TaskName::try_from("echo").expect("a name");
        let now = Timestamp::from_unix_ms(chassis::clock::wall_ms());
        let message = Message::bell("default", &Bell::new(job_id, dispatch, task, now, None));
        assert_eq!(self.broker.publish(message).await, Verdict::Sent);
    }

    /// Creates a job and rings its bell.
    async fn submit(&self, task: &str, payload: &str) -> JobId {
        let job_id = self.store.create(task, payload, 5);
        let dispatch = self.store.job(job_id, |row| row.job.dispatch);
        self.ring(job_id, dispatch).await;
        job_id
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        wait_until(SOON, what, || std::future::ready(holds())).await;
    }

    async fn until_state(&self, job_id: JobId, state: State) {
        let what = format!("{state:?}, not {:?}", self.store.state(job_id));
        self.until(&what, || self.store.state(job_id) == state).await;
    }

    async fn until_began(&self, handlers: usize) {
        self.until("the handler begins", || self.began.load(Ordering::Relaxed) == handlers).await;
    }

    async fn until_empty(&self) {
        let queue = topology::jobs_queue("default");
        wait_until(SOON, "the queue is empty", || async { self.broker.depth(&queue).await == Some(0) }).await;
    }

    fn commands(&self, name: &str) -> usize {
        self.store.inner().commands.iter().filter(|command| **command == name).count()
    }
}

async fn run(config: Config, registry: Registry, shutdown: Shutdown) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    run_with(listener, config, registry, shutdown).await.expect("the worker ends well");
}

#[tokio::test]
async fn job_is_claimed_run_and_recorded() {
    let bench = Bench::start().await;
    let worker = bench.worker("4", &[]);
    let jobs = futures_util::future::join_all((0..40).map(|n| {
        let (bench, payload) = (&bench, format!("{{\"n\":{n}}}"));
        async move { bench.submit("echo", &payload).await }
    }));
    for (n, job_id) in jobs.await.into_iter().enumerate() {
        bench.until_state(job_id, State::Succeeded).await;
        assert_eq!(bench.store.outcome(job_id), format!("{{\"n\":{n}}}"));
    }
    assert_eq!((bench.commands("claim"), bench.commands("complete")), (40, 40));
    worker.drain().await;
    let inner = bench.store.inner();
    assert_eq!((inner.ended_sessions, inner.sessions.len()), (1, 0));
}

#[tokio::test]
async fn lost_answers_cost_neither_a_job_nor_a_second_run() {
    let bench = Bench::start().await;
    bench.store.inner().faults.lose_answers = 3;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    bench.store.inner().faults.lose_answers = 3;
    bench.gate.add_permits(1);
    bench.until_state(job_id, State::Succeeded).await;
    bench.until("the repetitions end", || bench.store.inner().faults.lose_answers == 0).await;
    worker.drain().await;
    assert_eq!((bench.store.outcome(job_id), bench.began.load(Ordering::Relaxed)), ("1".to_owned(), 1));
    assert_eq!(bench.store.job(job_id, |row| (row.job.fence.0, row.job.attempt)), (1, 1));
}

#[tokio::test]
async fn forgotten_session_is_registered_again_and_its_leases_go_on() {
    let bench = Bench::start().await;
    let worker = bench.worker("2", &[]);
    let running = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    bench.store.inner().sessions.clear();
    let next = bench.submit("echo", "7").await;
    bench.until_state(next, State::Succeeded).await;
    assert!(bench.store.inner().unknown_sessions > 0);
    let renewals = || bench.store.job(running, |row| row.job.renewal);
    let before = renewals();
    bench.until("the lease is renewed under the new session", || renewals() > before + 2).await;
    bench.gate.add_permits(1);
    bench.until_state(running, State::Succeeded).await;
    worker.drain().await;
}

#[tokio::test]
async fn store_outage_keeps_bells_and_results() {
    let bench = Bench::start().await;
    let worker = bench.worker("2", &[]);
    let running = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    bench.store.inner().faults.away = true;
    let waiting = bench.submit("echo", "1").await;
    bench.until_empty().await;
    bench.gate.add_permits(1);
    bench.until("the handler has ended", || bench.gate.available_permits() == 0).await;
    let turned_away = bench.store.inner().turned_away;
    bench.until("the calls are repeated", || bench.store.inner().turned_away > turned_away + 5).await;
    bench.store.inner().faults.away = false;
    bench.until_state(running, State::Succeeded).await;
    bench.until_state(waiting, State::Succeeded).await;
    worker.drain().await;
}

#[tokio::test]
async fn slot_runs_one_job_while_the_end_of_the_last_is_recorded_and_no_more() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    bench.store.inner().faults.no_outcomes = true;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(bench.submit("wait", "null").await);
    }
    bench.gate.add_permits(3);
    bench.until_began(2).await;
    let turned_away = bench.store.inner().turned_away;
    bench.until("the end is told again", || bench.store.inner().turned_away > turned_away + 3).await;
    assert_eq!(bench.began.load(Ordering::Relaxed), 2, "the third waits until the first is recorded");
    bench.store.inner().faults.no_outcomes = false;
    for job in jobs {
        bench.until_state(job, State::Succeeded).await;
    }
    worker.drain().await;
}

#[tokio::test]
async fn handler_whose_lease_cannot_be_renewed_is_stopped_in_time_and_given_back() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let begun_ms = chassis::clock::now_ms();
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    bench.store.inner().faults.away = true;
    bench.until("the handler is stopped", || bench.stopped.load(Ordering::Relaxed) == 1).await;
    let stopped_after_ms = chassis::clock::now_ms() - begun_ms;
    // Heartbeats sent before the outage may have moved the end of the lease by a third of it.
    assert!((LEASE_MS * 5 / 6..=LEASE_MS * 3 / 2).contains(&stopped_after_ms), "{stopped_after_ms}");
    bench.store.inner().faults.away = false;
    bench.until_state(job_id, State::Queued).await;
    assert_eq!(bench.store.job(job_id, |row| (row.job.attempt, row.job.crashes)), (0, 0));
    assert_eq!(bench.store.outcome(job_id), "none");
    worker.drain().await;
}

#[tokio::test]
async fn silent_heartbeats_are_sent_again_before_the_lease_ends() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    let heartbeats = || bench.store.inner().heartbeats.len();
    let before = heartbeats();
    bench.store.inner().faults.silent_heartbeats = true;
    // Each goes unanswered; they come at twice the rate, over other connections.
    bench.until("two heartbeats without an answer", || heartbeats() >= before + 2).await;
    bench.store.inner().faults.silent_heartbeats = false;
    let renewals = || bench.store.job(job_id, |row| row.job.renewal);
    let then = renewals();
    bench.until("renewals go on", || renewals() > then + 3).await;
    assert_eq!(bench.stopped.load(Ordering::Relaxed), 0);
    bench.gate.add_permits(1);
    bench.until_state(job_id, State::Succeeded).await;
    worker.drain().await;
}

#[tokio::test]
async fn lost_lease_stops_the_handler_and_its_result_is_never_recorded() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    let dispatch = bench.store.reap(job_id);
    bench.until("the handler is stopped", || bench.stopped.load(Ordering::Relaxed) == 1).await;
    bench.gate.add_permits(1);
    bench.ring(job_id, dispatch).await;
    bench.until_state(job_id, State::Succeeded).await;
    assert_eq!(bench.store.job(job_id, |row| row.job.fence.0), 2);
    assert_eq!((bench.commands("complete"), bench.store.inner().refused), (1, 0));
    worker.drain().await;
}

#[tokio::test]
async fn outcome_of_a_lost_lease_is_refused_and_not_repeated() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    // The store took the lease and nobody could tell the worker yet.
    bench.store.reap(job_id);
    bench.gate.add_permits(1);
    bench
        .until("the outcome is refused, or the handler was told", || {
            bench.store.inner().refused == 1 || bench.stopped.load(Ordering::Relaxed) == 1
        })
        .await;
    assert_eq!(bench.store.state(job_id), State::Queued);
    let next = bench.submit("echo", "1").await;
    bench.until_state(next, State::Succeeded).await;
    worker.drain().await;
    assert_eq!(bench.store.state(job_id), State::Queued);
}

#[tokio::test]
async fn cancel_comes_with_the_news() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    let who = bench.store.owner(job_id);
    bench.store.inner().rows.get_mut(&job_id).expect("a row").job.cancel();
    bench.store.tell(News { cursor: 1, cancelled: vec![who], ..News::default() });
    bench.until_state(job_id, State::Cancelled).await;
    assert_eq!(bench.store.outcome(job_id), "Failed: told to stop");
    worker.drain().await;
}

#[tokio::test]
async fn progress_travels_with_a_heartbeat_at_once() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("progress", "null").await;
    bench
        .until("the progress is told", || {
            let inner = bench.store.inner();
            let mut held = inner.heartbeats.iter().flat_map(|heartbeat| &heartbeat.holds);
            held.any(|held| held.progress.as_ref().is_some_and(|progress| progress.message.as_deref() == Some("half")))
        })
        .await;
    bench.store.inner().rows.get_mut(&job_id).expect("a row").job.cancel();
    bench.until_state(job_id, State::Cancelled).await;
    worker.drain().await;
}

#[tokio::test]
async fn long_job_is_handed_to_its_lease() {
    // Sets up the recorder before anything is counted.
    drop(chassis::telemetry::render_metrics());
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[("LONGSHORE_HAND_OVER_MS", "100")]);
    let long = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    let next = bench.submit("echo", "1").await;
    let is_handed_over = || chassis::telemetry::render_metrics().contains("longshore_worker_handed_over_total 1");
    bench.until("the job is handed over", is_handed_over).await;
    // The slot is busy: its delivery is acknowledged, and no other one comes.
    assert_eq!(bench.store.state(next), State::Queued);
    assert_eq!(bench.broker.depth(&topology::jobs_queue("default")).await, Some(1));
    bench.gate.add_permits(1);
    bench.until_state(long, State::Succeeded).await;
    bench.until_state(next, State::Succeeded).await;
    worker.drain().await;
}

#[tokio::test]
async fn what_is_not_a_bell_is_put_aside() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let garbage = |body: &'static str| Message {
        exchange: topology::JOBS.into(),
        routing_key: "default".to_owned(),
        message_id: "7".to_owned(),
        kind: "bell".into(),
        content_type: None,
        headers: Vec::new(),
        body: Bytes::from_static(body.as_bytes()),
        persistent: true,
        mandatory: true,
    };
    for body in ["garbage", "", "{\"v\":99}", "{\"v\":1}"] {
        assert_eq!(bench.broker.publish(garbage(body)).await, Verdict::Sent);
    }
    bench.ring(JobId::generate(), Dispatch(1)).await;
    let job_id = bench.submit("echo", "1").await;
    bench.until_state(job_id, State::Succeeded).await;
    wait_until(SOON, "all are put aside", || async { bench.broker.depth(topology::JOBS_REJECTED).await == Some(5) })
        .await;
    worker.drain().await;
}

#[tokio::test]
async fn drain_finishes_what_it_can_and_gives_the_rest_back() {
    let bench = Bench::start().await;
    let worker = bench.worker("2", &[]);
    let (quick, slow) = (bench.submit("wait", "null").await, bench.submit("wait", "null").await);
    bench.until_began(2).await;
    let unstarted = bench.submit("echo", "1").await;
    worker.trigger.drain();
    bench
        .until("bells are no longer rung for it", || {
            bench.store.inner().heartbeats.last().is_some_and(|heartbeat| heartbeat.queues.is_empty())
        })
        .await;
    bench.gate.add_permits(1);
    worker.drain().await;
    let mut states = [bench.store.state(quick), bench.store.state(slow)];
    states.sort();
    assert_eq!(states, [State::Queued, State::Succeeded]);
    assert_eq!(bench.stopped.load(Ordering::Relaxed), 1);
    assert_eq!(bench.store.state(unstarted), State::Queued);
    assert_eq!(bench.broker.depth(&topology::jobs_queue("default")).await, Some(1));
}

#[tokio::test]
async fn second_signal_ends_at_once_and_still_gives_back() {
    let bench = Bench::start().await;
    let worker = bench.worker("1", &[]);
    let job_id = bench.submit("wait", "null").await;
    bench.until_began(1).await;
    worker.trigger.end();
    worker.tasks.join(Duration::from_secs(2)).await.expect("the worker ends at once");
    assert_eq!(bench.store.state(job_id), State::Queued);
}

/// A job with a bell, and jobs behind it that have none.
async fn backlog(bench: &Bench, jobs: usize) -> Vec<JobId> {
    let without_bell: Vec<_> = (1..jobs).map(|job| bench.store.create("echo", &job.to_string(), 5)).collect();
    bench.store.inner().backlog.extend(&without_bell);
    let first = bench.submit("echo", "0").await;
    [first].into_iter().chain(without_bell).collect()
}

fn said(bench: &Bench, command: &str) -> usize {
    bench.store.inner().commands.iter().filter(|name| **name == command).count()
}

#[tokio::test]
async fn behind_a_backlog_the_next_job_comes_with_the_answer_to_an_outcome() {
    let bench = Bench::start().await;
    let jobs = backlog(&bench, 20).await;
    let worker = bench.worker("1", &[]);
    for (number, job_id) in jobs.iter().enumerate() {
        bench.until_state(*job_id, State::Succeeded).await;
        assert_eq!(bench.store.outcome(*job_id), number.to_string());
    }
    assert_eq!((said(&bench, "claim"), said(&bench, "complete")), (1, 20));
    let after = bench.submit("echo", "1").await;
    bench.until_state(after, State::Succeeded).await;
    worker.drain().await;
}

#[tokio::test]
async fn next_job_whose_answer_was_lost_is_run_once() {
    let bench = Bench::start().await;
    let jobs = backlog(&bench, 4).await;
    bench.store.inner().faults.no_outcomes = true;
    let worker = bench.worker("1", &[]);
    bench.until("an outcome was turned away", || bench.store.inner().turned_away > 0).await;
    {
        let mut inner = bench.store.inner();
        inner.faults.no_outcomes = false;
        inner.faults.lose_answers = 1;
    }
    for job_id in &jobs {
        bench.until_state(*job_id, State::Succeeded).await;
        assert_eq!(bench.store.job(*job_id, |row| (row.job.attempt, row.job.fence)), (1, Fence(1)));
    }
    worker.drain().await;
}

/// The worker ends while a job is on its way to it.
#[tokio::test]
async fn worker_that_drains_gives_the_next_job_back() {
    let bench = Bench::start().await;
    let held = bench.submit("wait", "0").await;
    let next = bench.store.create("wait", "1", 5);
    bench.store.inner().backlog.push_back(next);
    let worker = bench.worker("1", &[]);
    bench.until_began(1).await;
    worker.trigger.drain();
    bench.gate.add_permits(1);
    bench.until_state(held, State::Succeeded).await;
    worker.drain().await;
    assert_eq!(bench.store.state(next), State::Queued, "a worker that ends asks for no more");
}
