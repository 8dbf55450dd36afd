//! Batches: each item is answered as if it had come alone, all that are good go to the store as one.

use protocol::api::Status;
use protocol::ids::JobId;
use serde_json::{Value, json};

use crate::gateway::{TestGateway, Told};

async fn post(gateway: &TestGateway, items: &Value) -> Told {
    gateway.post("/jobs:batch", &[], &items.to_string()).await
}

/// The statuses of the items, and of each refused one its problem and where the fault is.
fn told(batch: &Told) -> Vec<(u64, String)> {
    let of = |item: &Value| {
        let problem = item["error"]["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default();
        let pointer = item["error"]["errors"][0]["pointer"].as_str().unwrap_or_default();
        (item["status"].as_u64().unwrap_or_default(), format!("{problem}{pointer}"))
    };
    batch.body["items"].as_array().map(|items| items.iter().map(of).collect()).unwrap_or_default()
}

#[tokio::test]
async fn each_item_has_its_own_answer_in_order() {
    let gateway = TestGateway::start().await;
    let job_id = JobId::generate();
    let items = json!([
        {"task": "a"},
        {"task": "a", "colour": "red"},
        {"task": "b", "job_id": job_id, "queue": "reports", "payload": {"n": 1}},
        7,
        {"task": "c", "idempotency_key": "k", "delay_ms": 60_000},
        {"task": "c", "queue": "nowhere"},
        {"task": "c", "job_id": "7"},
        {"task": "c", "job_id": JobId::generate(), "idempotency_key": "l"},
        {"task": "c", "idempotency_key": ""},
        {"task": "c", "idempotency_key": "line\nbreak"},
    ]);
    let batch = post(&gateway, &items).await;
    assert_eq!(batch.status, 200, "{batch:?}");
    let expected = [
        (202, ""),
        (422, "invalid/colour"),
        (202, ""),
        (422, "invalid"),
        (202, ""),
        (422, "invalid/queue"),
        (422, "invalid/job_id"),
        (422, "invalid/idempotency_key"),
        (422, "invalid/idempotency_key"),
        (422, "invalid/idempotency_key"),
    ];
    assert_eq!(told(&batch), expected.map(|(status, fault)| (status, fault.to_owned())));
    let items = &batch.body["items"];
    assert_eq!((&items[0]["job"]["task"], &items[0]["job"]["status"]), (&json!("a"), &json!("queued")));
    assert_eq!(items[2]["job"]["job_id"], job_id.to_string());
    assert_eq!(items[2]["job"]["links"]["self"], format!("/jobs/{job_id}"));
    assert_eq!(items[4]["job"]["status"], "scheduled");
    assert_eq!(items[0].get("replayed"), None);
    let inner = gateway.store.inner();
    assert_eq!((inner.creates.len(), inner.applies), (3, 1));
    assert_eq!((inner.creates[1].queue.as_str(), inner.creates[1].job_id), ("reports", job_id));
    assert_eq!(inner.creates[2].idempotency_key.as_deref(), Some("k"));
}

#[tokio::test]
async fn the_same_name_twice_is_the_same_job() {
    let gateway = TestGateway::start().await;
    let job_id = JobId::generate();
    let items = json!([
        {"task": "a", "job_id": job_id},
        {"task": "a", "job_id": job_id},
        {"task": "b", "job_id": job_id},
        {"task": "a", "idempotency_key": "k"},
        {"task": "a", "idempotency_key": "k"},
        {"task": "b", "idempotency_key": "k"},
    ]);
    let batch = post(&gateway, &items).await;
    let expected = [(202, ""), (200, ""), (409, "conflict"), (202, ""), (202, ""), (422, "idempotency-mismatch")];
    assert_eq!(told(&batch), expected.map(|(status, fault)| (status, fault.to_owned())), "{batch:?}");
    let items = &batch.body["items"];
    assert_eq!((items[1]["replayed"].as_bool(), items[4]["replayed"].as_bool()), (Some(true), Some(true)));
    assert_eq!(items[3]["job"]["job_id"], items[4]["job"]["job_id"]);
    // The header names the same job as the key of an item.
    gateway.store.change(job_id, |job| job.status = Status::Running);
    let single = gateway.post("/longtask", &[("idempotency-key", "k")], r#"{"task":"a"}"#).await;
    assert_eq!((single.status, &single.body["job_id"]), (202, &items[3]["job"]["job_id"]));
    let again = post(&gateway, &json!([{"task": "a", "job_id": job_id}])).await;
    assert_eq!((told(&again)[0].0, &again.body["items"][0]["job"]["status"]), (200, &json!("running")));
}

#[tokio::test]
async fn a_batch_is_bounded_and_is_an_array() {
    let gateway = TestGateway::start().await;
    let most: Vec<Value> = (0..1_000).map(|n| json!({"task": "a", "payload": n})).collect();
    let batch = post(&gateway, &Value::from(most.clone())).await;
    assert!(batch.status == 200 && told(&batch).iter().all(|(status, _)| *status == 202), "{batch:?}");
    assert_eq!(gateway.store.inner().applies, 1);
    let more = Value::from([most, vec![json!({"task": "a"})]].concat());
    let refused = async |body: &str, status: u16, problem: &str| {
        let told = gateway.post("/jobs:batch", &[], body).await;
        assert_eq!((told.status, told.problem()), (status, problem), "{told:?}");
        told
    };
    let told = refused(&more.to_string(), 422, "invalid").await;
    assert_eq!(told.body["errors"][0]["detail"], "has 1001 items, at most 1000 are allowed");
    refused(r#"{"task":"a"}"#, 422, "invalid").await;
    refused("[", 400, "bad-json").await;
    refused(&format!(r#"[{{"task":"a","payload":"{}"}}]"#, "x".repeat(1 << 20)), 413, "payload-too-large").await;
    let none = post(&gateway, &json!([])).await;
    assert_eq!((none.status, none.text.as_str()), (200, r#"{"items":[]}"#));
    assert_eq!(gateway.store.inner().applies, 1, "nothing else came to the store");
}

#[tokio::test]
async fn without_the_store_the_whole_batch_is_a_503() {
    let gateway = TestGateway::start().await;
    gateway.store.inner().away = true;
    let batch = post(&gateway, &json!([{"task": "a"}, {"task": ""}])).await;
    assert_eq!((batch.status, batch.problem()), (503, "unavailable"));
    assert!(batch.header("retry-after").is_some());
}

#[tokio::test]
async fn a_name_in_the_body_of_a_single_submit_is_told_where_it_belongs() {
    let gateway = TestGateway::start().await;
    let named = gateway.submit(r#"{"task":"a","job_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2"}"#).await;
    assert_eq!((named.status, named.pointers()), (422, vec!["/job_id"]));
    assert_eq!(named.body["errors"][0]["detail"], "belongs into the path: PUT /jobs/{id}");
    let keyed = gateway.submit(r#"{"task":"a","idempotency_key":"k"}"#).await;
    assert_eq!((keyed.status, keyed.pointers()), (422, vec!["/idempotency_key"]));
}
