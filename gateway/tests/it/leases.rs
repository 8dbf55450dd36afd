//! Leases over HTTP: what is asked of the store, what workers are told.

use chassis::testing::wait_until;
use protocol::api::ErrorKind;
use protocol::api::{ERROR_BYTES_MAX, RESULT_BYTES_MAX};
use protocol::ids::{Fence, JobId};
use protocol::lease_api::PROGRESS_MESSAGE_BYTES_MAX;
use protocol::store_api::{Claimed, Command, Complete, Outcome, PulledJob};
use serde_json::json;

use crate::gateway::{SOON, TestGateway};

const ASK: &str = r#"{"worker":"w 1","tasks":["words","report_*"]}"#;

fn job() -> PulledJob {
    let claimed = Claimed {
        job_id: None,
        tenant: protocol::tenant::Tenant::default(),
        fence: Fence(3),
        task: "words".to_owned(),
        queue: "default".to_owned(),
        run: 1,
        attempt: 2,
        max_attempts: 5,
        lease_ms: 15_000,
        timeout_ms: None,
        payload: serde_json::value::RawValue::from_string("{\"a\":  1}".to_owned()).ok(),
        trace: None,
        cancel_requested: false,
        more: false,
    };
    PulledJob { job_id: JobId::generate(), claimed }
}

#[tokio::test]
async fn a_worker_is_given_its_jobs_as_leases() {
    let gateway = TestGateway::start().await;
    let given = job();
    let lease_id = format!("{}.3", given.job_id);
    gateway.store.offer(given.clone());
    let told = gateway.post("/leases", &[("prefer", "wait=5")], ASK).await;
    assert_eq!((told.status, told.header("preference-applied")), (200, Some("wait=5")), "{}", told.text);
    let lease = &told.body["leases"][0];
    assert_eq!((&lease["lease_id"], &lease["job_id"]), (&json!(lease_id), &json!(given.job_id)));
    assert_eq!((&lease["fence"], &lease["attempt"], &lease["lease_ms"]), (&json!(3), &json!(2), &json!(15_000)));
    assert!(told.text.contains("\"payload\":{\"a\":  1}"), "as it was submitted: {}", told.text);
    assert!(told.body["waited_ms"].as_u64() >= Some(7), "{}", told.text);
    let none = gateway.post("/leases", &[], ASK).await;
    assert_eq!((none.status, &none.body["leases"]), (200, &json!([])));
    let pulls = gateway.store.inner().pulls.clone();
    assert_eq!((pulls[0].limit, pulls[0].queues[0].as_str()), (1, "default"));
    assert_eq!(pulls[0].session, pulls[1].session, "one worker, one session");
    assert_ne!(pulls[0].claim_id, pulls[1].claim_id);
}

#[tokio::test]
async fn a_key_names_the_call_of_one_worker() {
    let gateway = TestGateway::start().await;
    let other = ASK.replace("w 1", "w 2");
    for (key, body) in [("k", ASK), ("k", ASK), ("l", ASK), ("k", other.as_str())] {
        gateway.post("/leases", &[("idempotency-key", key)], body).await;
    }
    let claims: Vec<_> = gateway.store.inner().pulls.iter().map(|pull| pull.claim_id).collect();
    assert_eq!(claims[0], claims[1]);
    assert!(claims[0] != claims[2] && claims[0] != claims[3], "{claims:?}");
}

#[tokio::test]
async fn a_worker_waits_until_there_is_a_job_or_the_gateway_drains() {
    let gateway = TestGateway::start().await;
    let asked = async |count: usize| {
        let pulls = || std::future::ready(gateway.store.inner().pulls.len() >= count);
        wait_until(SOON, "the store is asked", pulls).await;
    };
    let offer = async {
        asked(1).await;
        gateway.store.offer(job());
    };
    let (told, ()) = tokio::join!(gateway.post("/leases", &[("prefer", "wait=30")], ASK), offer);
    assert_eq!(told.body["leases"].as_array().map(Vec::len), Some(1), "{}", told.text);
    let drain = async {
        asked(2).await;
        gateway.drain().await;
    };
    let (told, ()) = tokio::join!(gateway.post("/leases", &[("prefer", "wait=30")], ASK), drain);
    assert_eq!((told.status, &told.body["leases"]), (200, &json!([])));
}

#[tokio::test]
async fn what_a_worker_asks_is_checked() {
    let gateway = TestGateway::start().await;
    let check = async |body: &str, pointers: &[&str]| {
        let told = gateway.post("/leases", &[], body).await;
        assert_eq!((told.status, told.pointers()), (422, pointers.to_vec()), "{body}: {}", told.text);
    };
    check("{}", &["/worker"]).await;
    check(r#"{"worker":"","tasks":["a"]}"#, &["/worker"]).await;
    check(r#"{"worker":"w"}"#, &["/tasks"]).await;
    check(r#"{"worker":"w","tasks":["a b"]}"#, &["/tasks/0"]).await;
    check(r#"{"worker":"w","tasks":["a"],"colour":1}"#, &["/colour"]).await;
    let all = r#"{"worker":"w","tasks":[],"queues":["default","x"],"limit":0,"lease_ms":999}"#;
    check(all, &["/queues/1", "/lease_ms", "/limit", "/tasks"]).await;
    check(r#"{"worker":"w","tasks":["a"],"limit":101,"lease_ms":3600001}"#, &["/lease_ms", "/limit"]).await;
    assert!(gateway.store.inner().pulls.is_empty());
}

#[tokio::test]
async fn each_word_is_passed_on_with_its_fence() {
    let gateway = TestGateway::start().await;
    let job_id = JobId::generate();
    let say = async |word: &str, body: &str| gateway.post(&format!("/leases/{job_id}.3/{word}"), &[], body).await;
    let beat = say("heartbeat", r#"{"progress":{"fraction":0.5,"message":"half"}}"#).await;
    assert_eq!((beat.status, beat.text.as_str()), (200, r#"{"cancel_requested":true}"#));
    assert_eq!(say("heartbeat", "{}").await.status, 200);
    let ended = say("complete", r#"{"result":{"a":  1}}"#).await;
    assert_eq!((ended.status, ended.text), (200, format!("{{\"job_id\":\"{job_id}\",\"status\":\"succeeded\"}}")));
    assert_eq!(say("complete", "{}").await.status, 200);
    assert_eq!(say("fail", r#"{"error":"no luck"}"#).await.status, 200);
    assert_eq!(say("fail", r#"{"error":"never","retry":false}"#).await.status, 200);
    assert_eq!(say("release", "").await.status, 200);
    let words = std::mem::take(&mut gateway.store.inner().words);
    assert_eq!(words.len(), 7);
    let outcome = |word: &Command| match word {
        Command::Renew(held) => format!("beat {} {}", held.fence, held.progress.is_some()),
        Command::Complete(Complete { fence, outcome: Outcome::Succeeded { result }, .. }) => {
            format!("complete {fence} {:?}", result.as_ref().map(|result| result.get().to_owned()))
        }
        Command::Complete(Complete { fence, outcome: Outcome::Failed { error, may_retry, .. }, .. }) => {
            assert_eq!(error.kind, ErrorKind::Failed);
            format!("fail {fence} {} {may_retry}", error.message)
        }
        Command::Release(release) => format!("release {}", release.fence),
        other => panic!("{other:?}"),
    };
    let said: Vec<String> = words.iter().map(outcome).collect();
    let expected = [
        "beat 3 true",
        "beat 3 false",
        "complete 3 Some(\"{\\\"a\\\":  1}\")",
        "complete 3 None",
        "fail 3 no luck true",
        "fail 3 never false",
        "release 3",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn who_lost_the_lease_is_told_so() {
    let gateway = TestGateway::start().await;
    gateway.store.inner().leases_lost = true;
    let job_id = JobId::generate();
    for (word, body) in [("heartbeat", "{}"), ("complete", "{}"), ("fail", r#"{"error":"e"}"#), ("release", "{}")] {
        let told = gateway.post(&format!("/leases/{job_id}.3/{word}"), &[], body).await;
        assert_eq!((told.status, told.problem()), (410, "lease-lost"), "{word}: {}", told.text);
    }
    for bad in
        [format!("/leases/{job_id}/heartbeat"), format!("/leases/{job_id}.x/release"), "/leases/7/fail".to_owned()]
    {
        assert_eq!(gateway.post(&bad, &[], r#"{"error":"e"}"#).await.status, 404, "{bad}");
    }
}

#[tokio::test]
async fn what_is_too_large_or_makes_no_sense_is_refused() {
    let gateway = TestGateway::start().await;
    let job_id = JobId::generate();
    let check = async |word: &str, body: String, pointer: &str| {
        let told = gateway.post(&format!("/leases/{job_id}.3/{word}"), &[], &body).await;
        assert_eq!((told.status, told.pointers()), (422, vec![pointer]), "{word}: {}", told.text);
    };
    check("heartbeat", json!({"progress": {"fraction": 1.5}}).to_string(), "/progress/fraction").await;
    let long = "x".repeat(PROGRESS_MESSAGE_BYTES_MAX + 1);
    check("heartbeat", json!({"progress": {"message": long}}).to_string(), "/progress/message").await;
    check("complete", json!({"result": "x".repeat(RESULT_BYTES_MAX)}).to_string(), "/result").await;
    check("complete", format!("{{\"result\":{}{}}}", "[".repeat(200), "]".repeat(200)), "/result").await;
    check("fail", json!({"error": "x".repeat(ERROR_BYTES_MAX + 1)}).to_string(), "/error").await;
    check("fail", "{}".to_owned(), "/error").await;
    assert!(gateway.store.inner().words.is_empty());
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503() {
    let gateway = TestGateway::start().await;
    gateway.store.inner().away = true;
    let job_id = JobId::generate();
    let told = gateway.post(&format!("/leases/{job_id}.3/complete"), &[], "{}").await;
    assert_eq!((told.status, told.problem()), (503, "unavailable"));
    assert!(told.header("retry-after").is_some());
}
