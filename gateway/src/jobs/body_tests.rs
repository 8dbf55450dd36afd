//! Bounds and meaning of a submit, by table.

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;

fn origin() -> Origin {
    let job_id = "01890000-0000-7000-8000-000000000001".parse().expect("id");
    Origin {
        job_id,
        idempotency_key: None,
        is_own_id: true,
        trace: None,
        key_id: None,
        wants_bell: true,
        now_ms: NOW_MS,
    }
}

fn queues() -> Vec<QueueName> {
    ["default", "reports"].map(|name| QueueName::try_from(name).expect("name")).to_vec()
}

fn create(body: &str) -> Result<Create, Problem> {
    to_create(serde_json::from_str(body).expect("a submit"), &queues(), origin())
}

#[test]
fn every_bound_is_named_by_its_field() {
    let check = |body: &str, pointers: &[&str]| {
        let found = match create(body) {
            Ok(_) => Vec::new(),
            Err(problem) => {
                assert_eq!(problem.status, 422, "{body}");
                problem.errors.into_iter().map(|error| error.pointer).collect()
            }
        };
        assert_eq!(found, pointers, "{body}");
    };
    check(r#"{"task":"a"}"#, &[]);
    check(r#"{"task":"a","queue":null,"payload":null,"delay_ms":null}"#, &[]);
    check(r#"{"task":"a","max_attempts":0}"#, &["/max_attempts"]);
    check(r#"{"task":"a","max_attempts":101}"#, &["/max_attempts"]);
    check(r#"{"task":"a","max_attempts":100,"timeout_ms":1}"#, &[]);
    check(r#"{"task":"a","timeout_ms":0}"#, &["/timeout_ms"]);
    check(r#"{"task":"a","timeout_ms":2592000001}"#, &["/timeout_ms"]);
    check(r#"{"task":"a","delay_ms":31622400000}"#, &[]);
    check(r#"{"task":"a","delay_ms":31622400001}"#, &["/delay_ms"]);
    check(r#"{"task":"a","delay_ms":0,"run_at":"2030-01-01T00:00:00Z"}"#, &["/run_at"]);
    check(r#"{"task":"a","run_at":"2030-01-01T00:00:00Z"}"#, &["/run_at"]);
    check(r#"{"task":"a","run_at":"2001-01-01T00:00:00Z"}"#, &[]);
    check(r#"{"task":"a","queue":"nope","max_attempts":0}"#, &["/queue", "/max_attempts"]);
    let keys = |count: usize| serde_json::to_string(&vec!["k"; count]).expect("json");
    check(&format!(r#"{{"task":"a","invalidates":{}}}"#, keys(100)), &[]);
    check(&format!(r#"{{"task":"a","invalidates":{}}}"#, keys(101)), &["/invalidates"]);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    check(&format!(r#"{{"task":"a","payload":{deep}}}"#), &["/payload"]);
}

#[test]
fn an_unknown_queue_is_told_the_known_ones() {
    let problem = create(r#"{"task":"a","queue":"nope"}"#).expect_err("unknown queue");
    assert_eq!(problem.errors[0].detail, "there is no queue `nope`; the queues are default, reports");
    let submit = serde_json::from_str(r#"{"task":"a"}"#).expect("a submit");
    let only = [QueueName::try_from("reports").expect("name")];
    let problem = to_create(submit, &only, origin()).expect_err("no default queue");
    assert!(problem.errors[0].detail.contains("which is meant when none is named"), "{problem}");
}

#[test]
fn a_passed_due_time_is_now_and_a_delay_is_left_to_the_stores_clock() {
    let check = |fields: &str, expected_ms: Option<i64>, delay_ms: Option<u64>| {
        let create = create(&format!(r#"{{"task":"a"{fields}}}"#)).expect("accepted");
        assert_eq!((create.run_at.map(Timestamp::unix_ms), create.delay_ms), (expected_ms, delay_ms), "{fields}");
        assert_eq!(create.wants_bell, expected_ms.is_none() && delay_ms.is_none(), "{fields}");
    };
    check("", None, None);
    check(r#","delay_ms":0"#, None, None);
    check(r#","delay_ms":1500"#, None, Some(1_500));
    check(r#","run_at":"2020-01-01T00:00:00Z""#, None, None);
    check(r#","run_at":"2027-02-01T00:00:00Z""#, Some(1_801_440_000_000), None);
}

#[test]
fn the_fingerprint_is_of_the_meaning() {
    let check = |left: &str, right: &str, equal: bool| {
        let of = |body: &str| create(body).expect("accepted").fingerprint;
        assert_eq!(of(left) == of(right), equal, "{left} and {right}");
    };
    check(r#"{"task":"a"}"#, r#"{ "priority":"normal", "queue":"default", "max_attempts":5, "task":"a" }"#, true);
    check(r#"{"task":"a","payload":{"x":1,"y":[1.0]}}"#, r#"{"task":"a","payload":{"y":[1],"x":1.0}}"#, true);
    check(r#"{"task":"a"}"#, r#"{"task":"a","payload":null}"#, true);
    check(r#"{"task":"a"}"#, r#"{"task":"a","delay_ms":0}"#, true);
    check(r#"{"task":"a"}"#, r#"{"task":"b"}"#, false);
    check(r#"{"task":"a","payload":1}"#, r#"{"task":"a","payload":"1"}"#, false);
    check(r#"{"task":"a","delay_ms":1}"#, r#"{"task":"a","delay_ms":2}"#, false);
    check(r#"{"task":"a","priority":"high"}"#, r#"{"task":"a","priority":"low"}"#, false);
    check(r#"{"task":"a","timeout_ms":1}"#, r#"{"task":"a"}"#, false);
    check(r#"{"task":"a","invalidates":["k"]}"#, r#"{"task":"a"}"#, false);
    check(r#"{"task":"a","start_deadline_ms":1}"#, r#"{"task":"a"}"#, false);
    check(r#"{"task":"a","unique_key":"u"}"#, r#"{"task":"a"}"#, false);
    check(r#"{"task":"a","unique_key":"u"}"#, r#"{"task":"a","unique_key":"v"}"#, false);
    check(r#"{"task":"a","unique_key":null}"#, r#"{"task":"a"}"#, true);
}

#[test]
fn only_what_the_client_named_has_a_fingerprint() {
    let of = |is_own_id: bool, key: Option<&str>| {
        let origin = Origin { is_own_id, idempotency_key: key.map(str::to_owned), ..origin() };
        let submit = serde_json::from_str(r#"{"task":"a"}"#).expect("a submit");
        to_create(submit, &queues(), origin).expect("accepted").fingerprint
    };
    assert_eq!(of(false, None), "", "nobody can repeat it");
    assert_eq!(of(true, None).len(), 64);
    assert_eq!(of(false, Some("k")), of(true, None));
}

#[test]
fn the_key_that_was_shown_stands_beside_the_meaning() {
    let with = |key_id: Option<KeyId>| {
        let submit = serde_json::from_str(r#"{"task":"a"}"#).expect("a submit");
        to_create(submit, &queues(), Origin { key_id, ..origin() }).expect("accepted")
    };
    let (one, none) = (with(Some(KeyId::of(1))), with(None));
    assert_eq!((one.key_id, none.key_id), (Some(KeyId::of(1)), None));
    assert_eq!(one.fingerprint, none.fingerprint, "another key of the same tenant may repeat it");
}

#[test]
fn integers_beyond_a_double_stay_apart() {
    let of = |payload: &str| create(&format!(r#"{{"task":"a","payload":{payload}}}"#)).expect("accepted").fingerprint;
    assert_ne!(of("9007199254740993"), of("9007199254740992"));
    assert_ne!(of("[-9007199254740993]"), of("[-9007199254740994]"));
    assert_ne!(of("18446744073709551615"), of("18446744073709551614"));
    assert_eq!(of("9007199254740992"), of("9007199254740992.0"));
}

#[test]
fn repeated_keys_are_invalidated_once() {
    let create = create(r#"{"task":"a","invalidates":["k","l","k"]}"#).expect("accepted");
    let keys: Vec<&str> = create.invalidates.iter().map(DataKey::as_str).collect();
    assert_eq!(keys, ["k", "l"]);
}
