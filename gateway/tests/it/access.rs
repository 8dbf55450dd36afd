//! Who may call: every route asks, near hits too, and what somebody was told they may do ends soon after it is taken back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::client::Call;
use chassis::clock;
use chassis::testing::wait_until;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, Method};
use protocol::access::KeyId;
use protocol::ids::JobId;
use ring::hmac;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::gateway::{SOON, TestGateway, Told, call};
use crate::sequencer::ScriptedSequencer;

const FIRST_KEY: &str = "the-first-key-0123456789abcdef0123456789abcdef";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn file(text: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

async fn asking(settings: &[(&str, &str)]) -> (TestGateway, NamedTempFile) {
    let first = file(format!("{FIRST_KEY}\n").as_bytes());
    let path = first.path().display().to_string();
    let own = [("LONGSHORE_AUTH", "1"), ("LONGSHORE_ADMIN_KEY_FILE", path.as_str())];
    (TestGateway::start_with(&[&own[..], settings].concat()).await, first)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a value")
}

fn with_key(call: Call, key: &str) -> Call {
    call.header(AUTHORIZATION, value(&format!("Bearer {key}")))
}

async fn get(gateway: &TestGateway, path: &str, key: &str) -> Told {
    gateway.send(with_key(Call::get(path), key)).await
}

fn check(told: &Told, status: u16, problem: &str) {
    assert_eq!((told.status, told.problem()), (status, problem), "{told:?}");
}

#[tokio::test]
async fn every_operation_asks_who_calls_and_what_the_key_is_good_for() {
    let (gateway, _first) = asking(&[]).await;
    let nothing = gateway.store.inner().keyring.key(1, "default", "");
    let of_tenant = gateway.store.inner().keyring.key(2, "acme", "admin");
    let document = gateway.get("/openapi.json").await;
    assert_eq!(document.status, 200, "the description is open");
    let mut asked = 0;
    for (path, item) in document.body["paths"].as_object().expect("paths") {
        let id = "018bcfe5-6800-7000-8000-000000000000";
        let names = [
            ("{name}", "nightly"),
            ("{queue}", "default"),
            ("{key}", "a"),
            ("{tenant}", "acme"),
            ("{file}", "docs.css"),
        ];
        let target = names.iter().fold(path.replace("{id}", id), |path, (name, value)| path.replace(name, value));
        for (method, operation) in item.as_object().expect("operations") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let request = || Call::new(method.clone(), target.clone(), false);
            let told = gateway.send(request()).await;
            let scope = operation["security"][0]["bearer"][0].as_str();
            let Some(scope) = scope else {
                assert_eq!(told.status, 200, "{method} {path} is open");
                continue;
            };
            check(&told, 401, "unauthenticated");
            assert_eq!(told.header("www-authenticate"), Some("Bearer realm=\"longshore\""), "{method} {path}");
            let told = gateway.send(with_key(request(), &nothing)).await;
            check(&told, 403, "missing-scope");
            assert_eq!(told.body["scope"], scope, "{method} {path}");
            assert!(told.header("www-authenticate").is_some_and(|says| says.contains(scope)), "{told:?}");
            let told = gateway.send(with_key(request(), FIRST_KEY)).await;
            assert!(!matches!(told.status, 401 | 403), "{method} {path}: {told:?}");
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
    for path in ["/live", "/ready", "/metrics", "/console", "/console/login", "/docs"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    // What no route answers to is told everybody, as without keys.
    for (method, path, allow) in [(Method::PUT, "/docs", "GET,HEAD"), (Method::POST, "/tenants/acme", "PUT")] {
        for key in ["", FIRST_KEY] {
            let call = Call::new(method.clone(), path.to_owned(), false);
            let told = gateway.send(if key.is_empty() { call } else { with_key(call, key) }).await;
            check(&told, 405, "method-not-allowed");
            assert_eq!(told.header("allow"), Some(allow), "{method} {path}");
        }
    }
    check(&gateway.get("/console/events").await, 401, "unauthenticated");
    for shared in ["/workers", "/queues", "/tenants", "/webhooks", "/console/events"] {
        check(&get(&gateway, shared, &of_tenant).await, 403, "missing-scope");
    }
}

#[tokio::test]
async fn a_key_that_is_not_good_is_refused_whatever_is_wrong_with_it() {
    let (gateway, _first) = asking(&[]).await;
    let good = gateway.store.inner().keyring.key(1, "default", "read");
    assert_eq!(get(&gateway, "/jobs", &good).await.status, 200);
    let other = "lsk_0000000000000002_secret";
    for bad in
        [format!("{good}x"), other.to_owned(), "nonsense".to_owned(), format!("{FIRST_KEY}x"), "a.b.c".to_owned()]
    {
        let told = get(&gateway, "/jobs", &bad).await;
        check(&told, 401, "unauthenticated");
        assert!(told.header("www-authenticate").is_some_and(|says| says.contains("invalid_token")), "{told:?}");
    }
    let basic = gateway.send(Call::get("/jobs").header(AUTHORIZATION, value("Basic YTpi"))).await;
    check(&basic, 401, "unauthenticated");
}

#[tokio::test]
async fn a_near_hit_is_for_those_who_may_read_and_costs_no_question() {
    let sequencer = ScriptedSequencer::start().await;
    let cache_url = sequencer.address.to_string();
    let (gateway, _first) = asking(&[("LONGSHORE_CACHE_URL", &cache_url)]).await;
    let (reads, writes, others) = {
        let keyring = gateway.store.inner().keyring.clone();
        (keyring.key(1, "default", "read"), keyring.key(2, "default", "submit"), keyring.key(3, "acme", "read"))
    };
    sequencer.value("a", "1");
    sequencer.value("\u{1}acme\u{1}a", "2");
    let is_near = |told: &Told| told.header("cache-status") == Some("longshore-near; hit");
    for key in [&reads, &others] {
        wait_until(SOON, "it is held", async || is_near(&get(&gateway, "/data/a", key).await)).await;
    }
    let asked = gateway.store.inner().keyring.kept().asked;
    for (key, data) in [(&reads, 1), (&others, 2)] {
        let told = get(&gateway, "/data/a", key).await;
        assert!(is_near(&told) && told.body["data"] == data, "{told:?}");
    }
    assert!(gateway.store.inner().keyring.kept().asked - asked <= 2, "at most as often as a key is asked for anew");
    check(&gateway.get("/data/a").await, 401, "unauthenticated");
    check(&get(&gateway, "/data/a", &writes).await, 403, "missing-scope");
    check(&get(&gateway, "/data/a", "lsk_0000000000000001_other").await, 401, "unauthenticated");
    gateway.store.inner().keyring.revoke(&reads);
    wait_until(SOON, "a revoked key is refused", async || get(&gateway, "/data/a", &reads).await.status == 401).await;
    assert!(is_near(&get(&gateway, "/data/a", &others).await));
}

#[tokio::test]
async fn while_the_store_is_away_who_was_known_goes_on_and_strangers_are_told_to_come_back() {
    let (gateway, _first) = asking(&[]).await;
    let keyring = gateway.store.inner().keyring.clone();
    let (known, stranger) = (keyring.key(1, "default", "read"), keyring.key(2, "default", "read"));
    assert_eq!(get(&gateway, "/jobs", &known).await.status, 200);
    keyring.kept().away = true;
    check(&get(&gateway, "/jobs", &stranger).await, 503, "unavailable");
    let asked = keyring.kept().asked;
    // Until it has been asked in vain, because what was known is no longer fresh.
    wait_until(SOON, "it is asked anew", async || {
        assert_eq!(get(&gateway, "/jobs", &known).await.status, 200);
        keyring.kept().asked > asked
    })
    .await;
    assert_eq!(get(&gateway, "/jobs", FIRST_KEY).await.status, 200, "the first key is in no store");
}

#[tokio::test]
async fn a_token_is_as_good_as_a_key() {
    let secret = file(SECRET);
    let path = secret.path().display().to_string();
    let (gateway, _first) = asking(&[("LONGSHORE_JWT_SECRET_FILE", &path), ("LONGSHORE_JWT_AUDIENCE", "jobs")]).await;
    let token = |scope: &str, secret: &[u8], ends_in_s: i64| {
        let claims =
            json!({"aud": "jobs", "exp": clock::wall_ms() / 1_000 + ends_in_s, "scope": scope, "sub": "robot"});
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": "HS256"})), part(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    assert_eq!(get(&gateway, "/jobs", &token("read", SECRET, 60)).await.status, 200);
    check(&get(&gateway, "/jobs", &token("submit", SECRET, 60)).await, 403, "missing-scope");
    check(
        &get(&gateway, "/jobs", &token("read", b"another secret, as long as it is", 60)).await,
        401,
        "unauthenticated",
    );
    check(&get(&gateway, "/jobs", &token("read", SECRET, -60)).await, 401, "unauthenticated");
    let pause = Call::new(Method::POST, "/queues/default/pause", false);
    assert_eq!(gateway.send(with_key(pause, &token("operate", SECRET, 60))).await.status, 200);
    let acts = std::mem::take(&mut gateway.store.inner().keyring.kept().acts);
    assert_eq!((acts[0].who.as_str(), acts[0].action.as_str()), ("jwt:robot", "queue.pause"));
    let submitted = submits(&gateway, &[("authorization", &format!("Bearer {}", token("submit", SECRET, 60)))]).await;
    assert_eq!(submitted, vec![None; 4], "a token is no key");
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let gateway = TestGateway::start().await;
    let job_id = gateway.store.has_job(protocol::api::Status::Running);
    let paths = ["/queues/default/pause".to_owned(), format!("/jobs/{job_id}/cancel"), "/longtask".to_owned()];
    for path in paths {
        for (name, says) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")] {
            check(&gateway.post(&path, &[(name, says)], r#"{"task":"a"}"#).await, 403, "foreign-origin");
        }
    }
    let own = format!("http://{}", gateway.address);
    let host = gateway.address.to_string();
    let told = gateway.post("/queues/default/pause", &[("origin", &own), ("host", &host)], "").await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(gateway.post("/longtask", &[("sec-fetch-site", "same-origin")], r#"{"task":"a"}"#).await.status, 202);
    let read = call(Method::GET, "/jobs", &[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")], "");
    assert_eq!(gateway.send(read).await.status, 200, "what is read is not shown to that page by the browser");
}

/// What a browser keeps.
fn cookie(told: &Told) -> String {
    let set = told.header("set-cookie").expect("a cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.split("; ").any(|part| part == attribute), "{set}");
    }
    set.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn a_person_logs_in_with_a_key_and_out_again() {
    let (gateway, _first) = asking(&[]).await;
    let key = gateway.store.inner().keyring.key(1, "default", "read operate");
    let login = async |key: &str, headers: &[(&'static str, &str)]| {
        gateway.post("/console/session", headers, &json!({"key": key}).to_string()).await
    };
    check(&login("nonsense", &[]).await, 401, "unauthenticated");
    check(&login(&key, &[("origin", "http://evil.example")]).await, 403, "foreign-origin");
    let secure = login(&key, &[("x-forwarded-proto", "https")]).await;
    assert!(secure.header("set-cookie").is_some_and(|set| set.ends_with("; Secure")), "{secure:?}");
    let (one, other) = (cookie(&login(&key, &[]).await), cookie(&login(&key, &[]).await));
    assert!(!one.contains(&key), "the cookie is not the key");
    let send = async |method: Method, path: &str, cookie: &str| {
        gateway.send(Call::new(method, path, false).header(COOKIE, value(cookie))).await
    };
    let who = send(Method::GET, "/console/session", &one).await;
    assert_eq!((who.status, who.body["who"].as_str()), (200, Some("0000000000000001")));
    assert_eq!(who.body["scopes"], json!(["read", "operate"]));
    assert_eq!(send(Method::POST, "/queues/default/pause", &one).await.status, 200);
    check(&send(Method::POST, "/longtask", &one).await, 403, "missing-scope");
    let forged = Call::new(Method::POST, "/queues/default/pause", false).header(COOKIE, value(&one));
    let forged = forged.header(HeaderName::from_static("sec-fetch-site"), value("cross-site"));
    check(&gateway.send(forged).await, 403, "foreign-origin");
    let out = send(Method::DELETE, "/console/session", &one).await;
    assert_eq!((out.status, cookie(&out).as_str()), (204, "longshore-session="));
    check(&send(Method::GET, "/jobs", &one).await, 401, "unauthenticated");
    assert_eq!(send(Method::GET, "/jobs", &other).await.status, 200);
    gateway.store.inner().keyring.revoke(&key);
    wait_until(SOON, "its sessions end", async || send(Method::GET, "/jobs", &other).await.status == 401).await;
    let acts = std::mem::take(&mut gateway.store.inner().keyring.kept().acts);
    let acts: Vec<_> = acts.iter().map(|act| (act.who.as_str(), act.action.as_str())).collect();
    let logged_in = ("0000000000000001", "console.login");
    let who = "0000000000000001";
    assert_eq!(acts, [logged_in, logged_in, logged_in, (who, "queue.pause"), (who, "key.revoke")]);
}

/// What is sent with these headers: a job by each way to submit one.
async fn submits(gateway: &TestGateway, headers: &[(&'static str, &str)]) -> Vec<Option<KeyId>> {
    let body = r#"{"task":"a"}"#;
    assert_eq!(gateway.post("/longtask", headers, body).await.status, 202);
    let path = format!("/jobs/{}", JobId::generate());
    assert_eq!(gateway.send(call(Method::PUT, &path, headers, body)).await.status, 202);
    let told = gateway.post("/jobs:batch", headers, &format!("[{body},{body}]")).await;
    assert_eq!((told.status, &told.body["items"][1]["status"]), (200, &json!(202)), "{told:?}");
    gateway.store.inner().creates.drain(..).map(|create| create.key_id).collect()
}

#[tokio::test]
async fn a_job_is_submitted_with_the_key_that_was_shown() {
    let (gateway, _first) = asking(&[]).await;
    let key = gateway.store.inner().keyring.key(1, "acme", "submit");
    let key_id = KeyId::of(1);
    let bearer = |key: &str| format!("Bearer {key}");
    let of_key = submits(&gateway, &[("authorization", &bearer(&key))]).await;
    assert_eq!(of_key, vec![Some(key_id.clone()); 4]);
    let session = gateway.post("/console/session", &[], &json!({"key": key}).to_string()).await;
    let of_session = submits(&gateway, &[("cookie", &cookie(&session))]).await;
    assert_eq!(of_session, vec![Some(key_id); 4], "the session has a row of its own, and is not that");
    assert_eq!(submits(&gateway, &[("authorization", &bearer(FIRST_KEY))]).await, vec![None; 4]);
}

#[tokio::test]
async fn a_key_is_given_limits_by_an_administrator_of_its_tenant_or_of_the_system() {
    let (gateway, _first) = asking(&[]).await;
    let keyring = gateway.store.inner().keyring.clone();
    keyring.key(1, "acme", "submit");
    let (own, other) = (keyring.key(2, "acme", "admin"), keyring.key(3, "beta", "admin"));
    let put = async |key: &str, id: u64, body: &str| {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str())];
        gateway.send(call(Method::PUT, &format!("/keys/{}/limits", KeyId::of(id)), &headers, body)).await
    };
    let limits = json!({"running_max": 0, "rate_per_second": 100_000});
    let told = put(FIRST_KEY, 1, &limits.to_string()).await;
    assert_eq!((told.status, &told.body["limits"]), (200, &limits), "{told:?}");
    assert_eq!(told.body["key_id"], "0000000000000001");
    let told = put(&own, 1, "{}").await;
    assert_eq!((told.status, &told.body["limits"]), (200, &json!(null)), "all are set together: {told:?}");
    check(&put(&other, 1, "{}").await, 404, "not-found");
    check(&put(FIRST_KEY, 9, "{}").await, 404, "not-found");
    let of = |name: &str| Some(name.parse().expect("a tenant"));
    assert_eq!(keyring.kept().limited, [None, of("acme"), of("beta"), None]);
    for (body, pointer) in [
        (json!({"rate_per_second": 0}), "/rate_per_second"),
        (json!({"rate_per_second": 100_001}), "/rate_per_second"),
        (json!({"running_max": 1_000_000_001}), "/running_max"),
        (json!({"running_max": -1}), "/running_max"),
        (json!({"queued_max": 1}), "/queued_max"),
    ] {
        let told = put(FIRST_KEY, 1, &body.to_string()).await;
        check(&told, 422, "invalid");
        assert_eq!(told.pointers(), [pointer], "{told:?}");
    }
    let acts = std::mem::take(&mut keyring.kept().acts);
    let acts: Vec<_> =
        acts.iter().map(|act| (act.who.as_str(), act.action.as_str(), act.target.as_str())).take(2).collect();
    let target = "0000000000000001";
    assert_eq!(acts, [("admin", "key.limit", target), ("0000000000000002", "key.limit", target)]);
}

#[tokio::test]
async fn without_authentication_nobody_is_asked_and_nothing_recorded() {
    let gateway = TestGateway::start().await;
    let told = gateway.get("/console/session").await;
    assert_eq!((told.status, &told.body["asks"]), (200, &json!(false)));
    assert_eq!(gateway.post("/queues/default/pause", &[], "").await.status, 200);
    check(&gateway.post("/console/session", &[], r#"{"key":"a"}"#).await, 409, "conflict");
    assert!(gateway.store.inner().keyring.kept().acts.is_empty());
    assert_eq!(submits(&gateway, &[]).await, vec![None; 4], "they are nobody's key's");
}

#[tokio::test]
async fn what_a_client_may_not_name_is_refused_wherever_it_stands() {
    let (gateway, _first) = asking(&[]).await;
    let keyring = gateway.store.inner().keyring.clone();
    let name = "\u{1}acme\u{1}a";
    for key in [FIRST_KEY.to_owned(), keyring.key(1, "beta", "admin")] {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str())];
        let in_path = "%01acme%01a";
        let sent = [
            (Method::GET, format!("/data/{in_path}"), String::new()),
            (Method::GET, format!("/bytes/{in_path}"), String::new()),
            (Method::PUT, format!("/data/{in_path}"), json!({"data": 1}).to_string()),
            (Method::PUT, format!("/bytes/{in_path}"), "1".to_owned()),
            (Method::DELETE, format!("/data/{in_path}"), String::new()),
            (Method::DELETE, format!("/cache/{in_path}"), String::new()),
            (Method::GET, format!("/cache/debug/{in_path}"), String::new()),
            (Method::PUT, "/data/b".to_owned(), json!({"data": 1, "tags": [name]}).to_string()),
            (Method::POST, "/cache:invalidate".to_owned(), json!({"keys": [name]}).to_string()),
            (Method::POST, "/cache:invalidate".to_owned(), json!({"tags": [name]}).to_string()),
            (Method::POST, "/cache:invalidate".to_owned(), json!({"prefix": "\u{1}acme"}).to_string()),
            (Method::POST, "/longtask".to_owned(), json!({"task": "a", "invalidates": [name]}).to_string()),
            (
                Method::PUT,
                "/schedules/a".to_owned(),
                json!({"cron": "@daily", "job": {"task": "a", "invalidates": [name]}}).to_string(),
            ),
        ];
        for (method, path, body) in sent {
            let told = gateway.send(call(method.clone(), &path, &headers, &body)).await;
            assert_eq!((told.status, told.problem()), (422, "invalid"), "{method} {path} {body}: {told:?}");
        }
        let batch = json!([{"task": "a", "invalidates": [name]}]).to_string();
        let told = gateway.post("/jobs:batch", &headers, &batch).await;
        assert_eq!(told.body["items"][0]["status"], 422, "{told:?}");
    }
    assert!(gateway.store.inner().creates.is_empty());
}
