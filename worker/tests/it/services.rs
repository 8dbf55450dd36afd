//! `http` tasks with a real service: what it is sent, what its answers mean, and whom the worker does not ask.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::config::Source;
use chassis::task::Tasks;
use chassis::testing::certificates::{Authority, Certified};
use chassis::testing::{signed_by, wait_until};
use http::{HeaderMap, StatusCode};
use protocol::api::ErrorKind;
use protocol::ids::{Fence, JobId};
use protocol::store_api::Outcome;
use protocol::tenant::Tenant;
use protocol::webhook::Secret;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use worker::context::{Job, JobContext, Stop, StopReason};
use worker::executor::execute;
use worker::registry::Registry;
use worker::settle::{Word, handed_over, settle};
use worker::tasks::{Around, parse};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TIMEOUT_MS: u64 = 20_000;
const SOON: Duration = Duration::from_secs(5);

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A service that answers as the payload says: `{"status": 200, "body": "…", "headers": {…}}`; `{"hang": true}` is never answered.
struct Service {
    address: SocketAddr,
    seen: Seen,
    /// Requests that were not answered and whose connections were closed.
    left: Arc<Mutex<usize>>,
    tasks: Tasks,
}

#[derive(Clone)]
struct Shared {
    seen: Seen,
    left: Arc<Mutex<usize>>,
}

/// Counts when it is dropped.
struct Leaves(Arc<Mutex<usize>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        *self.0.lock().expect("a number") += 1;
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    shared.seen.lock().expect("seen").push((headers, body));
    if asked["hang"] == true {
        let _leaves = Leaves(Arc::clone(&shared.left));
        std::future::pending::<()>().await;
    }
    let status = u16::try_from(asked["status"].as_u64().unwrap_or(200)).expect("a status");
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, asked["body"].as_str().unwrap_or_default().to_owned()).into_response();
    for (name, value) in asked["headers"].as_object().into_iter().flatten() {
        let name = http::HeaderName::try_from(name.as_str()).expect("a name");
        response.headers_mut().insert(name, value.as_str().expect("text").parse().expect("a value"));
    }
    response
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, left, tasks) = (Seen::default(), Arc::default(), Tasks::new());
        let shared = Shared { seen: Arc::clone(&seen), left: Arc::clone(&left) };
        let router = Router::new().fallback(answer).with_state(shared);
        tasks.spawn("service", async move { axum::serve(listener, router).await.expect("served") });
        Self { address, seen, left, tasks }
    }

    fn task(&self, keys: &str) -> Registry {
        task(&format!("http://{}/work?x=1", self.address), &format!("allow_private = [\"127.0.0.0/8\"]\n{keys}"))
    }

    fn seen(&self) -> Vec<(HeaderMap, Bytes)> {
        self.seen.lock().expect("seen").clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn around() -> Around {
    let variables = Source::from_pairs([("LONGSHORE_SECRET_ONE", SECRET), ("LONGSHORE_SECRET_TWO", OTHER)]);
    Around { variables, ..Around::default() }
}

fn task(url: &str, keys: &str) -> Registry {
    let secrets = if keys.contains("secrets") { "" } else { "secrets = [\"env:LONGSHORE_SECRET_ONE\"]" };
    let text = format!("[task.it]\nkind = \"http\"\nurl = \"{url}\"\n{secrets}\n{keys}\n");
    Registry::new().tasks(parse("it", &text, &around()).expect("valid")).expect("one task")
}

fn context(payload: &str, timeout_ms: u64) -> JobContext {
    let job = Job {
        id: JobId::generate(),
        tenant: Tenant::default(),
        task: "it".to_owned(),
        run: 2,
        attempt: 3,
        fence: Fence(4),
        payload: RawValue::from_string(payload.to_owned()).ok(),
        trace: Some(TRACE.to_owned()),
    };
    let job = JobContext::new(job, Instant::now() + Duration::from_millis(timeout_ms), Arc::new(Notify::new()), None);
    job.lease_until(chassis::clock::now_ms() + 15_500);
    job
}

async fn run_job(registry: &Registry, job: &JobContext, timeout_ms: u64) -> Word {
    let registered = registry.find(job.task()).expect("a task");
    let ended = tokio::time::timeout(Duration::from_secs(15), execute(registered, job, None)).await;
    settle(ended.expect("the slot is free again"), timeout_ms)
}

async fn run(registry: &Registry, payload: &str) -> Word {
    run_job(registry, &context(payload, TIMEOUT_MS), TIMEOUT_MS).await
}

/// The result, or how it failed: what, whether for good, and how long to wait.
fn told(word: &Word) -> String {
    match word {
        Word::Complete(Outcome::Succeeded { result }) => result.as_ref().map_or("-", |result| result.get()).to_owned(),
        Word::Complete(Outcome::Failed { error, may_retry, retry_after_ms }) => {
            let again = if *may_retry { "again" } else { "never" };
            let wait = retry_after_ms.map(|ms| format!(" after {ms}")).unwrap_or_default();
            format!("{again}{wait}: {}", error.message)
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn the_request_is_signed_and_says_whose_it_is() {
    let service = Service::start().await;
    let keys = "secrets = [\"env:LONGSHORE_SECRET_ONE\", \"env:LONGSHORE_SECRET_TWO\"]\nheaders = { authorization = \"Bearer x\" }";
    let registry = service.task(keys);
    let job = context("{\"status\": 200, \"body\": \"{\\\"n\\\": 1.50}\"}", TIMEOUT_MS);
    assert_eq!(told(&run_job(&registry, &job, TIMEOUT_MS).await), "{\"n\": 1.50}");
    let [(headers, body)] = &service.seen()[..] else { panic!("one request") };
    let header =
        |name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
    assert_eq!(body, job.job().payload_text());
    let id = format!("{}.4", job.job_id());
    let expected = [
        ("webhook-id", id.as_str()),
        ("longshore-job", &job.job_id().to_string()),
        ("longshore-task", "it"),
        ("longshore-tenant", "default"),
        ("longshore-run", "2"),
        ("longshore-attempt", "3"),
        ("longshore-fence", "4"),
        ("traceparent", TRACE),
        ("longshore-lease-seconds", "15"),
        ("longshore-timeout-seconds", "19"),
        ("longshore-heartbeat-url", ""),
        ("content-type", "application/json"),
        ("host", &service.address.to_string()),
        ("authorization", "Bearer x"),
    ];
    for (name, value) in expected {
        assert_eq!(header(name), value, "{name}");
    }
    let deadline: protocol::time::Timestamp = header("longshore-lease-deadline").parse().expect("a time");
    assert!((14_000..16_000).contains(&(deadline.unix_ms() - chassis::clock::wall_ms())), "{deadline}");
    let now_s = chassis::clock::wall_ms() / 1_000;
    assert_eq!(signed_by(&[SECRET, OTHER], headers, body, now_s), Ok(()));
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    let service = Service::start().await;
    let registry = service.task("response_bytes = 100\nretry_on = [409]");
    let check =
        async |payload: &str, expected: &str| assert_eq!(told(&run(&registry, payload).await), expected, "{payload}");
    check(r#"{"body": "text"}"#, "\"text\"").await;
    check(r#"{"status": 204}"#, "-").await;
    check(r#"{"status": 201, "body": "null"}"#, "-").await;
    check(r#"{"status": 503, "body": "busy"}"#, "again: the service answered 503 Service Unavailable: busy").await;
    check(
        r#"{"status": 429, "headers": {"retry-after": "7"}}"#,
        "again after 7000: the service answered 429 Too Many Requests",
    )
    .await;
    check(
        r#"{"status": 503, "headers": {"retry-after": "100000"}}"#,
        "again after 3600000: the service answered 503 Service Unavailable",
    )
    .await;
    check(r#"{"status": 408}"#, "again: the service answered 408 Request Timeout").await;
    check(r#"{"status": 425}"#, "again: the service answered 425 Too Early").await;
    check(r#"{"status": 422, "body": "no"}"#, "never: the service answered 422 Unprocessable Entity: no").await;
    check(r#"{"status": 410}"#, "never: the service answered 410 Gone").await;
    check(r#"{"status": 409}"#, "again: the service answered 409 Conflict").await;
    check(
        r#"{"status": 302, "headers": {"location": "/elsewhere"}}"#,
        "never: the service answered 302 Found, a redirect, which is not followed",
    )
    .await;
    let said =
        "never: the service answered 202, that it goes on by itself; its task must say report_later = true for that";
    check(r#"{"status": 202}"#, said).await;
    let long = format!(r#"{{"body": "{}"}}"#, "x".repeat(101));
    check(&long, "never: the answer has more than 100 bytes").await;
    assert_eq!(service.seen().len(), 14, "each was asked once");
}

#[tokio::test]
async fn who_is_asked_to_stop_closes_the_connection() {
    let service = Service::start().await;
    let registry = service.task("grace_ms = 1000");
    let check = async |payload_timeout_ms: u64, stop: Option<StopReason>, kind: ErrorKind, left: usize| {
        let job = context(r#"{"hang": true}"#, payload_timeout_ms);
        let asked = service.seen().len();
        let begun = Instant::now();
        let (word, ()) = tokio::join!(run_job(&registry, &job, payload_timeout_ms), async {
            wait_until(SOON, "it is asked", || async { service.seen().len() > asked }).await;
            if let Some(reason) = stop {
                job.stop(Stop { reason, grace: Duration::from_secs(1) });
            }
        });
        let Word::Complete(Outcome::Failed { error, .. }) = word else { panic!("a failure: {word:?}") };
        assert_eq!(error.kind, kind, "{}", error.message);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        wait_until(SOON, "the connection is closed", || async { *service.left.lock().expect("a number") == left })
            .await;
    };
    check(300, None, ErrorKind::Timeout, 1).await;
    check(TIMEOUT_MS, Some(StopReason::Cancelled), ErrorKind::Failed, 2).await;
}

#[tokio::test]
async fn private_addresses_are_not_asked() {
    let service = Service::start().await;
    let port = service.address.port();
    let check = async |host: &str, keys: &str, expected: &str| {
        let registry = task(&format!("http://{host}:{port}/"), keys);
        let found = told(&run(&registry, "{}").await);
        assert!(found.starts_with(expected), "{host} {keys}: {found}");
    };
    // By its name, however it is written.
    check("localhost", "", "never: localhost has the address ").await;
    check("localhost", "allow_private = [\"10.0.0.0/8\"]", "never: localhost has the address ").await;
    assert_eq!(service.seen().len(), 0);
    check("localhost", "allow_private = true", "-").await;
    assert_eq!(service.seen().len(), 1);
    check("no-such-host.invalid", "", "again: no-such-host.invalid cannot be resolved").await;
    // An address in the URL is refused before the worker starts.
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "[fd00::1]", "100.64.0.1"] {
        let text =
            format!("[task.it]\nkind = \"http\"\nurl = \"http://{host}/\"\nsecrets = [\"env:LONGSHORE_SECRET_ONE\"]\n");
        let error = parse("it", &text, &around()).expect_err("refused").to_string();
        assert!(
            error.starts_with("it:3: task `it`, key `url` is at ") && error.contains("allow_private"),
            "{host}: {error}"
        );
    }
}

#[tokio::test]
async fn nobody_there_and_broken_answers_are_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let registry = task(&format!("http://{address}/"), "allow_private = true");
    let broken = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 64];
        stream.read_exact(&mut head).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.expect("written");
    };
    let (word, ()) = tokio::join!(run(&registry, "{}"), broken);
    assert!(told(&word).starts_with("again: the connection broke: "), "{}", told(&word));
    drop(listener);
    let found = told(&run(&registry, "{}").await);
    assert!(found.starts_with("again: 127.0.0.1 cannot be reached: Connection refused"), "{found}");
}

#[tokio::test]
async fn a_job_is_handed_over_where_its_task_allows_that() {
    let service = Service::start().await;
    let registry = service.task("report_later = true");
    let check = async |payload: &str, expected: bool| {
        let job = context(payload, TIMEOUT_MS);
        let registered = registry.find("it").expect("a task");
        let ended = execute(registered, &job, None).await;
        assert!(matches!(&ended.returned, Some(Ok(_))), "{ended:?}");
        assert_eq!(job.is_handed_over(), expected, "{payload}");
        ended.stopped
    };
    check(r#"{"status": 200, "body": "1"}"#, false).await;
    let stopped = check(r#"{"status": 202}"#, true).await;
    assert!(matches!(handed_over(stopped), Word::HandOver));
    assert!(
        matches!(handed_over(Some(StopReason::Cancelled)), Word::HandOver),
        "who has the lease is told of the cancel"
    );
    assert!(matches!(handed_over(Some(StopReason::LeaseLost)), Word::Nothing));
}

#[tokio::test]
async fn certificates_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new().expect("an authority");
    std::fs::write(folder.path().join("ca.pem"), authority.root()).expect("written");
    let Certified { certificate, key } = authority.certify(&["localhost"]).expect("certified");
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![leaf], private).expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tasks = Tasks::new();
    tasks.spawn("secured service", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            // Who does not trust it goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 64];
            stream.read_exact(&mut head).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7").await.expect("written");
            stream.shutdown().await.expect("closed");
        }
    });
    let check = async |host: &str, keys: &str, expected: &str| {
        let text = format!(
            "[task.it]\nkind = \"http\"\nurl = \"https://{host}:{port}/\"\nsecrets = [\"env:LONGSHORE_SECRET_ONE\"]\nallow_private = true\n{keys}\n"
        );
        let around = Around { folder: folder.path().to_owned(), ..around() };
        let registry = Registry::new().tasks(parse("it", &text, &around).expect("valid")).expect("one task");
        let found = told(&run(&registry, "{}").await);
        assert!(found.starts_with(expected), "{host} {keys}: {found}");
    };
    check("localhost", "", "again: localhost cannot be trusted: ").await;
    check("127.0.0.1", "ca_file = \"ca.pem\"", "again: 127.0.0.1 cannot be trusted: ").await;
    check("localhost", "ca_file = \"ca.pem\"", "7").await;
    tasks.stop();
}

#[test]
fn what_a_task_says_is_checked() {
    let check = |keys: &str, expected: &str| {
        let text = format!("[task.it]\nkind = \"http\"\n{keys}\n");
        let error = parse("it", &text, &around()).expect_err("refused").to_string();
        assert!(error.contains(expected), "{keys}: {error}");
    };
    const URL: &str = "url = \"https://a.example/\"";
    let with = |keys: &str| format!("{URL}\nsecrets = [\"env:LONGSHORE_SECRET_ONE\"]\n{keys}");
    check("", "key `url` is missing; it is where jobs are sent");
    check("url = \"a.example\"", "key `url` must be an http:// or https:// URL");
    check(URL, "key `secrets` must name 1 to 4 secrets");
    check(&format!("{URL}\nsecrets = [\"{SECRET}\"]"), "accepted: file:PATH or env:LONGSHORE_SECRET_NAME");
    check(&format!("{URL}\nsecrets = [\"env:HOME\"]"), "accepted: file:PATH or env:LONGSHORE_SECRET_NAME");
    check(
        &format!("{URL}\nsecrets = [\"env:LONGSHORE_SECRET_NONE\"]"),
        "names LONGSHORE_SECRET_NONE, which is not set",
    );
    check(&format!("{URL}\nsecrets = [\"file:/nowhere/at/all\"]"), "names /nowhere/at/all, which cannot be read");
    check(&format!("{URL}\nsecrets = [\"file:/etc/hostname\"]"), "which must be whsec_ and the base64 of");
    check(&with("allow_private = 1"), "key `allow_private` is of type integer; accepted: true or false");
    check(&with("allow_private = [\"10/8\"]"), "a network such as 10.0.0.0/8");
    check(&with("headers = { Webhook-Id = \"1\" }"), "has `Webhook-Id`, which is set by the worker itself");
    check(&with("headers = { \"a b\" = \"1\" }"), "which is no name of a header");
    check(&with("headers = { a = \"x\\ny\" }"), "whose value is none of a header");
    check(&with("ca_file = \"/nowhere.pem\""), "key `ca_file` /nowhere.pem cannot be read");
    check(&with("retry_on = [200]"), "has 200; accepted: an array of integers from 400 to 499");
    check(&with("response_bytes = 600_000"), "from 0 to 524288");
    check(&with("report_later = \"yes\""), "key `report_later` is of type string; accepted: true or false");
    check(&with("program = \"x\""), "is not a key of a `http` task");
    let error =
        parse("it", &format!("[task.it]\nkind = \"http\"\n{URL}\nsecrets = [\"file:x\"]\n"), &Around::default());
    assert!(!error.expect_err("refused").to_string().contains(SECRET));
    assert!(Secret::try_from(SECRET.to_owned()).is_ok());
}
