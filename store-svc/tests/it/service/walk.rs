//! From submit to done, over HTTP.

use protocol::api::{JobView, Status, WaitingFor};
use protocol::ids::SessionId;
use protocol::job::Settled;
use protocol::logs::{JobLogs, LogTail, Output};
use protocol::store_api::{Command, Complete, DataView, LogPage, Outcome, PutData, Reply};
use serde_json::json;
use serde_json::value::to_raw_value;

use super::{create, start};

#[tokio::test]
async fn a_job_goes_from_create_to_its_result() {
    let store = start().await;
    let session = SessionId::generate();
    store.heartbeat(session, &["noop"]).await;
    let mut wanted = create("noop");
    wanted.payload = Some(to_raw_value(&json!({"n": 1})).expect("json"));
    let created = store.create(wanted).await;
    assert_eq!(created.status, Status::Queued);

    let bell = store.next_bell().await;
    assert_eq!(bell.job_id, created.job_id);
    let claimed = store.claim(session, &bell).await.expect("won");
    assert_eq!(claimed.payload.as_deref().map(|payload| payload.get()), Some(r#"{"n":1}"#));
    let running: JobView = store.get(&format!("/jobs/{}", created.job_id)).await;
    assert_eq!((running.status, running.attempt), (Status::Running, 1));

    let outcome = Outcome::Succeeded { result: Some(to_raw_value(&json!([1, 2])).expect("json")) };
    let stderr = LogTail { text: "a warning\n".to_owned(), truncated: false };
    let output = Some(Box::new(Output { stdout: LogTail::default(), stderr }));
    let complete =
        Command::Complete(Complete { job_id: created.job_id, fence: claimed.fence, outcome, output, next: None });
    for expected in [Settled::Recorded, Settled::AlreadyRecorded] {
        let Reply::Settled { settled, status, .. } = store.apply(complete.clone()).await else { panic!("not settled") };
        assert_eq!((settled, status), (expected, Some(Status::Succeeded)));
    }
    let done: JobView = store.get(&format!("/jobs/{}", created.job_id)).await;
    assert_eq!(done.result.as_deref().map(|result| result.get()), Some("[1,2]"));
    let result: Vec<u32> = store.get(&format!("/jobs/{}/result", created.job_id)).await;
    assert_eq!(result, [1, 2]);
    let payload: serde_json::Value = store.get(&format!("/jobs/{}/payload", created.job_id)).await;
    assert_eq!(payload, json!({"n": 1}));
    let without = store.create(create("noop")).await;
    let payload: serde_json::Value = store.get(&format!("/jobs/{}/payload", without.job_id)).await;
    assert_eq!(payload, serde_json::Value::Null);
    let logs: JobLogs = store.get(&format!("/jobs/{}/logs", created.job_id)).await;
    assert_eq!((logs.job_id, logs.attempts.len()), (created.job_id, 1), "said twice, kept once");
    assert_eq!((logs.attempts[0].attempt, logs.attempts[0].output.stderr.text.as_str()), (1, "a warning\n"));

    let log: LogPage = store.get("/log?after=0").await;
    assert_eq!((log.entries.len(), log.position.0), (4, 4));
    store.stop().await;
}

#[tokio::test]
async fn an_unknown_task_waits_for_a_worker_that_knows_it() {
    let store = start().await;
    let created = store.create(create("rare")).await;
    let waiting: JobView = store.get(&format!("/jobs/{}", created.job_id)).await;
    assert_eq!(waiting.waiting_for, Some(WaitingFor::Worker));
    store.heartbeat(SessionId::generate(), &["rare"]).await;
    assert_eq!(store.next_bell().await.job_id, created.job_id);
    store.stop().await;
}

#[tokio::test]
async fn data_is_there_from_the_start_and_can_be_written() {
    let store = start().await;
    let db: serde_json::Value = store.get("/db").await;
    assert_eq!(db, json!({"message": "Fetched fresh data from DB"}));
    let data = to_raw_value(&json!({"a": 1})).expect("json");
    let key = "my_data".try_into().expect("a key");
    let reply = store.apply(Command::PutData(PutData::json(key, data))).await;
    let Reply::DataWritten { version, position } = reply else { panic!("not written: {reply:?}") };
    assert_eq!((version.0, position.0), (2, 1));
    let view: DataView = store.get("/data/my_data").await;
    assert_eq!((view.version, view.data.get()), (version, r#"{"a":1}"#));
    store.stop().await;
}
