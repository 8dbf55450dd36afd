//! The routes: what they refuse, how they wait, what each answer carries.

use std::sync::Arc;
use std::time::Duration;

use chassis::client::{Answer as HttpAnswer, Call, Error};
use chassis::config::ExitWith;
use http::{Method, StatusCode};
use protocol::api::{JobPage, JobView, Status, Workers};
use protocol::ids::{Epoch, InstanceId, JobId, Position, SessionId};
use protocol::problem::{Kind, Problem};
use protocol::queue::Queues;
use protocol::store_api::{
    Answer, Change, Command, Create, FencedThrough, INCARNATION_HEADER, LogPage, News, POSITION_HEADER, PutData,
    QueuePause, Reply, SequencerAnswer,
};
use serde_json::value::to_raw_value;
use tokio::time::Instant;

use super::{DEADLINE, Store, broker, config, create, start};

async fn problem(store: &Store, path: &str) -> Problem {
    match store.call(&Call::get(path)).await {
        Err(Error::Problem { problem, .. }) => *problem,
        other => panic!("{path} was not refused: {other:?}"),
    }
}

/// Requests sent after a long-poll have come and gone, so that one is most likely waiting; what it must answer is the same if not.
async fn others_were_answered(store: &Store) {
    for _ in 0..5 {
        store.get::<Workers>("/workers").await;
    }
}

async fn refused(store: &Store, path: &str, kind: Kind) {
    assert_eq!(problem(store, path).await.kind(), Some(kind), "{path}");
}

async fn put(store: &Store, key: &str) -> Position {
    let data = to_raw_value(&1).expect("json");
    let put = PutData::json(key.try_into().expect("a key"), data);
    let Reply::DataWritten { position, .. } = store.apply(Command::PutData(put)).await else { panic!("not written") };
    position
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_reason() {
    let store = start().await;
    for path in ["/jobs/7", &format!("/jobs/{}", JobId::generate()), "/data/absent", "/nowhere"] {
        refused(&store, path, Kind::NotFound).await;
    }
    for path in [
        "/jobs?status=lost",
        "/jobs?limit=0",
        "/jobs?limit=501",
        "/jobs?cursor=x",
        "/jobs?colour=red",
        "/log?after=-1",
        "/log?kinds=gossip",
        "/log?limit=0",
        "/log?wait_ms=30001",
        "/fenced",
    ] {
        refused(&store, path, Kind::Invalid).await;
    }
    refused(&store, &format!("/sessions/{}/news", SessionId::generate()), Kind::UnknownSession).await;
    let job = store.create(create("noop")).await.job_id;
    refused(&store, &format!("/jobs/{job}/result"), Kind::NotFinished).await;
    store.apply(Command::Cancel { job_id: job }).await;
    refused(&store, &format!("/jobs/{job}/result"), Kind::NoResult).await;
    for (body, status) in [("{", 400), ("{}", 422), (r#"{"items":[{"dance":{}}]}"#, 422)] {
        let call = Call::new(Method::POST, "/apply", true).json_bytes(body);
        let Err(Error::Problem { problem, .. }) = store.call(&call).await else { panic!("{body} was accepted") };
        assert_eq!(problem.status, status, "{body}");
    }
    let many = vec![Command::Cancel { job_id: job }; 1_001];
    let call = Call::post("/apply", &protocol::store_api::Apply { items: many }).expect("json");
    assert!(matches!(store.call(&call).await, Err(Error::Problem { problem, .. }) if problem.status == 422));
    store.stop().await;
}

#[tokio::test]
async fn every_answer_says_where_in_which_history() {
    let store = start().await;
    let job = store.create(create("noop")).await.job_id;
    let place = |answer: &HttpAnswer<bytes::Bytes>| {
        (answer.number(POSITION_HEADER), answer.text(INCARNATION_HEADER).map(ToOwned::to_owned))
    };
    let log: LogPage = store.get("/log").await;
    let incarnation = Some(log.incarnation.to_string());
    for path in [format!("/jobs/{job}"), "/jobs".into(), "/workers".into(), "/db".into(), "/data/my_data".into()] {
        let answer = store.call(&Call::get(path.as_str())).await.expect("answered");
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(place(&answer), (Some(1), incarnation.clone()), "{path}");
    }
    store.stop().await;
}

#[tokio::test]
async fn the_log_is_followed_as_it_grows() {
    let store = start().await;
    let position = put(&store, "k").await;
    let follow = format!("/log?after={position}&wait_ms=5000&kinds=job");
    let (page, job): (LogPage, _) = tokio::join!(store.get(&follow), async {
        others_were_answered(&store).await;
        store.create(create("noop")).await.job_id
    });
    let expected = Change::Job { job_id: job, run: 1, status: Status::Queued };
    assert_eq!(page.entries.iter().map(|entry| entry.change.clone()).collect::<Vec<_>>(), [expected]);
    // One that waits for the other kind is not woken, and knows then that nothing of it came.
    let follow = format!("/log?after={position}&wait_ms=100&kinds=invalidation");
    let page: LogPage = store.get(&follow).await;
    assert_eq!((page.entries.len(), page.position), (0, position.next()));
    assert_eq!(page.renewed, None);
    // From beyond the head, which commits have reached that were lost since, it is not followed at all.
    for kinds in ["job", "invalidation"] {
        let beyond = format!("/log?after={}&wait_ms=30000&kinds={kinds}", position.0 + 2);
        let told = tokio::time::timeout(DEADLINE, problem(&store, &beyond)).await.expect("told at once");
        assert_eq!(told.kind(), Some(Kind::LogTrimmed));
    }
    store.stop().await;
}

#[tokio::test]
async fn fences_are_waited_for() {
    let store = start().await;
    let instance = InstanceId::generate();
    let granted = store.apply(Command::SequencerAcquire { instance }).await;
    assert!(matches!(granted, Reply::Sequencer(SequencerAnswer::Granted { epoch: Epoch(1), .. })));
    let position = put(&store, "k").await;
    let wait = format!("/fenced?through={position}&wait_ms=5000");
    let (fenced, _): (FencedThrough, _) = tokio::join!(store.get(&wait), async {
        others_were_answered(&store).await;
        store.apply(Command::Fenced { epoch: Epoch(1), through: position }).await
    });
    assert_eq!(fenced.fenced_through, position);
    let renewing =
        |instance: InstanceId, epoch: u64| format!("/log?after={position}&instance={instance}&epoch={epoch}");
    let page: LogPage = store.get(&renewing(instance, 1)).await;
    assert_eq!((page.renewed, page.fenced_through), (Some(true), position));
    let page: LogPage = store.get(&renewing(InstanceId::generate(), 1)).await;
    assert_eq!(page.renewed, Some(false));
    store.stop().await;
}

#[tokio::test]
async fn a_cancel_reaches_its_session_at_once() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    let job_id = store.create(create("noop")).await.job_id;
    let bell = store.next_bell().await;
    let fence = store.claim(session, &bell).await.expect("won").fence;
    let path = format!("/sessions/{session}/news?after=0&wait_ms=5000");
    let (news, _): (News, _) = tokio::join!(store.get(&path), async {
        others_were_answered(&store).await;
        store.apply(Command::Cancel { job_id }).await
    });
    assert_eq!(news.cancelled, [protocol::store_api::JobFence { job_id, fence }]);
    let path = format!("/sessions/{session}/news?after={}&wait_ms=50", news.cursor);
    let news: News = store.get(&path).await;
    assert!(news.cancelled.is_empty() && news.lost.is_empty());
    let workers: Workers = store.get("/workers").await;
    assert_eq!(workers.workers.iter().map(|worker| (worker.slots, worker.busy)).collect::<Vec<_>>(), [(4, 1)]);
    store.stop().await;
}

#[tokio::test]
async fn a_pause_is_told_and_a_resume_rings_what_waits() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    let queue = || "default".try_into().expect("a queue");
    let path = format!("/sessions/{session}/news?after=0&wait_ms=5000");
    let (news, _): (News, _) = tokio::join!(store.get(&path), async {
        others_were_answered(&store).await;
        store.apply(Command::PauseQueue { queue: queue() }).await
    });
    assert_eq!(news.pauses, [QueuePause { queue: "default".to_owned(), paused: true }]);
    let job_id = store.create(create("noop")).await.job_id;
    let only = async || store.get::<Queues>("/queues").await.queues.pop().expect("the only queue");
    let paused = only().await;
    assert_eq!((paused.paused, paused.depth.queued, paused.bells, paused.window), (true, 1, 0, 16));
    assert_eq!((paused.last_minute.arrived, paused.oldest.map(|oldest| oldest.job_id)), (1, Some(job_id)));
    store.apply(Command::ResumeQueue { queue: queue() }).await;
    let bell = store.next_bell().await;
    assert_eq!(bell.job_id, job_id);
    store.claim(session, &bell).await.expect("won");
    let running = only().await;
    assert_eq!((running.depth.queued, running.depth.running, running.last_minute.started), (0, 1, 1));
    store.stop().await;
}

#[tokio::test]
async fn lists_are_paged() {
    let store = start().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(store.create(create("noop")).await.job_id);
    }
    jobs.reverse();
    let mut seen = Vec::new();
    let mut path = "/jobs?limit=2&status=queued&queue=default&task=noop".to_owned();
    loop {
        let page: JobPage = store.get(&path).await;
        seen.extend(page.jobs.iter().map(|job| job.job_id));
        let Some(cursor) = page.next_cursor else { break };
        path = format!("/jobs?limit=2&status=queued&cursor={cursor}");
    }
    assert_eq!(seen, jobs);
    store.stop().await;
}

#[tokio::test]
async fn batches_keep_their_order_and_their_good_commands() {
    let store = start().await;
    let wanted = create("noop");
    let stray = Create { queue: "nowhere".try_into().expect("a name"), ..create("noop") };
    let commands = vec![
        Command::Create(Box::new(stray)),
        Command::Create(Box::new(wanted.clone())),
        Command::Cancel { job_id: JobId::generate() },
    ];
    let answers = store.apply_all(commands).await;
    let kinds: Vec<Option<Kind>> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Ok(_) => None,
            Answer::Error(problem) => problem.kind(),
        })
        .collect();
    assert_eq!(kinds, [Some(Kind::Invalid), None, Some(Kind::NotFound)]);
    let job: JobView = store.get(&format!("/jobs/{}", wanted.job_id)).await;
    assert_eq!(job.status, Status::Queued);
    store.stop().await;
}

#[tokio::test]
async fn a_database_in_use_ends_the_second_opener_with_73() {
    let store = start().await;
    store.get::<Workers>("/workers").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let second = config(store.folder.path(), &broker());
    let error = store_svc::run(listener, second, chassis::shutdown::Shutdown::never()).await.expect_err("refused");
    let exit = error.downcast_ref::<ExitWith>().expect("an exit status");
    assert_eq!(exit.status, 73);
    assert!(exit.sentence.contains(&format!("process {}", std::process::id())), "{}", exit.sentence);
    store.stop().await;
}

#[tokio::test]
async fn draining_ends_long_polls_at_once() {
    let store = Arc::new(start().await);
    let (begin, follower) = (Instant::now(), Arc::clone(&store));
    let follow = async { follower.get::<LogPage>("/log?wait_ms=20000").await };
    let drain = async {
        others_were_answered(&store).await;
        store.trigger.drain();
    };
    tokio::join!(follow, drain);
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(follower);
    Arc::into_inner(store).expect("ours").stop().await;
}
